"""The best models of runs are measured on new episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

import kpg
from kpg.cli import algorithms
from kpg.cli.judging import Judge
from kpg.cli.kind import kind_of
from kpg.cli.preset import Preset
from kpg.cli.runs import Run, create, write_json

# Few episodes of random policies, which differ in how long they balance.
PRESET = kind_of("CartPole-v1").chosen_preset("CartPole-v1", {"hidden_units": [4]})


def run_of(directory: Path, seed: int) -> Run:
    env = kpg.make("CartPole-v1")
    network: dict[str, Any] = {"hidden_units": (4,), "seed": seed}
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, **network),
        kpg.models.Critic(env.observation_space, **network),
    )
    trainer.compile(keras.optimizers.Adam())
    run = create(str(directory / str(seed)), "CartPole-v1")
    write_json(run.settings_file, {"env": "CartPole-v1"})
    trainer.save(run.best_file)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return [run_of(tmp_path_factory.mktemp("runs"), seed) for seed in range(2)]


def verdict(judge: Judge, run: Run, chosen: Preset = PRESET) -> object:
    return judge.verdict(run, chosen, seed=7, threshold=475.0)


def test_a_second_model_is_measured_as_by_a_judge_of_its_own(runs: list[Run]) -> None:
    judge = Judge()
    first, second = (verdict(judge, run) for run in runs)
    assert first != second
    assert second == verdict(Judge(), runs[1])


def test_programs_are_built_once(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge()
    verdict(judge, runs[0])
    monkeypatch.setattr(algorithms, "load", None)
    verdict(judge, runs[1])


def test_a_verdict_says_whether_the_threshold_is_reached(runs: list[Run]) -> None:
    for threshold, solved in ((1.0, True), (475.0, False), (None, None)):
        found = Judge().verdict(runs[0], PRESET, 7, threshold)
        assert found["solved"] is solved
        assert found["threshold"] == threshold
        assert not found["interrupted"]
