"""`kpg tune`: a study that goes on, and what it leaves."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from kpg.cli.trial import Trials
from tests.command_line import Kpg

QUICK = (
    *("num_envs=4", "total_steps=1024", "num_steps=16", "minibatch_size=32"),
    *("num_epochs=2", "steps_per_epoch=4", "hidden_units=[8]"),
    *("validation_episodes=4", "jit_compile=False"),
)
OF_SPACE = {
    "PPO": {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "trainer": {"gamma": {"low": 0.9, "high": 0.999, "one_minus": True}},
    }
}


def test_without_optuna_it_is_said_what_to_install(
    kpg_command: Kpg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = kpg_command("tune", "CartPole-v1")
    assert result.code == 1
    assert (
        'kpg tune needs the package optuna. Install it with: pip install "kpg[tune]"'
        in (result.err)
    )


@pytest.mark.slow
def test_a_study_is_cut_off_goes_on_and_leaves_settings_to_train_with(
    kpg_command: Kpg, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, output = tmp_path / "space.json", tmp_path / "study"
    space.write_text(json.dumps(OF_SPACE))
    arguments = ["tune", "CartPole-v1", "--space", space, "--seeds", 2]
    arguments += ["--output", output]
    arguments += [word for own in QUICK for word in ("--set", own)]
    run, counted = Trials.run, []

    def cut(self: Trials, *given: Any) -> bool:
        counted.append(given)
        if len(counted) == 3:
            self.stop.received = signal.SIGINT
        return run(self, *given)

    monkeypatch.setattr(Trials, "run", cut)
    first = kpg_command(*arguments, "--trials", 5, "--json")
    assert first.code == 130, first.err
    assert json.loads(first.out.splitlines()[-1])["trials"] == 2
    second = kpg_command(*arguments, "--trials", 3, "--json")
    assert second.code == 0, second.err
    values = json.loads(second.out.splitlines()[-1])
    assert (values["trials"], values["seeds"]) == (3, 2)
    assert "trial 0 complete" in first.err and "best" in second.err
    assert kpg_command(*arguments, "--set", "num_steps=32").code == 1  # another study
    config = ("--config", output / "best.json", "--output", tmp_path / "run")
    trained = kpg_command("train", "CartPole-v1", *config)
    assert trained.code == 0, trained.err
    late = kpg_command(*arguments, "--trials", 9, "--minutes", "0.0001", "--json")
    assert json.loads(late.out.splitlines()[-1])["trials"] == 3
