"""What an exported policy can be asked: its named, typed functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.export.language import texts
from kpg.export.wire import names, tensors
from kpg.export.writing.examples import plausible

GREEDY = "serving_default"
SAMPLE = "sample"

Tensors = dict[str, tf.Tensor]


class Signatures:
    """The functions that an exported policy offers, traced and not.

    `serving_default` acts greedily; `sample` has one more input, `seed`, and draws from
    the policy: the same seed draws the same actions. Inputs, with one row for each
    environment:

    - `observation` `[B, ...]`, or `observation_<path>` for each part of a nested
      observation (see `kpg.export.wire.names`), an action mask among them; texts are
      `[B]` strings;
    - `state_<i>` `[B, units]` of a recurrent policy: what the step before returned
      under the same names, zeros at the beginning of an episode.

    Outputs:

    - `action` `[B, ...]`, or `action_<path>` for each part of a nested action: what the
      environment takes: clipped to a Box, counted from the start of a Discrete, in the
      space's data type;
    - `log_prob` `[B]`: log-probability (nats) of the raw action, before clipping;
    - `value` `[B]`: the critic's, where there is a critic that remembers nothing;
    - the distribution's parameters by name: `logits`, `loc` and `scale`, or
      `concentration1` and `concentration0`, with the path behind for nested actions;
    - `state_<i>` `[B, units]` of a recurrent policy, for the next step.

    A row without a legal action, a text that is not of its space, and inputs of
    different numbers of rows are errors (INVALID_ARGUMENT).
    """

    verified_batch_sizes = (1, 7)
    warm_batch_sizes = (1, 2, 8, 64)
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, policy: Any, critic: Any | None) -> None:
        """Binds the signatures to live models, whose weights are read at each call.

        Args:
            policy: A `kpg.models.Policy`.
            critic: A `kpg.models.Critic` over the same observations, or None.

        Raises:
            ValueError: If two parts of the observation would have one name.
        """
        self._policy = policy
        # A critic's memory would have to be carried by every client, and no action
        # depends on it.
        self._critic = None if critic is None or critic.recurrent else critic
        self._structure = spaces.specs(policy.observation_space)
        self._leaves: dict[str, gym.Space[Any]] = names.unique(
            (names.join("observation", path), leaf)
            for path, leaf in spaces.leaves(policy.observation_space)
        )
        self._states = {
            f"state_{i}": tf.TensorSpec([None, *spec.shape], spec.dtype)
            for i, spec in enumerate(tf.nest.flatten(policy.state_spec))
        }

    @property
    def spaces(self) -> dict[str, Any]:
        """The observation and the action space as plain data, for the manifest."""
        return {
            "observation": spaces.to_config(self._policy.observation_space),
            "action": spaces.to_config(self._policy.action_space),
        }

    def greedy(self, **inputs: tf.Tensor) -> Tensors:
        """Returns the most likely actions."""
        return self._outputs(inputs, self._policy.family.mode)

    def sample(self, seed: tf.Tensor, **inputs: tf.Tensor) -> Tensors:
        """Returns actions drawn with a stateless seed."""
        family = self._policy.family
        return self._outputs(inputs, lambda p: family.sample(p, seed))

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
        functions: dict[str, Callable[..., Tensors]] = {
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

        Raises:
            ValueError: If two parts of the action would have one name.
        """
        models = (
            [self._policy] if self._critic is None else [self._policy, self._critic]
        )
        module = tf.Module()
        # A Keras variable writes itself to a SavedModel a second time, as a twin: the
        # checkpoint restores the twin, the graph reads the original, and TensorFlow
        # Serving does not find it. What is inside the Keras variable has no twin.
        module.weights = [v.value for model in models for v in model.variables]
        specs = {name: _spec(leaf) for name, leaf in self._leaves.items()}
        specs |= self._states
        module.greedy = trace(self.greedy, specs)
        seed = {"seed": tf.TensorSpec([2], tf.int32)}
        module.sample = trace(self.sample, specs | seed)
        return module, {GREEDY: module.greedy, SAMPLE: module.sample}

    def examples(self, batch_size: int) -> list[tuple[str, dict[str, tensors.Array]]]:
        """Makes plausible inputs for every signature.

        Args:
            batch_size: Rows, ≥ 0.

        Returns:
            Signature names, each with the arrays of its inputs; always the same ones.
        """
        rng = np.random.default_rng(batch_size)
        inputs = {
            name: plausible(leaf, batch_size, rng)
            for name, leaf in self._leaves.items()
        }
        inputs |= self._legal(inputs, rng)
        for name, spec in self._states.items():
            shape = (batch_size, *spec.shape[1:])
            inputs[name] = rng.normal(size=shape).astype(spec.dtype.as_numpy_dtype)
        seed = np.array([batch_size, 1], np.int32)
        return [(GREEDY, inputs), (SAMPLE, {**inputs, "seed": seed})]

    def _outputs(
        self, inputs: Tensors, act: Callable[[tf.Tensor], tf.Tensor]
    ) -> Tensors:
        observation = self._observation(inputs)
        state = tf.nest.pack_sequence_as(
            self._policy.state_spec,
            [
                tf.ensure_shape(inputs[key], one.shape)
                for key, one in self._states.items()
            ],
        )
        _check_rows(inputs)
        self._check_mask(observation)
        family = self._policy.family
        parameters, state = self._policy.step(observation, state)
        raw = act(parameters)
        outputs = {
            **self._actions(raw),
            "log_prob": family.log_prob(parameters, raw),
            **_parameters(family, parameters),
            **dict(zip(self._states, tf.nest.flatten(state), strict=True)),
        }
        if self._critic is not None:
            outputs["value"] = self._critic(observation)
        return outputs

    def _observation(self, inputs: Tensors) -> Any:
        """Returns the nest that the models take."""
        leaves = []
        for name, leaf in self._leaves.items():
            # A session does not hold a fed array to the signature's shape, and a policy
            # that flattens would take two rows of half the width for one row.
            values = tf.ensure_shape(inputs[name], _spec(leaf).shape)
            if isinstance(leaf, gym.spaces.Text):
                values = texts.encode(values, leaf, name)
            leaves.append(values)
        return tf.nest.pack_sequence_as(self._structure, leaves)

    def _actions(self, raw: Any) -> Tensors:
        """Returns what the environment takes, part by part."""
        actions = tf.nest.flatten(self._policy.family.to_environment(raw))
        leaves = spaces.leaves(self._policy.action_space)
        return names.unique(
            (names.join("action", path), action)
            for (path, _), action in zip(leaves, actions, strict=True)
        )

    def _check_mask(self, observation: Any) -> None:
        """Refuses rows without a legal action, whose parameters would be NaN."""
        key = self._policy.encoder.action_mask
        if key is None:
            return
        tf.debugging.Assert(
            tf.reduce_all(self._possible(tf.nest.flatten(observation[key]))),
            [f"Each row of the mask {key} must have a legal action"],
        )

    def _possible(self, masks: list[Any]) -> tf.Tensor:
        """Returns `[B]`: whether the masks leave an action in a row."""
        family = self._policy.family
        flat = [tf.reshape(m, [-1, np.prod(m.shape[1:], dtype=int)]) for m in masks]
        mask = tf.concat([tf.cast(part, tf.bool) for part in flat], axis=-1)
        parameters = tf.zeros([tf.shape(mask)[0], *family.parameters_shape])
        masked = family.masked(parameters, mask)
        return ~tf.reduce_any(tf.math.is_nan(masked), axis=-1)

    def _legal(
        self, inputs: Mapping[str, tensors.Array], rng: np.random.Generator
    ) -> dict[str, tensors.Array]:
        """Returns masks that leave an action in each row, by name of input."""
        key = self._policy.encoder.action_mask
        if key is None:
            return {}
        paths = [path for path, _ in spaces.leaves(self._policy.observation_space)]
        drawn = {
            name: rng.integers(2, size=inputs[name].shape).astype(inputs[name].dtype)
            for name, path in zip(self._leaves, paths, strict=True)
            if path[0] == key
        }
        impossible = ~self._possible(list(drawn.values())).numpy()
        for mask in drawn.values():
            mask[impossible] = 1
        return drawn


