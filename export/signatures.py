"""What an exported policy can be asked: its named, typed functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kpg.export import tensors

GREEDY = "serving_default"
SAMPLE = "sample"

Outputs = dict[str, tf.Tensor]


class Signatures:
    """The functions that an exported policy offers, traced and not.

    `serving_default(observation)` acts greedily; `sample(observation, seed)` draws from
    the policy, and the same seed draws the same actions. Both return, with one row for
    each observation,

    - `action` `[B, ...]`: what the environment takes: clipped to a Box, counted from
      the start of a Discrete, in the space's data type;
    - `log_prob` `[B]`: log-probability (nats) of the raw action, before clipping;
    - `value` `[B]`: the critic's, where there is a critic;
    - the distribution's parameters by name: `logits` `[B, n]`, or `loc` and `scale`
      `[B, ...]`.
    """

    def __init__(self, policy: Any, critic: Any | None) -> None:
        """Binds the signatures to live models, whose weights are read at each call.

        Args:
            policy: A `kpg.models.Policy`.
            critic: A `kpg.models.Critic` over the same observations, or None.
        """
        self._policy = policy
        self._critic = critic
        space = policy.observation_space
        self._observation = tf.TensorSpec(
            [None, *space.shape], tf.as_dtype(space.dtype), name="observation"
        )
        self._seed = tf.TensorSpec([2], tf.int32, name="seed")

    def greedy(self, observation: tf.Tensor) -> Outputs:
        """Returns the most likely actions."""
        return self._outputs(observation, self._policy.family.mode)

    def sample(self, observation: tf.Tensor, seed: tf.Tensor) -> Outputs:
        """Returns actions drawn with a stateless seed."""
        family = self._policy.family
        return self._outputs(observation, lambda p: family.sample(p, seed))

    def live(
        self, name: str, inputs: Mapping[str, tensors.Array]
    ) -> dict[str, tensors.Array]:
        """Runs a signature eagerly on the live models: what an export must reproduce.

        Args:
            name: `GREEDY` or `SAMPLE`.
            inputs: An array for each input.

        Returns:
            NumPy arrays by output name.
        """
        functions: dict[str, Callable[..., Outputs]] = {
            GREEDY: self.greedy,
            SAMPLE: self.sample,
        }
        constants = {key: tf.constant(array) for key, array in inputs.items()}
        outputs = functions[name](**constants)
        return {key: value.numpy() for key, value in outputs.items()}

    def module(self) -> tuple[tf.Module, dict[str, Any]]:
        """Traces the signatures.

        Returns:
            A module that owns the variables and the functions, and the functions by
            signature name, both for `tf.saved_model.save`.
        """
        models = (
            [self._policy] if self._critic is None else [self._policy, self._critic]
        )
        module = tf.Module()
        # A Keras variable writes itself to a SavedModel a second time, as a twin: the
        # checkpoint restores the twin, the graph reads the original, and TensorFlow
        # Serving does not find it. What is inside the Keras variable has no twin.
        module.weights = [v.value for model in models for v in model.variables]
        module.greedy = tf.function(
            self.greedy,
            input_signature=[self._observation],
            autograph=False,
            jit_compile=False,
        )
        module.sample = tf.function(
            self.sample,
            input_signature=[self._observation, self._seed],
            autograph=False,
            jit_compile=False,
        )
        return module, {GREEDY: module.greedy, SAMPLE: module.sample}

    def examples(self, batch_size: int) -> list[tuple[str, dict[str, tensors.Array]]]:
        """Makes plausible inputs for every signature.

        Args:
            batch_size: Rows, ≥ 0.

        Returns:
            Signature names, each with the arrays of its inputs; always the same ones.
        """
        rng = np.random.default_rng(batch_size)
        observation = _plausible(self._policy.observation_space, batch_size, rng)
        seed = np.array([batch_size, 1], np.int32)
        return [
            (GREEDY, {"observation": observation}),
            (SAMPLE, {"observation": observation, "seed": seed}),
        ]

    def _outputs(
        self, observation: tf.Tensor, act: Callable[[tf.Tensor], tf.Tensor]
    ) -> Outputs:
        # A session does not hold a fed array to the signature's shape, and a policy
        # that flattens would take two rows of half the width for one row.
        observation = tf.ensure_shape(observation, self._observation.shape)
        family = self._policy.family
        parameters = self._policy(observation)
        raw = act(parameters)
        outputs = {
            "action": family.to_environment(raw),
            "log_prob": family.log_prob(parameters, raw),
            **family.named_parameters(parameters),
        }
        if self._critic is not None:
            outputs["value"] = self._critic(observation)
        return outputs


def _plausible(space: Any, batch_size: int, rng: np.random.Generator) -> tensors.Array:
    """Draws observations: uniform where the space is bounded, normal where it is not.

    `space.sample()` is of no use here: bounds that only say "any float" make it return
    numbers that overflow in the first layer.
    """
    shape = (batch_size, *space.shape)
    low = np.asarray(getattr(space, "low", 0), np.float64)
    high = np.asarray(getattr(space, "high", getattr(space, "n", 1) - 1), np.float64)
    with np.errstate(over="ignore"):
        bounded = high - low < 1e6
    floor, ceiling = np.where(bounded, low, 0.0), np.where(bounded, high, 0.0)
    uniform = floor + rng.random(shape) * (ceiling - floor)
    normal = np.clip(rng.normal(size=shape), low, high)
    return np.asarray(np.where(bounded, uniform, normal)).astype(space.dtype)
