"""A distribution as a value, a class of one's own, a name or a configuration."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
from typing import Any

import gymnasium as gym
import keras
import pytest
import tensorflow as tf

from kpg.distributions import (
    Beta,
    BetaFamily,
    CompositeFamily,
    Distribution,
    Family,
    FamilyOf,
    Normal,
    NormalFamily,
    TanhNormal,
    TanhNormalFamily,
    for_space,
)
from kpg.distributions.distribution import get

BOX = gym.spaces.Box(-1.0, 1.0, (2,))


@keras.saving.register_keras_serializable(package="test_distribution")
class Sharp(NormalFamily):
    """A family of one's own that takes an option of the normal one, and one more."""

    def __init__(
        self, action_space: gym.spaces.Box, log_std_init: float = -3.0, power: int = 1
    ) -> None:
        super().__init__(action_space, log_std_init=log_std_init)
        self.power = power


class Unregistered(NormalFamily):
    """Cannot be loaded."""


@keras.saving.register_keras_serializable(package="test_distribution")
@dataclasses.dataclass(frozen=True)
class Sharpened(Distribution):
    """A distribution of one's own, with an argument."""

    power: int = 2

    def family(self, action_space: gym.spaces.Box) -> Family:
        return Sharp(action_space, power=self.power)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Normal(log_std_init=-0.5), NormalFamily),
        (Normal(scaled=False), NormalFamily),
        (TanhNormal(state_dependent_std=True), TanhNormalFamily),
        (Beta(), BetaFamily),
        (Sharpened(3), Sharp),
        (FamilyOf(Sharp, {"power": 4}), Sharp),
    ],
    ids=str,
)
def test_values_make_families_and_survive(value: Distribution, kind: type) -> None:
    assert type(value.family(BOX)) is kind
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(value)))
    assert keras.saving.deserialize_keras_object(config) == value
    assert get(config) == get(value) == value
    assert pickle.loads(pickle.dumps(value)) == value


def test_names_and_flat_options_are_shorthand() -> None:
    assert get("normal") == get(Normal) == Normal()
    assert get("tanh_normal", log_std_init=-1.0) == TanhNormal(log_std_init=-1.0)
    assert get("normal", state_dependent_std=True) == Normal(state_dependent_std=True)
    assert get(Sharp) == FamilyOf(Sharp)
    assert get(Sharp, log_std_init=1.0) == FamilyOf(Sharp, {"log_std_init": 1.0})
    sys.modules["of_ones_own"] = sys.modules[Sharp.__module__]
    try:
        assert get("of_ones_own:Sharp") == FamilyOf(Sharp)
        assert get("of_ones_own:Sharpened") == Sharpened()
    finally:
        del sys.modules["of_ones_own"]


def test_a_family_of_ones_own_is_for_each_box() -> None:
    space = gym.spaces.Dict({"a": BOX, "b": gym.spaces.Tuple((BOX,))})
    family = for_space(space, distribution=Sharp)
    assert isinstance(family, CompositeFamily)
    assert [type(part) for part in family.parts] == [Sharp, Sharp]
    assert family.constants[-1] == -3.0


@pytest.mark.parametrize(
    ("distribution", "options", "message"),
    [
        (Sharp, {"state_dependent_std": True}, r"Sharp has no argument.*log_std_init"),
        (
            3,
            {},
            r"must be one of the names normal.*derives from Distribution. Received",
        ),
        (dict, {}, r"must be a class that derives from Distribution. Received"),
        ("nowhere:Family", {}, r"module that can be imported.*nowhere"),
        ("kpg.distributions:NormalFamly", {}, r"Did you mean NormalFamily"),
        (Normal(), {"log_std_init": 1.0}, r"finished value"),
    ],
)
def test_refuses_what_is_no_distribution(
    distribution: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        get(distribution, **options)


def test_refuses_values_that_are_impossible() -> None:
    with pytest.raises(ValueError, match=r"True or False.*Received"):
        Normal(state_dependent_std=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"derived from Family.*Received"):
        FamilyOf(dict)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Sharp has no argument.*Received: powr=1"):
        FamilyOf(Sharp, {"powr": 1})


def test_a_class_that_is_not_registered_cannot_be_loaded() -> None:
    config = keras.saving.serialize_keras_object(FamilyOf(Unregistered))
    with pytest.raises(ValueError, match=r"register it with.*Received: 'Unreg"):
        get(config)
    with keras.saving.custom_object_scope({"Unregistered": Unregistered}):
        assert get(config) == FamilyOf(Unregistered)


def test_a_family_must_keep_its_contract() -> None:
    def entropi(self: Any, parameters: tf.Tensor) -> tf.Tensor:
        return parameters

    with pytest.raises(TypeError, match=r"Did you mean entropy\?.*Received: entropi"):
        type("Misspelt", (NormalFamily,), {"entropi": entropi})
    unfinished: Any = type("Unfinished", (Family,), {})
    with pytest.raises(TypeError, match=r"abstract.*entropy"):
        unfinished(BOX, tf.TensorSpec([2]), None, 0)
    with pytest.raises(TypeError, match=r"Did you mean family\?.*Received: familly"):
        type("Misspelt", (Distribution,), {"familly": entropi})


def test_what_was_saved_before_boxes_had_units_acts_as_it_did() -> None:
    now = keras.saving.serialize_keras_object(Normal(log_std_init=-0.5))
    assert keras.saving.deserialize_keras_object(now) == Normal(log_std_init=-0.5)
    old = {**now, "config": {"state_dependent_std": False, "log_std_init": -0.5}}
    revived = keras.saving.deserialize_keras_object(old)
    assert revived == Normal(log_std_init=-0.5, scaled=False)
    with pytest.raises(ValueError, match="Received: scaled=1"):
        Normal(scaled=1)  # type: ignore[arg-type]
