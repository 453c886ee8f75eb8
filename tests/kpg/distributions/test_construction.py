"""Which family a space gets, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from kpg import distributions
from kpg.distributions import Beta, TanhNormal, for_space

S = gym.spaces
BOX = S.Box(-1.0, 1.0, (2,))


@pytest.mark.parametrize(
    ("space", "options", "expected"),
    [
        (S.Discrete(3), {}, distributions.CategoricalFamily),
        (S.MultiDiscrete([2, 3]), {}, distributions.MultiCategoricalFamily),
        (S.MultiBinary(3), {}, distributions.MultiCategoricalFamily),
        (BOX, {}, distributions.NormalFamily),
        (BOX, {"distribution": "tanh_normal"}, distributions.TanhNormalFamily),
        (BOX, {"distribution": "beta"}, distributions.BetaFamily),
        (S.Tuple((BOX, S.Discrete(2))), {}, distributions.CompositeFamily),
        (S.Dict({"a": S.Tuple((BOX,))}), {}, distributions.CompositeFamily),
    ],
    ids=str,
)
def test_family(space: gym.Space[Any], options: dict[str, Any], expected: Any) -> None:
    family = for_space(space, **options)
    assert type(family) is expected
    assert family.action_space is space


def test_options_are_for_each_box() -> None:
    space = S.Dict({"a": BOX, "b": S.Tuple((S.Discrete(2), BOX))})
    family = for_space(space, distribution="tanh_normal", log_std_init=-1.0)
    assert isinstance(family, distributions.CompositeFamily)
    kinds = [type(part).__name__ for part in family.parts]
    assert kinds == ["TanhNormalFamily", "CategoricalFamily", "TanhNormalFamily"]
    assert np.nansum(family.constants) == -4.0


@pytest.mark.parametrize(
    "space",
    [
        S.Box(0, 255, (2,), np.uint8),
        S.Text(3),
        S.Graph(BOX, None),
        S.Sequence(BOX),
        S.Tuple(()),
        S.Dict({"a": S.Tuple((BOX, S.Text(3)))}),
    ],
    ids=str,
)
def test_refuses_other_spaces(space: gym.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"The action space must .*Received: "):
        for_space(space)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        (BOX, {"distribution": "cauchy"}, r"no such choice.*beta.*Received: .*cauchy"),
        (BOX, {"distribution": "norml"}, r"Did you mean normal"),
        (BOX, {"log_std_init": float("nan")}, r"must be a finite.*Received: .*=nan"),
        (BOX, {"log_std_init": float("inf")}, r"must be a finite.*Received: .*=inf"),
        (S.Discrete(2), {"distribution": "beta"}, r"no.* in Discrete.*Received: Beta"),
        (S.Discrete(2), {"distribution": Beta()}, r"no.* in Discrete.*Received: Beta"),
        (S.MultiBinary(2), {"state_dependent_std": True}, r"none in Multi.*Received: "),
        (S.Tuple((S.Discrete(2),)), {"log_std_init": 1.0}, r"none in Tup.*Received: "),
        (
            BOX,
            {"distribution": "beta", "state_dependent_std": True},
            r"Beta has no argument of that name.*Received: state_dependent_std=True",
        ),
        (
            BOX,
            {"distribution": "beta", "log_std_init": 1.0},
            r"Beta has no argument of that name.*Received: log_std_init=1.0",
        ),
        (
            BOX,
            {"state_dependent_std": True, "log_std_init": 1.0},
            r"initial value of a weight.*Received: .*True.*1\.0",
        ),
        (
            BOX,
            {"distribution": TanhNormal(), "log_std_init": 1.0},
            r"finished value with arguments of its own.*Received: .*log_std_init",
        ),
    ],
)
def test_refuses_options_without_effect(
    space: gym.Space[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        for_space(space, **options)
