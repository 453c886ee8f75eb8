"""Errors are one line, and say what helps."""

from __future__ import annotations

import pytest

from kpg.export import ServingError, VerificationError
from kpg.export.wire.errors import explained, one_line


def test_an_error_is_one_line() -> None:
    error = ServingError("NOT_FOUND", "no model\n  here")
    assert str(error) == "no model here (NOT_FOUND)"
    assert (error.code, error.message) == ("NOT_FOUND", "no model\n  here")
    assert one_line(KeyError("a\n b")) == r"KeyError: 'a\n b'"
    assert one_line(ValueError("a\n b")) == "ValueError: a b"
    assert issubclass(VerificationError, ValueError)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UNAVAILABLE", "at h:1 is unavailable; start one.*Received: down"),
        ("DEADLINE_EXCEEDED", r"at h:1 did not answer within 0\.5 seconds; give"),
        ("INTERNAL", "^down"),
    ],
)
def test_advice(code: str, words: str) -> None:
    error = explained(code, "down", "h:1", 0.5)
    assert error.code == code
    with pytest.raises(ServingError, match=words):
        raise error
