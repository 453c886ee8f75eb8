"""Each check returns what is right, and says what is wanted of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg import checks

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("check", "arguments", "right", "wrong", "wanted"),
    [
        ("whole_number", {}, [1, 7], [0, -1, True, 2.0, "1", None], "at least 1"),
        ("whole_number", {"low": 0}, [0], [-1], "at least 0"),
        ("number", {}, [0, -1.5], [NAN, INF, -INF, True, "1", None], "finite number"),
        ("number", {"low": 0.0}, [0, 3], [-0.1, INF], "finite number ≥ 0"),
        ("number", {"low": 1.0, "high": 2.0}, [1, 2.0], [0.9, 2.1], r"in \[1, 2\]"),
        ("fraction", {}, [0, 0.5, 1], [-0.1, 1.1, NAN], r"in \[0, 1\]"),
        ("positive", {}, [1e-9, 3], [0, 0.0, -1, INF, NAN], "0|number"),
        ("choice", {"choices": ("a", None)}, ["a", None], ["b", 1], "one of a, None"),
        ("flag", {}, [True, False], [0, 1, "yes", None], "True or False"),
    ],
)
def test_checks(
    check: str, arguments: Any, right: list[Any], wrong: list[Any], wanted: str
) -> None:
    function = getattr(checks, check)
    for value in right:
        assert function("size", value, **arguments) is value
    for value in wrong:
        with pytest.raises(ValueError, match=rf"`size` must be.*{wanted}") as caught:
            function("size", value, **arguments)
        assert str(caught.value).endswith(f"Received: size={value!r}")


def test_zero_is_not_positive_and_the_message_says_so() -> None:
    with pytest.raises(ValueError, match="`rate` must be greater than 0"):
        checks.positive("rate", 0)


def test_the_closest_names_are_told_or_all() -> None:
    known = ["gamma", "gae_lambda", "clip_range"]
    assert checks.hint("gama", known) == "Did you mean gamma?"
    assert checks.hint("clip_rang", iter(known)) == "Did you mean clip_range?"
    assert checks.hint("xyz", known) == "Known: gamma, gae_lambda, clip_range."


@pytest.mark.parametrize("make", [np.asarray, lambda value: np.asarray(value)[()]])
def test_scalars_of_numpy_become_those_of_python(make: Any) -> None:
    for check, value in (
        (checks.whole_number, np.int64(3)),
        (checks.number, np.float32(0.5)),
        (checks.fraction, np.float64(0.25)),
        (checks.positive, np.int32(2)),
        (checks.flag, np.bool_(True)),
    ):
        found = check("size", make(value))
        assert found == value
        assert type(found) in (int, float, bool)
    for check, wrong in ((checks.whole_number, True), (checks.flag, 1)):
        with pytest.raises(ValueError, match="`size` must be"):
            check("size", make(wrong))


def test_a_seed_is_a_whole_number_or_none() -> None:
    assert checks.seed(None) is None
    assert type(checks.seed(np.int64(3))) is int
    with pytest.raises(ValueError, match=r"`seed` must be.*Received: seed=1.5"):
        checks.seed(1.5)


def test_an_int32_number() -> None:
    assert checks.int32("seed", np.int64(-(2**31))) == -(2**31)
    for wrong in (2**31, 1.0, True, None):
        with pytest.raises(ValueError, match=f"`seed` must be.*Received: seed={wrong}"):
            checks.int32("seed", wrong)


def test_a_sequence_of_whole_numbers() -> None:
    assert checks.whole_numbers("units", np.array([8, 4])) == (8, 4)
    for wrong in (64, "64"):
        with pytest.raises(ValueError, match=r"`units` must be a sequence.*\(64, 64\)"):
            checks.whole_numbers("units", wrong)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("n_steps", "num_steps"),
        ("ent_coeff", "ent_coef"),
        ("clip_eps", "clip_range"),
        ("batch_size", "minibatch_size"),
        ("K_epochs", "num_epochs"),
        ("discount", "gamma"),
    ],
)
def test_names_of_other_libraries_are_known(theirs: str, ours: str) -> None:
    known = ["clip_range", "ent_coef", "gamma", "minibatch_size", "n_step"]
    known += ["num_epochs", "num_steps"]
    assert checks.hint(theirs, known) == f"Did you mean {ours}?"
