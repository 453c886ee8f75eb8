"""The check of estimators accepts kpg's own, and says what is wrong with others."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import pytest
import tensorflow as tf

import kpg
from kpg.advantages import GAE, Estimator, Gains, MonteCarlo, NStep, TDError, VTrace


@pytest.mark.parametrize(
    "estimator", [GAE(0.95), MonteCarlo(), TDError(), NStep(3), VTrace()]
)
def test_the_shipped_estimators_pass(estimator: Estimator) -> None:
    kpg.testing.check_estimator(estimator)


def gae(estimates: Any, **changes: Any) -> Gains:
    return GAE(0.95).gains(estimates._replace(**changes), 0.9)


@keras.saving.register_keras_serializable(package="tests.estimators")
@dataclasses.dataclass(frozen=True)
class Mutant(Estimator):
    """One wrong estimator by name."""

    name: str = ""

    def gains(self, estimates: Any, gamma: float) -> Any:
        return MUTANTS[self.name][0](estimates)


def never(flags: Any) -> Any:
    return tf.zeros_like(flags)


MUTANTS: dict[str, tuple[Any, str]] = {
    "another shape": (
        lambda e: Gains(gae(e).advantages[1:], gae(e).targets),
        "shape",
    ),
    "a pair": (lambda e: tuple(gae(e)[:2]), "must return"),
    "another dtype": (
        lambda e: Gains(tf.cast(gae(e).advantages, tf.float64), gae(e).targets),
        "float32",
    ),
    "termination forgotten": (
        lambda e: gae(e, terminated=never(e.terminated)),
        "terminated|finite|later",
    ),
    "the trace leaks": (
        lambda e: gae(e, truncated=never(e.truncated)),
        "later episodes",
    ),
    "columns are mixed": (
        lambda e: gae(e, rewards=e.rewards - tf.reduce_mean(e.rewards, 1, True)),
        "another environment",
    ),
    "not finite": (
        lambda e: Gains(gae(e).advantages / 0.0, gae(e).targets),
        "finite",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_wrong_estimators_are_told_what_is_wrong(name: str) -> None:
    with pytest.raises(AssertionError, match=MUTANTS[name][1]):
        kpg.testing.check_estimator(Mutant(name))


def test_an_estimator_that_cannot_be_saved_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Unregistered(Estimator):
        def gains(self, estimates: Any, gamma: float) -> Any:
            return gae(estimates)

    with pytest.raises((AssertionError, TypeError, ValueError)):
        kpg.testing.check_estimator(Unregistered())
