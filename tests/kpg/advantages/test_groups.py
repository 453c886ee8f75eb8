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


@pytest.mark.parametrize(
    ("rewards", "advantages"),
    [
        ([1.0, 1.0, 1.0, None], [0.0, 0.0, 0.0, 0.0]),
        ([1.0, None, 4.0, 1.0], [-1.5, 0.0, 3.0, -1.5]),
        ([7.0, None, None, None], [0.0] * 4),
        ([None] * 4, [0.0] * 4),
    ],
)
def test_what_has_no_reward_has_no_part_in_its_group(
    rewards: list[float | None], advantages: list[float]
) -> None:
    valid = np.array([reward is not None for reward in rewards])
    for unknown in (0.0, np.nan):
        numbers = [unknown if reward is None else reward for reward in rewards]
        found = kpg.advantages.leave_one_out(numbers, 4, valid)
        np.testing.assert_allclose(found, advantages, atol=1e-6)
        # Another group does not notice.
        both = kpg.advantages.leave_one_out(
            [*numbers, 1.0, 2.0, 3.0, 6.0], 4, [*valid, *[True] * 4]
        )
        alone = kpg.advantages.leave_one_out([1.0, 2.0, 3.0, 6.0], 4)
        np.testing.assert_allclose(both, [*advantages, *alone], atol=1e-6)


def test_a_group_is_standardised_by_those_that_have_a_reward() -> None:
    rewards, valid = [-50.2, -50.0, -49.8, 0.0], [True, True, True, False]
    found = kpg.advantages.group_normalized(rewards, 4, valid)
    wanted = np.array([-1.0, 0.0, 1.0]) * 0.2 / (np.sqrt(0.08 / 3) + 1e-4)
    np.testing.assert_allclose(found, [*wanted, 0.0], atol=1e-4)
    alone = kpg.advantages.group_normalized(rewards[:3], 3)
    np.testing.assert_allclose(found[:3], alone, rtol=1e-6)