def trace(function: Callable[..., Tensors], specs: Mapping[str, tf.TensorSpec]) -> Any:
    """Traces a function of named inputs."""
    named = {
        name: tf.TensorSpec(spec.shape, spec.dtype, name)
        for name, spec in specs.items()
    }
    traced = tf.function(function, autograph=False, jit_compile=False)
    return traced.get_concrete_function(**named)


def _spec(leaf: gym.Space[Any]) -> tf.TensorSpec:
    """Returns what a client sends for one part of the observations."""
    if isinstance(leaf, gym.spaces.Text):
        return tf.TensorSpec([None], tf.string)
    return tf.TensorSpec([None, *(leaf.shape or ())], tf.as_dtype(leaf.dtype))


def _check_rows(inputs: Tensors) -> None:
    """Refuses what would be broadcast: one row of one input for many of another."""
    if len(inputs) > 1:
        rows = tf.stack([tf.shape(values)[0] for values in inputs.values()])
        tf.debugging.Assert(
            tf.reduce_all(rows == rows[0]),
            [f"All of {', '.join(inputs)} must have the same number of rows"],
        )


def _parameters(family: Any, parameters: tf.Tensor) -> Tensors:
    """Returns the parameters of the distribution, their kind before their path."""
    pairs = []
    for name, value in family.named_parameters(parameters).items():
        *path, kind = name.split("/")
        pairs.append((names.join(kind, path), value))
    return names.unique(pairs)
