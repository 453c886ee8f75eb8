"""Groups must be whole."""

from __future__ import annotations

import numpy as np
import pytest

import kpg.advantages


@pytest.mark.parametrize(
    ("shape", "group_size"), [((12,), 5), ((12,), 1), ((3, 4), 4), ((12,), 0)]
)
def test_broken_groups_are_refused(shape: tuple[int, ...], group_size: int) -> None:
    with pytest.raises(ValueError, match="whole groups.* Received"):
        kpg.advantages.leave_one_out(np.zeros(shape), group_size)
