from __future__ import annotations

from pathlib import Path

import pytest

from kpg.cli import flags, request
from kpg.cli.command_result import UsageError


def settings(*arguments: str) -> tuple[dict[str, object], str | None]:
    options = flags.parser().parse_args(["train", *arguments])
    return request.settings(options), options.env


def test_a_flag_goes_over_set_and_that_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("env: CartPole-v1\ngamma: 0.1\nnum_steps: 1\nnum_envs: 1\n")
    typed = ("--num-steps", "3", "--set", "num_steps=2", "--set", "num_envs=2")
    found = settings("--config", str(path), *typed)
    assert found == ({"gamma": 0.1, "num_steps": 3, "num_envs": 2}, "CartPole-v1")
    assert settings("CartPole-v1", "--config", str(path))[1] == "CartPole-v1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("env: Pendulum-v1", "of Pendulum-v1; give the same environment"),
        ("env: 3", "env=3"),
        ("gama: 0.9", "PPO has no setting 'gama'. Did you mean gamma?"),
        ("trainer: {num_steps: many}", "`num_steps` must be a whole number"),
        ("algorithm: REINFORCE\nclip_range: 0.1", "REINFORCE has no setting"),
        ("algorithm: [PPO]", "`algorithm` must be one of PPO"),
        ("discount: 0.9", "Did you mean gamma?"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        settings("CartPole-v1", "--config", str(path))
    assert words in str(refused.value)


def test_settings_of_other_code_are_left_to_it() -> None:
    typed = ("--algorithm", "mine:Own", "--set", "own=3")
    assert settings("CartPole-v1", *typed)[0] == {"algorithm": "mine:Own", "own": 3}
    # Without a preset the algorithm follows from the environment.
    assert settings("Own-v0", "--set", "baseline=critic")[0] == {"baseline": "critic"}
    with pytest.raises(UsageError, match="no setting 'zzz'"):
        settings("Own-v0", "--set", "zzz=1")


def test_texts_have_settings_of_their_own() -> None:
    typed = ("--hidden-dim", "8", "--pretraining-epochs", "0")
    found = {"hidden_dim": 8, "pretraining_epochs": 0}
    assert settings("text:letters", *typed)[0] == found
    with pytest.raises(UsageError, match="no setting 'hidden_units'"):
        settings("text:letters", "--hidden-units", "8")


def test_something_must_be_trained() -> None:
    options = flags.parser().parse_args(["train"])
    with pytest.raises(UsageError, match="Received: no ENV"):
        request.run(options)
    options = flags.parser().parse_args(["train", "--resume", "--output", "a"])
    with pytest.raises(UsageError, match="leave --output out"):
        request.run(options)
