"""A small executor, texts that a policy steers, and what the executor thinks."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

import kpg
from kpg.environments import ControlledGeneration
from kpg.models import CausalLMPolicy
from kpg.models.language.control.steering import Steering
from tests.texts import gpt2, policy

T = 5
PROMPTS = ["ab", "cabab", "c"]
CONTINUE, STOP = 0, 1
SEED = tf.constant([3, 4])
CLASSES = {"one": ["ab"], "other": ["c", "ba"]}

ALGORITHMS: list[tuple[str, dict[str, Any]]] = [
    ("PPO", {"num_epochs": 2, "minibatch_size": 2 * T, "normalize_observations": True}),
    ("ActorCritic", {"normalize_rewards": True}),
    ("REINFORCE", {}),
]


def length(prompts: Any, completions: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@functools.cache
def executor(model: Any = None, **options: Any) -> CausalLMPolicy:
    model = gpt2(5, num_layers=1, hidden_dim=8) if model is None else model
    return policy("abc", model, **options)


def generation(made: Any = None, **options: Any) -> ControlledGeneration:
    given = {"rewards": [length], "max_new_tokens": T, "num_envs": 4, **options}
    given = {"jit_compile": False, **given}
    prompts = given.pop("prompts", PROMPTS)
    return ControlledGeneration(made or executor(), prompts, **given)


def finished(infos: dict[str, Any], env: ControlledGeneration) -> list[tuple[str, str]]:
    """Returns prompts and completions of the texts that ended in a step."""
    if "completion" not in infos:
        return []
    assert env.completed is not None
    texts = infos["completion"][infos["_completion"]].tolist()
    assert texts == list(env.completed.completions)
    return list(zip(env.completed.prompts, texts, strict=True))


def models(env: ControlledGeneration, **options: Any) -> tuple[Any, Any]:
    spaces = (env.single_observation_space, env.single_action_space)
    small = {"hidden_units": (8,), "seed": 0, **options}
    critic = kpg.models.Critic(spaces[0], **small)
    return kpg.models.Policy(*spaces, **small), critic


def seen_by(made: CausalLMPolicy, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what the KerasHub model thinks of a whole text."""
    texts = tf.constant(tokens[np.newaxis])
    inputs = {"token_ids": texts, "padding_mask": tf.ones_like(texts)}
    log_probs = tf.nn.log_softmax(made.trunk.causal_lm(inputs)[0] / made.temperature)
    last = log_probs[-1].numpy()
    return {
        "entropy": -np.sum(np.exp(last) * last, keepdims=True),
        "features": made.trunk.causal_lm.backbone(inputs)[0, -1].numpy(),
        "last_token": tokens[-1],
        "top_log_probs": np.sort(last)[::-1],
        "given": log_probs[len(tokens) - 2, tokens[-1]].numpy(),
    }


def steered(control: kpg.environments.Control, **options: Any) -> Steering:
    """Returns a control of a policy over three letters, the tokens 2 to 4."""
    return Steering(control, policy("abc", **options), 4)


def logits(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 5)).astype("float32")
