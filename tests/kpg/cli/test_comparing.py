"""Runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpg import results
from kpg.cli import comparing

EPOCHS = 4


def write_run(
    parent: Path,
    name: str,
    returns: list[float | None],
    env: str = "Walk-v0",
    algorithm: str = "PPO",
    **trainer: Any,
) -> str:
    """Writes a run of ten steps an epoch, validated at each."""
    run = parent / name
    run.mkdir()
    preset = {"env": env, "algorithm": algorithm, "trainer": trainer}
    seed = len(list(parent.iterdir()))
    settings = {"env": env, "seed": seed, "preset": preset}
    (run / "settings.json").write_text(json.dumps(settings))
    rows = [
        {"epoch": i + 1, "env_steps": 10 * (i + 1), "return": -9.0, "val_return": own}
        for i, own in enumerate(returns)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "result.json").write_text(json.dumps({"train_seconds": 2.0 * seed}))
    return str(run)


@pytest.fixture
def directories(tmp_path: Path) -> list[str]:
    return [
        write_run(tmp_path, "1", [0.0, 4.0, 2.0], gamma=0.9),
        write_run(tmp_path, "2", [1.0, 2.0, 6.0], gamma=0.9),
        write_run(tmp_path, "3", [3.0, 3.0, 3.0], gamma=0.5),
        write_run(tmp_path, "4", [5.0, None, None], algorithm="ActorCritic"),
    ]


def test_seeds_are_together_and_labels_say_what_differs(directories: Any) -> None:
    env, found = comparing.groups([*directories, directories[0]])
    assert env == "Walk-v0"
    assert [group.label for group in found] == [
        "PPO",
        "PPO gamma=0.5",
        "ActorCritic gamma=default",
    ]
    values = found[0].values()
    assert (values["seeds"], values["env_steps"], values["seconds"]) == (2, 30, 3.0)
    assert (values["last"], values["best"]) == (4.0, 5.0)
    assert values["last_ci95"] == results.margin([2.0, 6.0])
    assert values["interquartile_mean"] == 4.0 and values["interval"] == [2.0, 6.0]
    # An epoch that was not measured counts as the one before.
    np.testing.assert_array_equal(found[2].last(), [5.0])


def test_curves_are_of_steps_that_all_have_come_to(tmp_path: Path) -> None:
    long = write_run(tmp_path, "1", [0.0, 10.0, 20.0])
    short = write_run(tmp_path, "2", [10.0, 10.0])
    (group,) = comparing.groups([long, short])[1]
    steps, rows = group.curves()
    assert (steps[0], steps[-1]) == (10, 20) and rows.shape == (2, len(steps))
    np.testing.assert_allclose(rows[0], steps - 10)
    np.testing.assert_allclose(rows[1], 10.0)


def test_a_table_has_a_row_for_each_group(directories: Any) -> None:
    lines = comparing.table(*comparing.groups(directories)).splitlines()
    assert len(lines) == 4 and len({len(line) for line in lines}) == 1
    assert lines[0].split()[:4] == ["Walk-v0", "seeds", "last", "best"]
    assert "4.000 ± 25.412" in lines[1] and "4.000 [2.000, 6.000]" in lines[1]
    assert "±" not in lines[2]


def test_runs_of_different_environments_or_without_an_epoch_are_refused(
    directories: Any, tmp_path: Path
) -> None:
    other = write_run(tmp_path, "5", [1.0], env="Other-v0")
    with pytest.raises(ValueError, match=r"first is of Walk-v0.*Received: .*Other-v0"):
        comparing.groups([*directories, other])
    empty = write_run(tmp_path, "6", [])
    with pytest.raises(ValueError, match="--resume .*6"):
        comparing.groups([*directories, empty])
