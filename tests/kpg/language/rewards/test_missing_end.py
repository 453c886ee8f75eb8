from __future__ import annotations

import pytest

from kpg.rewards import MissingEnd


def test_what_was_cut_off_costs_one() -> None:
    found = MissingEnd()([""] * 3, ["a", "b", "c"], ended=[True, False, True])
    assert found == [0.0, -1.0, 0.0]
    with pytest.raises(ValueError, match=r"needs `ended`.*Received: columns \['x'\]"):
        MissingEnd()([""], ["a"], x=[1])
