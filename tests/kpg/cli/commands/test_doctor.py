from __future__ import annotations

from pathlib import Path

from tests.command_line import Kpg, one_line


def test_a_run_that_is_healthy(kpg_command: Kpg, run_directory: Path) -> None:
    result = kpg_command("doctor", run_directory, "--json")
    assert result.code == 0, result.err
    values = result.values
    assert (values["env"], values["run"]) == ("CartPole-v1", str(run_directory))
    assert (values["healthy"], values["findings"]) == (True, [])


def test_what_nobody_registered(kpg_command: Kpg) -> None:
    for id in ("Nothing-v0", "no_such_module:Nothing-v0"):
        result = kpg_command("doctor", id)
        assert result.code == 2
        assert id.rpartition(":")[0] in one_line(result)
