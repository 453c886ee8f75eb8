"""An estimator of one's own keeps the contract, or is refused when it is made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kpg.advantages.estimator import Estimates, Estimator, Gains


def test_what_is_left_open_or_misspelt_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Open(Estimator):
        """Defines nothing."""

    kind: Any = Open
    with pytest.raises(TypeError, match="abstract.*gains"):
        kind()
    with pytest.raises(TypeError, match="Did you mean gains.*Received: gain$"):

        class Slip(Estimator):
            """Defines what nobody calls."""

            def gain(self, estimates: Estimates, gamma: float) -> Gains:
                return Gains(estimates.rewards, estimates.rewards)


def test_one_of_ones_own_is_a_value() -> None:
    @dataclasses.dataclass(frozen=True)
    class Rewards(Estimator):
        """The reward alone, times a factor."""

        factor: float = 2.0

        def gains(self, estimates: Estimates, gamma: float) -> Gains:
            gains: Any = self.factor * estimates.rewards
            return Gains(gains, gains)

    assert Rewards() == Rewards(2.0) != Rewards(3.0)
    assert Rewards(3.0).get_config() == {"factor": 3.0}
    assert Rewards.from_config({"factor": 3.0}) == Rewards(3.0)
