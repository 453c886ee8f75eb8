"""The database of a study: shared, gone on with, and refused in words."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from optuna import TrialPruned

from kpg.cli import study as studies

CART: dict[str, Any] = {"env": "CartPole-v1", "algorithm": "PPO", "seeds": [0, 1]}


def test_a_study_goes_on_and_another_one_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "study.db")
    first = studies.opened(path, CART, seed=0)

    def objective(trial: Any) -> float:
        level = trial.suggest_float("level", 0.0, 1.0)
        trial.report(trial.number, 1)
        if trial.number == 1:
            raise TrialPruned
        return float(level > 2.0)

    first.optimize(objective, n_trials=3)
    second = studies.opened(path, CART, seed=0)
    assert [trial.number for trial in studies.finished(second)] == [0, 1, 2]
    # Of equals, the one that was better on its way.
    assert [trial.number for trial in studies.ranked(second)] == [2, 0]
    # Two processes do not try the same.
    drawn = [own.ask({}).suggest_float("x", 0.0, 1.0) for own in (first, second)]
    assert drawn[0] != drawn[1]
    other = {**CART, "env": "Acrobot-v1"}
    with pytest.raises(ValueError, match=r"goes on with.*env Acrobot-v1, but there Ca"):
        studies.opened(path, other, seed=0)


def test_a_database_that_cannot_be_used_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "PATIENCE", 0.05)
    path = tmp_path / "study.db"
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match=r"no other program holds.*study\.db.*locked"):
        studies.opened(str(path), CART, seed=0)
    holder.close()
    path.write_text("no database, but longer than its header would have been" * 9)
    with pytest.raises(ValueError, match=r"can be read.*study\.db.*not a database"):
        studies.opened(str(path), CART, seed=0)
