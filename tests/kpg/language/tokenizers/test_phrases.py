from __future__ import annotations

import itertools
from typing import Any

import pytest

from kpg.text import phrases


def test_every_choice_once_and_in_order() -> None:
    parts = [["a", "b"], ["", " "], ["1", "2", "3"]]
    right = [x + y + z for x, y, z in itertools.product(*parts)]
    assert phrases(parts) == right
    assert len(set(right)) == 12
    assert phrases([["a b"]]) == ["a b"]


@pytest.mark.parametrize("parts", [[], [["a"], []], ["ab"], [["a"], "b"]])
def test_what_is_no_list_of_parts_is_refused(parts: Any) -> None:
    with pytest.raises(ValueError, match="lists of strings, none of them empty. Rec"):
        phrases(parts)
