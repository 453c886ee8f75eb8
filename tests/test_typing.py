"""What type checkers say to a user, in a project of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import kpg

# What follows `# wrong` is a part of the line that no checker may let pass.
SCRIPT = """\
import keras
import kpg

env = kpg.make("CartPole-v1", num_envs=8, seed=0)
kpg.make("CartPole-v1", num_envs="8")  # wrong

spaces = env.observation_space, env.action_space
policy = kpg.models.Policy(*spaces, hidden_units=(64, 64), seed=0)
critic = kpg.models.Critic(env.observation_space, hidden_units=(64, 64), seed=0)
kpg.models.Policy(*spaces, hiden_units=(64,))  # wrong
kpg.models.Policy(*spaces, hidden_units="64")  # wrong
kpg.models.Critic(env.observation_space, memory=1.5)  # wrong

ppo = kpg.trainers.PPO(
    policy, critic, num_steps=32, num_epochs=4, minibatch_size=64, clip_range=0.2
)
kpg.trainers.PPO(policy, critic, num_step=32)  # wrong
kpg.trainers.PPO(policy, critic, clip_range="a")  # wrong
kpg.trainers.PPO(policy, critic, gae_lambda=[0.9])  # wrong
kpg.trainers.PPO(env, critic)  # wrong

actor_critic = kpg.trainers.ActorCritic(policy, critic, num_steps=5, gae_lambda=1.0)
kpg.trainers.ActorCritic(policy, critic, clip_range=0.2)  # wrong
kpg.trainers.ActorCritic(policy, critic, num_steps="5")  # wrong

reinforce = kpg.trainers.REINFORCE(policy, num_steps=500, whole_episodes=True)
kpg.trainers.REINFORCE(policy, minibatch_size=64)  # wrong
kpg.trainers.REINFORCE(policy, baseline=3)  # wrong

for trainer in (ppo, actor_critic, reinforce):
    trainer.compile(keras.optimizers.Adam(3e-4), jit_compile=False)
    history = trainer.fit(env, epochs=2, steps_per_epoch=4, verbose=0)
    scores = trainer.evaluate(env, episodes=10)
    trainer.save("trainer.keras")
ppo.fit(env, epoch=2)  # wrong
ppo.fit(env, epochs="2")  # wrong
ppo.evaluate(env, episode=10)  # wrong
loaded = kpg.load("trainer.keras")
loaded.fit(env, epochs=1)
loaded.fit(env, epoch=1)  # wrong
"""
WRONG = {
    number
    for number, line in enumerate(SCRIPT.splitlines(), 1)
    if line.endswith("# wrong")
}


class Project(NamedTuple):
    """A folder of a user's, and where kpg is found."""

    folder: Path
    root: Path

    def run(self, *command: str, **environment: str) -> str:
        """Runs a checker in the folder; returns what it prints."""
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode in (0, 1), result.stdout + result.stderr
        return result.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    return Project(tmp_path, Path(kpg.__file__).parents[1])


def compared(found: set[int], said: str) -> None:
    """Fails unless the errors are where they belong, with the lines that differ."""
    lines = SCRIPT.splitlines()
    missed = [lines[number - 1] for number in sorted(WRONG - found)]
    refused = [lines[number - 1] for number in sorted(found - WRONG)]
    assert not missed and not refused, f"{missed=}\n{refused=}\n{said}"


# The fast tests ask pyright; what mypy says of examples and tests, `make lint` shows.
@pytest.mark.slow
def test_mypy_finds_wrong_settings_and_nothing_else(
    project: Project, pytestconfig: pytest.Config
) -> None:
    pytest.importorskip("mypy")
    # The installed package is not the user's to check; TensorFlow carries no types.
    options = ["--follow-imports=silent", "--ignore-missing-imports", "--no-pretty"]
    # What NumPy and Gymnasium say is read once, and kept for the next run.
    kept = getattr(pytestconfig, "cache", None)
    options += [f"--cache-dir={kept.mkdir('mypy')}"] if kept is not None else []
    said = project.run("mypy", *options, "train.py", MYPYPATH=str(project.root))
    errors = [line for line in said.splitlines() if ": error: " in line]
    compared({int(line.split(":")[1]) for line in errors}, said)


def test_pyright_finds_wrong_settings_and_nothing_else(project: Project) -> None:
    pytest.importorskip("pyright")
    settings = {"extraPaths": [str(project.root)], "useLibraryCodeForTypes": False}
    settings |= {"reportMissingModuleSource": False, "reportMissingImports": False}
    config = project.folder / "pyrightconfig.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    said = project.run("pyright", "--outputjson", "--pythonpath", sys.executable)
    errors = [
        one
        for one in json.loads(said)["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    compared({one["range"]["start"]["line"] + 1 for one in errors}, said)
