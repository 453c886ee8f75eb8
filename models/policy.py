"""The policy: observation to distribution over actions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self, Unpack, override

from kpg import checks, spaces
from kpg.distributions import distribution as distributions
from kpg.distributions.construction import for_space
from kpg.distributions.distribution import DistributionLike, Normal
from kpg.distributions.family import Family
from kpg.models import memory as memories
from kpg.models.acting import Acting
from kpg.models.action_model import ActionModel
from kpg.models.memory import MemoryLike
from kpg.models.observation_model import ObservationModel
from kpg.models.trunk import TrunkArguments, TrunkOptions
from kpg.types import Array, Config, LayerArguments, Nest, Space


@keras.saving.register_keras_serializable(package="kpg")
class Policy(ActionModel, ObservationModel):
    """A Keras model from observations `[B, ...]` to float32 parameters `[B, P]`.

    They are those of a distribution over actions. Observations go through
    `kpg.models.ObservationEncoder` (which standardises once a trainer with
    `normalize_observations=True` has run), a backbone, possibly a memory, and a dense
    head with orthogonal weights of gain 0.01, so that a new policy is nearly uniform.

    Args:
        observation_space: Space of one environment's observations: Box, Discrete,
            MultiDiscrete, MultiBinary, Text, and Dict and Tuple of these.
        action_space: Discrete, Box of floating-point numbers, MultiDiscrete,
            MultiBinary, and Dict and Tuple of these.
        backbone: Any Keras layer or model to `[B, features]`, from `[B, *shape]` of a
            plain `Box` or `[B, F]` of another space. Defaults to `kpg.models.mlp`, and
            for images (uint8, rank 2 to 4, 8 × 8 pixels or more) to `kpg.models.cnn`.
        hidden_units: Widths of the default backbone. Defaults to `(64, 64)`.
        activation: Activation of the default backbone. Defaults to `"tanh"`.
        memory: `kpg.models.LSTM(units)`, `GRU(units)`, `Transformer(units, steps)`,
            their names "lstm", "gru" and "transformer", or a `Memory` of your own (or
            its "module:Name"), between backbone and head. Defaults to none.
        memory_units: Shorthand for the memory's `units`.
        memory_steps: Shorthand for the memory's `steps`.
        action_mask: Key of a `Dict` observation's entry that says with zeros and ones
            which choices are legal, in the order of the logits; the network does not
            see it. A row without a legal choice gets NaN. Defaults to none.
        distribution: See `kpg.distributions.for_space`. Defaults to "normal".
        state_dependent_std: See `kpg.distributions.Normal`.
        log_std_init: The same.
        seed: Seed of the initial weights. Defaults to a random one.
        channels: Where images have their channels, "first" or "last", which lets Boxes
            of other dtypes be images, too; "none": there are no images. Defaults to
            "auto": `kpg.models.cnn` tells by the shape, and `summary` says what it
            took. "legacy" reads images as versions without this argument did.
        **kwargs: `name`, `dtype` and `trainable` of a Keras model.

    Attributes:
        family: The family of distributions, from `kpg.distributions.for_space`.
        log_std: The parameters that are weights of their own, `[K]`, or `None`.

    Raises:
        ValueError: If a space is not supported, the backbone's output is not
            `[B, features]`, or an option would have no effect.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        backbone: keras.layers.Layer | None = None,
        hidden_units: Sequence[int] = (64, 64),
        activation: str = "tanh",
        memory: MemoryLike | None = None,
        memory_units: int | None = None,
        memory_steps: int | None = None,
        action_mask: str | None = None,
        distribution: DistributionLike = "normal",
        state_dependent_std: bool = False,
        log_std_init: float = 0.0,
        seed: int | None = None,
        channels: str = "auto",
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        chosen = distributions.get(distribution, state_dependent_std, log_std_init)
        family = for_space(action_space, distribution=chosen)
        learned = np.isnan(family.constants)
        remembered = memories.get(memory, memory_units, memory_steps)
        super().__init__(
            observation_space,
            TrunkOptions(
                backbone, hidden_units, activation, remembered, action_mask, channels
            ),
            units=int(learned.sum()),
            gain=0.01,
            seed=seed,
            **kwargs,
        )
        self.action_space = action_space
        self.family = family
        self._distribution = chosen
        self._action_mask = action_mask
        if action_mask is not None:
            _check_mask(observation_space, action_mask, family)
        self.log_std: keras.Variable | None = None
        if not learned.all():
            self.log_std = self.add_weight(
                name="log_std",
                shape=(int((~learned).sum()),),
                initializer=keras.initializers.Constant(family.constants[~learned]),
                autocast=False,
            )

    @override
    def outputs(self, features: tf.Tensor, observations: Nest) -> tf.Tensor:
        """Returns `[B, P]` float32 parameters."""
        parameters = tf.cast(self.head(features), tf.float32)
        if self.log_std is not None:
            parameters = self._with_constants(parameters)
        if self._action_mask is None:
            return parameters
        leaves = tf.nest.flatten(observations[self._action_mask])
        flat = [tf.reshape(leaf, [-1, math.prod(leaf.shape[1:])]) for leaf in leaves]
        mask = tf.concat([tf.cast(leaf, tf.bool) for leaf in flat], axis=-1)
        return self.family.masked(parameters, mask)

    def act(
        self,
        observations: Nest,
        state: tuple[Array, ...] | None = None,
        deterministic: bool = True,
        seed: int | None = None,
    ) -> Any:
        """Chooses actions by hand, for one observation or for a batch of them.

        It is compiled at the first call, for batches of any size. `kpg.models.Player`
        carries a memory's state for you.

        Args:
            observations: One element of the observation space, or a batch `[B, ...]`.
            state: With a memory, what the previous call returned. Defaults to `None`,
                the start of episodes.
            deterministic: Whether to take the most likely action instead of a sample.
                Defaults to `True`.
            seed: Whole number that a sample follows from. Defaults to a random one,
                which follows `keras.utils.set_random_seed`.

        Returns:
            The action, or actions `[B, ...]`, in NumPy, as the environment takes them.
            With a memory a pair: actions, and the state for the next call.

        Raises:
            ValueError: If the observations are not of the space, or the state is not
                that of as many observations.
        """
        chosen = self.acting(deterministic)
        actions, state = chosen(observations, state, checks.seed(seed))
        return (actions, state) if self.recurrent else actions

    def acting(self, deterministic: bool) -> Acting:
        """Returns what `act` calls; it is made once."""
        key = checks.flag("deterministic", deterministic)
        if key not in self._acting:
            self._acting[key] = Acting(self, self.family, key)
        return self._acting[key]

    @functools.cached_property
    def _acting(self) -> dict[bool, Acting]:
        # Keras would track an attribute that is set, and save it.
        return {}

    def _with_constants(self, outputs: tf.Tensor) -> tf.Tensor:
        """Merges the parameters that are weights with those from the head."""
        learned = np.isnan(self.family.constants)
        shape = [keras.ops.shape(outputs)[0], int((~learned).sum())]
        weights = tf.broadcast_to(self.log_std, shape)
        runs = [(own, len(list(run))) for own, run in itertools.groupby(learned)]
        sources = {}
        for source, columns in ((True, outputs), (False, weights)):
            sizes = [size for own, size in runs if own == source]
            parts = [columns] if len(sizes) == 1 else tf.split(columns, sizes, axis=-1)
            sources[source] = iter(parts)
        return tf.concat([next(sources[own]) for own, _ in runs], axis=-1)

    @classmethod
    @override
    def from_config(
        cls,
        config: Config,
        custom_objects: Mapping[str, object] | None = None,
        trunk: ObservationModel | None = None,
    ) -> Self:
        if config.get("distribution", "normal") == "normal":
            # Before distributions were values, actions had no unit of their own.
            names = ("state_dependent_std", "log_std_init")
            flat = {name: config[name] for name in names if name in config}
            others = {name: own for name, own in config.items() if name not in names}
            config = {**others, "distribution": Normal(**flat, scaled=False)}
        return super().from_config(config, custom_objects, trunk)

    @override
    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "action_space": spaces.to_config(self.action_space),
            "distribution": keras.saving.serialize_keras_object(self._distribution),
        }


