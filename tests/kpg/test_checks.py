"""Each check returns what is right, and says what is wanted of the rest."""

from __future__ import annotations

from typing import Any

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
