"""Search spaces: what a file says, and how a trial draws from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kpg.cli import space
from kpg.cli.algorithms import KNOWN
from kpg.cli.environments import Environments
from kpg.cli.language.texts import Texts
from kpg.cli.space import Choices, Range


class Middle:
    """Draws the last choice, and the end of a range; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: list[object]) -> object:
        self.asked[name] = choices
        return choices[-1]

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False
    ) -> float:
        self.asked[name] = (low, high, log)
        return high

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        self.asked[name] = (low, high, log)
        return high


@pytest.mark.parametrize("algorithm", KNOWN)
def test_kpg_s_own_space_is_of_settings_that_presets_take(algorithm: str) -> None:
    kind = Environments()
    found = space.read(algorithm, kind.spaces)
    chosen = {**space.drawn(found, Middle()), "algorithm": algorithm}
    preset = kind.chosen_preset("CartPole-v1", chosen)
    assert preset.learning_rate == 1e-2 and preset.trainer["gamma"] == 0.9
    assert kind.chosen_preset("CartPole-v1", space.first(found)).learning_rate == 1e-5


@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE", "grpo"])
def test_texts_have_a_space_of_their_own(algorithm: str) -> None:
    kind = Texts()
    found = space.read(algorithm, kind.spaces)
    chosen = {**space.drawn(found, Middle()), "algorithm": algorithm}
    preset = kind.chosen_preset("text:letters", chosen)
    assert preset.learning_rate == 1e-2
    # How long texts are is the task's, and every token of theirs counts alike.
    assert not {"num_steps", "gamma"} & set(found)


def test_a_recipe_is_not_tuned_in_what_it_sets_or_has_not() -> None:
    found = space.read("grpo", "environments")
    assert {"learning_rate", "clip_range", "max_grad_norm"} <= set(found)
    assert not {"vf_coef", "gae_lambda", "gamma", "minibatch_size"} & set(found)


def test_a_file_s_space_is_drawn_from_and_told(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    entry: dict[str, Any] = {
        "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
        "policy": {"hidden_units": [[32], [64, 64]]},
        "trainer": {
            "num_epochs": {"low": 1, "high": 9},
            "gamma": {"low": 0.9, "high": 0.99, "one_minus": True},
        },
    }
    path.write_text(json.dumps({"PPO": entry}))
    found, trial = space.read("PPO", "environments", str(path)), Middle()
    assert space.drawn(found, trial) == {
        "learning_rate": 1e-2,
        "hidden_units": [64, 64],
        "num_epochs": 9,
        "gamma": pytest.approx(0.9),
    }
    assert trial.asked["learning_rate"] == (1e-5, 1e-2, True)
    assert trial.asked["num_epochs"] == (1, 9, False)
    assert trial.asked["1 - gamma"] == (pytest.approx(0.01), pytest.approx(0.1), True)
    settings = {"gamma": 0.95, "num_epochs": 10, "hidden_units": [32], "vf_coef": 1.0}
    told = {"1 - gamma": pytest.approx(0.05), "hidden_units": [32]}
    assert space.told(found, settings) == told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON"),
        ('{"REINFORCE": {"learning_rate": [1]}}', "PPO in .*IndexError"),
        ('{"PPO": {"learning_rate": {"low": 2, "high": 1}}}', "must be above low=2"),
        ('{"PPO": {"learning_rate": {"low": 0, "high": 1, "log": true}}}', "above 0"),
        ('{"PPO": {"trainer": {"gamma": {"min": 0}}}}', "min"),
        ('{"PPO": {"trainer": {"gamma": []}}}', "at least one"),
        ('{"PPO": {"trainer": {"gamma": 0.9}}}', "a list or a range"),
    ],
)
def test_a_file_that_is_no_space_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "space.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"(?s)A JSON file is wanted.*{words}"):
        space.read("PPO", "environments", str(path))
    with pytest.raises(ValueError, match="below 1 with one_minus"):
        Range(0.5, 1.0, one_minus=True)
    assert Choices((1, 2)).told("x", 3) == {}
