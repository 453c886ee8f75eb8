"""What a search leaves: settings to train with, a page and a picture."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import optuna

from kpg.cli import preset, space, tuning_report
from tests.kpg.cli.test_tuning import tuning


def test_the_best_trial_is_a_preset_and_all_are_a_page(tmp_path: Path) -> None:
    found = tuning("CartPole-v1", "--output", str(tmp_path), "--seeds", "2")
    study = optuna.create_study(direction="maximize")
    values = tuning_report.write(found, study)
    assert values["trials"] == 0 and "same command goes on" in tuning_report.in_words(
        values
    )
    assert not (tmp_path / "best.json").exists()

    first = space.first(found.space)

    def objective(trial: Any) -> float:
        chosen = found.preset_of({**first, "gamma": 0.9 + trial.number / 100})
        trial.set_user_attr("preset", dataclasses.asdict(chosen))
        trial.set_user_attr("returns", [100.0, 200.0 + trial.number])
        trial.report(150.0 + trial.number, 1)
        return 150.0 + float(trial.number) / 2

    study.optimize(objective, n_trials=3)
    values = tuning_report.write(found, study)
    assert (values["best_return"], values["best_trial"]) == (151.0, 2)
    again = preset.read_settings(str(tmp_path / "best.json"))
    assert again.pop("env") == "CartPole-v1"
    assert again["gamma"] == 0.92 == values["best"]["gamma"]
    words = tuning_report.in_words(values)
    command = f"kpg train CartPole-v1 --config {tmp_path}/best.json"
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert command in words and command in page and "gamma = 0.92" in words
    assert "| 2 | 151.0 | 100.0, 202.0 |" in page and "study.png" in page
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