class PolicyArguments(TrunkArguments, total=False):
    """What a policy takes besides its spaces and its memory; see `Policy`."""

    distribution: DistributionLike
    state_dependent_std: bool
    log_std_init: float


def RecurrentPolicy(
    observation_space: Space,
    action_space: Space,
    memory: MemoryLike = "lstm",
    **options: Unpack[PolicyArguments],
) -> Policy:
    """Returns a `Policy` with a memory, by default "lstm"; see `Policy`."""
    return Policy(observation_space, action_space, memory=memory, **options)


def _check_mask(observation_space: Space, action_mask: str, family: Family) -> None:
    """Refuses a mask that does not have a number for each choice."""
    if not family.num_choices:
        raise ValueError(
            "`action_mask` needs an action space with choices: Discrete, MultiDiscrete "
            f"or MultiBinary, or one inside it. Received: {family.action_space}"
        )
    space = observation_space[action_mask]  # type: ignore[index]
    kinds = (gym.spaces.Box, gym.spaces.MultiBinary)
    leaves = [leaf for _, leaf in spaces.leaves(space)]
    size = sum(math.prod(leaf.shape or ()) for leaf in leaves)
    if size != family.num_choices or not all(isinstance(p, kinds) for p in leaves):
        raise ValueError(
            f"The observations' {action_mask!r} must be a MultiBinary or Box, or a "
            f"nest of them, with {family.num_choices} numbers in all, one for each "
            f"choice of {family.action_space}. Received: {space}"
        )
