"""What "module:Name" names, or why it names nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kpg import imports


def test_a_name_in_a_module_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kpg_own_module.py").write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = imports.named("kpg_own_module:Mine")
    assert isinstance(found, type) and found.__name__ == "Mine"
    assert imports.named("kpg.spaces:encode") is not None
    with pytest.raises(ValueError, match="Did you mean Mine.*kpg_own_module:Min'"):
        imports.named("kpg_own_module:Min")


def test_the_error_of_the_module_itself_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kpg_broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="ZeroDivisionError: division by zero"):
        imports.named("kpg_broken_module:Mine")
    with pytest.raises(ValueError, match="No module named 'kpg_no_such_module'"):
        imports.named("kpg_no_such_module:Mine")


# One process for all of it: most of its time is the import of TensorFlow.
LAZY = """
import sys

def loaded(*names):
    return sorted({*names} & {*sys.modules})

import kpg.environments
kpg.environments.make("CartPole-v1")
assert not loaded("kpg.models", "kpg.language", "kpg.testing"), "by environments"

import kpg.models, kpg.text, kpg.trainers
assert not loaded("keras_hub"), "by models"

import gymnasium as gym
import numpy as np
import tensorflow as tf
both = gym.spaces.Discrete(3), gym.spaces.Box(-1.0, 1.0, (2,))
policy = kpg.models.Policy(gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Tuple(both))
observations = np.zeros([4, 2], np.float32)
actions, _ = policy.sample(observations, tf.constant([1, 2]))
policy.log_prob(observations, actions), policy.entropy(observations)
assert not loaded("tensorflow_probability"), "by a policy"
log_probs = policy.distribution(observations).log_prob(actions)
assert loaded("tensorflow_probability")
np.testing.assert_allclose(log_probs, policy.log_prob(observations, actions), 1e-5)
assert kpg.distributions.CategoricalByArgmax(logits=[0.0, 9.0]).mode() == 1
"""


def test_what_is_large_is_imported_on_first_use() -> None:
    command = [sys.executable, "-c", LAZY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
