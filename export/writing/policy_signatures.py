"""The signatures of a policy that acts in an environment, see docs/serving.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import checks, spaces
from kpg.export.wire import names
from kpg.export.writing.offer import Offer, Source
from kpg.export.writing.plausible_inputs import plausible
from kpg.export.writing.signature import Arrays, Signature, Tensors, require
from kpg.types import Array, Nest, Space

if TYPE_CHECKING:
    from kpg.distributions.family import Family
    from kpg.models.critic import Critic
    from kpg.models.policy import Policy


def offer(source: Source, max_new_tokens: int | None = None) -> Offer:
    """Returns what a policy offers. Its weights are read at each call."""
    if max_new_tokens is not None:
        checks.refuse(
            "max_new_tokens",
            "has no effect on a policy that writes no text; leave it out",
            max_new_tokens,
        )
    # A critic's memory would have to be carried by every client, and no action depends
    # on it.
    critic = source.critic
    functions = _Functions(
        source.policy, None if critic is None or critic.recurrent else critic
    )
    seed = {"seed": tf.TensorSpec([2], tf.int32)}
    signatures = [
        Signature(names.GREEDY, functions.inputs, functions.greedy, "Acts greedily."),
        Signature(
            names.SAMPLE,
            functions.inputs | seed,
            functions.sample,
            "Draws actions; equal seeds draw equal actions.",
        ),
    ]
    return Offer(
        signatures={one.name: one for one in signatures},
        inputs=functions.inputs | seed,
        parameters={
            **{name: [name] for name in [*functions.inputs, *seed]},
            "observation": [*functions.leaves],
        },
        arguments=functions.arguments,
        examples=functions.examples,
        saved=functions.variables(),
        policy=source.policy,
        settings={},
        verified_batch_sizes=(1, 7),
        warm_batch_sizes=(1, 2, 8, 64),
    )


class _Functions:
    """The functions of live models."""

    def __init__(self, policy: Policy, critic: Critic | None) -> None:
        self._policy = policy
        self._critic = critic
        # The spaces of the parts of an observation, by the name of the input.
        self.leaves: dict[str, Space] = names.unique(
            (names.join("observation", path), leaf)
            for path, leaf in spaces.leaves(policy.observation_space)
        )
        self._states = {
            f"state_{i}": tf.TensorSpec([None, *spec.shape], spec.dtype)
            for i, spec in enumerate(tf.nest.flatten(policy.state_spec))
        }
        self.inputs = {name: _spec(leaf) for name, leaf in self.leaves.items()}
        self.inputs |= self._states

    def variables(self) -> list[tf.Variable]:
        """Returns the variables inside the Keras variables.

        A Keras variable is saved twice: the checkpoint restores the twin, the graph
        reads the original, and TensorFlow Serving does not find it.
        """
        models = [model for model in (self._policy, self._critic) if model is not None]
        return [variable.value for model in models for variable in model.variables]

    def greedy(self, **inputs: tf.Tensor) -> Tensors:
        """Returns the most likely actions."""
        return self._outputs(inputs, self._policy.family.mode)

    def sample(self, seed: tf.Tensor, **inputs: tf.Tensor) -> Tensors:
        """Returns actions drawn with a stateless seed."""
        family = self._policy.family
        return self._outputs(inputs, lambda p: family.sample(p, seed))

    def arguments(self, inputs: Tensors) -> dict[str, Nest]:
        """Returns inputs as the models take them, and the observation if it is whole.

        Shapes are ensured in the graph: a session takes any, and a policy that flattens
        would read two rows of half the width as one.
        """
        found: dict[str, Nest] = dict(inputs)
        for name, spec in self.inputs.items():
            if name in inputs:
                found[name] = tf.ensure_shape(inputs[name], spec.shape)
        _check_rows({name: found[name] for name in self.inputs if name in inputs})
        for name, leaf in self.leaves.items():
            if name in inputs and isinstance(leaf, gym.spaces.Text):
                found[name] = encoded(found[name], leaf, name)
        if self.leaves.keys() <= inputs.keys():
            structure = spaces.specs(self._policy.observation_space)
            parts = [found[name] for name in self.leaves]
            observation = tf.nest.pack_sequence_as(structure, parts)
            self._check_mask(observation)
            found["observation"] = observation
        return found

    def examples(self, rows: int) -> Arrays:
        """Makes plausible inputs, always the same ones for a number of rows."""
        rng = np.random.default_rng(rows)
        inputs = {
            name: plausible(leaf, rows, rng) for name, leaf in self.leaves.items()
        }
        inputs |= self._legal(inputs, rng)
        for name, spec in self._states.items():
            shape = (rows, *spec.shape[1:])
            inputs[name] = rng.normal(size=shape).astype(spec.dtype.as_numpy_dtype)
        inputs["seed"] = np.array([rows, 1], np.int32)
        return inputs

    def _outputs(
        self, inputs: Tensors, act: Callable[[tf.Tensor], tf.Tensor]
    ) -> Tensors:
        arguments = self.arguments(inputs)
        observation = arguments["observation"]
        state = tf.nest.pack_sequence_as(
            self._policy.state_spec, [arguments[name] for name in self._states]
        )
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

    def _actions(self, raw: Nest) -> Tensors:
        """Returns actions as the environment takes them, part by part."""
        actions = tf.nest.flatten(self._policy.family.to_environment(raw))
        leaves = spaces.leaves(self._policy.action_space)
        return names.unique(
            (names.join("action", path), action)
            for (path, _), action in zip(leaves, actions, strict=True)
        )

    def _check_mask(self, observation: Nest) -> None:
        """Refuses rows without a legal action: their parameters would be NaN."""
        key = self._policy.encoder.action_mask
        if key is None:
            return
        require(
            self._possible(tf.nest.flatten(observation[key])),
            f"Each row of the mask {key} must have a legal action",
        )

    def _possible(self, masks: list[tf.Tensor]) -> tf.Tensor:
        """Returns `[B]`: whether the masks leave an action in a row."""
        family = self._policy.family
        flat = [tf.reshape(m, [-1, np.prod(m.shape[1:], dtype=int)]) for m in masks]
        mask = tf.concat([tf.cast(part, tf.bool) for part in flat], axis=-1)
        parameters = tf.zeros([tf.shape(mask)[0], *family.parameters_shape])
        masked = family.masked(parameters, mask)
        return ~tf.reduce_any(tf.math.is_nan(masked), axis=-1)

    def _legal(self, inputs: Arrays, rng: np.random.Generator) -> dict[str, Array]:
        """Returns masks that leave an action in each row, by name of input."""
        key = self._policy.encoder.action_mask
        if key is None:
            return {}
        paths = [path for path, _ in spaces.leaves(self._policy.observation_space)]
        drawn = {
            name: rng.integers(2, size=inputs[name].shape).astype(inputs[name].dtype)
            for name, path in zip(self.leaves, paths, strict=True)
            if path[0] == key
        }
        impossible = ~self._possible(list(drawn.values())).numpy()
        for mask in drawn.values():
            mask[impossible] = 1
        return drawn


def encoded(texts: tf.Tensor, space: gym.spaces.Text, name: str) -> tf.Tensor:
    """Encodes `[B]` UTF-8 strings of the input `name` as `[B, max_length]` int32."""
    length = space.max_length
    known = tf.constant(sorted(map(ord, space.character_set)), tf.int32)
    codes = tf.strings.unicode_decode(texts, "UTF-8", errors="strict")
    require(
        codes.row_lengths() <= length,
        f"A text in {name} must have at most {length} characters",
    )
    positions = tf.searchsorted(known, codes.values)
    # Characters beyond the last known one are placed behind it.
    nearest = tf.gather(known, tf.minimum(positions, tf.size(known) - 1))
    require(
        nearest == codes.values,
        f"A text in {name} must be made of the characters of its space",
    )
    return codes.with_values(positions + 1).to_tensor(shape=[None, length])


def _spec(leaf: Space) -> tf.TensorSpec:
    if isinstance(leaf, gym.spaces.Text):
        return tf.TensorSpec([None], tf.string)
    return tf.TensorSpec([None, *(leaf.shape or ())], tf.as_dtype(leaf.dtype))


def _check_rows(inputs: Tensors) -> None:
    """Refuses inputs of different sizes, of which one row would be broadcast."""
    if len(inputs) > 1:
        rows = tf.stack([tf.shape(values)[0] for values in inputs.values()])
        require(
            rows == rows[0],
            f"All of {', '.join(inputs)} must have the same number of rows",
        )


def _parameters(family: Family, parameters: tf.Tensor) -> Tensors:
    """Returns the distribution's parameters, named by their kind, then their path."""
    pairs = []
    for name, value in family.named_parameters(parameters).items():
        *path, kind = name.split("/")
        pairs.append((names.join(kind, path), value))
    return names.unique(pairs)
