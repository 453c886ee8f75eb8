from __future__ import annotations

import pytest

from kpg.cli.command_result import CommandResult, UsageError, usage_errors


def test_a_command_succeeds_unless_it_says_otherwise() -> None:
    assert CommandResult({}, "").exit_code == 0


def test_wrong_values_are_bad_usage_and_failures_are_not() -> None:
    with pytest.raises(UsageError, match="^wrong$"), usage_errors():
        raise ValueError("wrong")
    with pytest.raises(OSError, match="^full$"), usage_errors():
        raise OSError("full")
