"""The flags of `kpg tune`."""

from __future__ import annotations

import pytest

from kpg.cli import flags


def test_flags_have_defaults_and_are_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = flags.parser().parse_args(["tune", "CartPole-v1"])
    assert (options.trials, options.seeds, options.minutes) == (100, 3, None)
    options = flags.parser().parse_args(["tune", "X-v0", "--minutes", "0.5"])
    assert (options.env, options.minutes, options.assignments) == ("X-v0", 0.5, [])
    with pytest.raises(SystemExit):
        flags.parser().parse_args(["tune", "X-v0", "--trials", "0"])
    assert "--trials" in capsys.readouterr().err
