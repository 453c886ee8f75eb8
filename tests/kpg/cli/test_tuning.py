"""What a search is made of, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpg.cli import flags
from kpg.cli.tuning import Tuning


def tuning(*arguments: str) -> Tuning:
    """Returns what the arguments of `kpg tune` mean."""
    return Tuning(flags.parser().parse_args(["tune", *arguments]))


def test_settings_stay_or_begin_the_search(tmp_path: Path) -> None:
    config = tmp_path / "poor.json"
    config.write_text('{"gamma": 0.95, "num_steps": 128, "normalize_rewards": false}')
    found = tuning(
        *("CartPole-v1", "--config", str(config), "--set", "learning_rate=1e-4"),
        *("--seeds", "2", "--seed", "7"),
    )
    assert list(found.seeds) == [7, 8]
    assert str(found.directory) == "tuning/CartPole-v1-PPO"
    assert found.storage == "tuning/CartPole-v1-PPO/study.db"
    assert found.started_with() == {
        **{"learning_rate": 1e-4, "num_steps": 128, "num_epochs": 20},
        **{"minibatch_size": 256, "1 - gamma": pytest.approx(0.05)},
        **{"gae_lambda": 0.95, "clip_range": 0.2},
    }
    assert "gamma" in found.numbers() and "num_steps" not in found.numbers()
    chosen = found.preset_of({"gamma": 0.5, "num_epochs": 5})
    assert (chosen.trainer["gamma"], chosen.trainer["num_epochs"]) == (0.5, 5)
    assert chosen.trainer["normalize_rewards"] is False
    same = json.loads(json.dumps(found.identity()))
    assert same["env"] == "CartPole-v1" and same["seeds"] == [7, 8]


def test_what_is_no_search_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "other.json"
    config.write_text('{"env": "Acrobot-v1"}')
    with pytest.raises(ValueError, match=r"is of Acrobot-v1.*Received: CartPole-v1"):
        tuning("CartPole-v1", "--config", str(config))
    with pytest.raises(ValueError, match="no setting 'gama'.*gamma"):
        tuning("CartPole-v1", "--set", "gama=0.9")
    space = tmp_path / "space.json"
    space.write_text('{"PPO": {"trainer": {"gama": [0.9]}}}')
    with pytest.raises(ValueError, match="no setting 'gama'.*gamma"):
        tuning("CartPole-v1", "--space", str(space))
