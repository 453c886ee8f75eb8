"""An option as a value, a class, a name or a configuration: all mean the same."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import keras
import numpy as np
import pytest

from kpg import values


@keras.saving.register_keras_serializable(package="kpg_tests_values")
@dataclasses.dataclass(frozen=True)
class Fruit(values.Value):
    """The base of the options below."""


@keras.saving.register_keras_serializable(package="kpg_tests_values")
@dataclasses.dataclass(frozen=True)
class Apple(Fruit):
    """Has an argument."""

    weight: float = 1.0


@keras.saving.register_keras_serializable(package="kpg_tests_values")
@dataclasses.dataclass(frozen=True)
class Basket(Fruit):
    """Holds another option."""

    inside: Fruit = Apple(2.0)


KNOWN = {"apple": Apple, "basket": Basket}


def get(value: object, **arguments: Any) -> Fruit:
    return values.get("fruit", value, Fruit, KNOWN, arguments)


@pytest.mark.parametrize("value", [Apple(), Apple, "apple"])
def test_every_way_of_writing_it(value: object) -> None:
    assert get(value) == Apple(1.0)


@pytest.mark.parametrize("value", [Apple, "apple"])
def test_arguments_are_those_of_the_class(value: object) -> None:
    assert get(value, weight=3.0) == Apple(3.0)
    with pytest.raises(ValueError, match="Apple has no argument.*takes weight.*size=3"):
        get(value, size=3)


@pytest.mark.parametrize("value", [Apple(0.5), Basket(Basket(Apple(7.0)))])
def test_a_configuration_makes_the_same_again(value: Fruit) -> None:
    config = keras.saving.serialize_keras_object(value)
    assert get(json.loads(json.dumps(config))) == value


def test_what_is_no_such_option_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean apple.*fruit='aple'"):
        get("aple")
    for other in (int, 3, values.Value()):
        with pytest.raises(ValueError, match="`fruit` must.*Received: fruit="):
            get(other)
    with pytest.raises(ValueError, match="arguments of its own.*fruit=Apple"):
        get(Apple(), weight=2.0)
    with pytest.raises(ValueError, match="No module named"):
        get("kpg_no_such_module:Apple")


def test_numbers_of_numpy_become_those_of_python() -> None:
    """JSON and many checks know no others; a check of one's own changes nothing."""

    @dataclasses.dataclass(frozen=True)
    class Checked(values.Value):
        size: int = 1
        share: float = 0.5

        def __post_init__(self) -> None:
            assert type(self.size) is int

    size: Any = np.int64(3)
    share: Any = np.float32(0.5)
    made = Checked(size, np.float64(0.25))
    assert (type(made.size), type(made.share)) == (int, float)
    assert dataclasses.replace(made, share=share).get_config() == {
        "size": 3,
        "share": 0.5,
    }
