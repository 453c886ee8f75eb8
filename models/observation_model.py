"""What every model of observations has: a trunk, a state and a head."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import keras
import tensorflow as tf
from typing_extensions import Self, Unpack

from kpg import checks, contracts, spaces
from kpg.models import memory
from kpg.models.backbones import layer_seeds
from kpg.models.head import Head
from kpg.models.observation_encoder import Normalizer, ObservationEncoder
from kpg.models.tracked_model import TrackedModel
from kpg.models.trunk import Trunk, TrunkOptions
from kpg.types import Config, LayerArguments, Nest, Space

_OF_KERAS = tuple(LayerArguments.__annotations__)


class ObservationModel(TrackedModel):
    """Observations → encoder → backbone → memory, if it has one → dense head.

    Abstract: `Policy` and `Critic` define what the head's outputs mean. A class without
    `outputs`, or with a misspelt method, is refused with a `TypeError`.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, ObservationModel)

    def __init__(
        self,
        observation_space: Space,
        options: TrunkOptions,
        *,
        units: int,
        gain: float,
        seed: int | None,
        trunk: ObservationModel | None = None,
        **kwargs: Unpack[LayerArguments],
    ) -> None:
        contracts.check_complete(type(self))
        known = [*inspect.signature(type(self)).parameters, *_OF_KERAS]
        for name, value in kwargs.items():
            if name not in _OF_KERAS:
                raise ValueError(
                    f"{type(self).__name__} has no such argument. "
                    f"{checks.hint(name, known)} Received: {name}={value!r}"
                )
        # Half precision begins after the observations: standardising needs all digits.
        super().__init__(autocast=False, **kwargs)
        self.observation_space = observation_space
        self._options = options
        self._seed = seed = checks.seed(seed)
        # A policy and a critic with the same seed must not start with equal weights.
        seeds = layer_seeds(seed, stream=type(self).__name__)
        backbone_seed, head_seed, *others = (next(seeds) for _ in range(4))
        if trunk is None:
            self.trunk = Trunk(observation_space, options, (backbone_seed, *others))
        else:
            self.trunk = _shared_trunk(trunk, observation_space, options)
        initializer = keras.initializers.Orthogonal(gain, seed=head_seed)
        self.head = Head(units, kernel_initializer=initializer, name="head")
        self.head.build((None, self.trunk.width))
        self.built = True

    @abstractmethod
    def outputs(self, features: tf.Tensor, observations: Nest) -> tf.Tensor:
        """Returns the model's outputs for features `[B, F]`, which follow the memory.

        They were computed from `observations`, a nest of `[B, ...]`.
        """

    @property
    def encoder(self) -> ObservationEncoder:
        """The `ObservationEncoder`."""
        return self.trunk.encoder

    @property
    def backbone(self) -> keras.layers.Layer:
        """The layer or model from encoded observations to features."""
        return self.trunk.backbone

    @property
    def normalizers(self) -> list[Normalizer]:
        """See `ObservationEncoder.normalizers`."""
        return self.encoder.normalizers

    @property
    def recurrent(self) -> bool:
        """Whether the model has a memory."""
        return self.trunk.memory is not None

    @property
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Spec of one state: `(h,)` of a GRU, `(h, c)` of an LSTM, otherwise `()`."""
        return memory.state_spec(self.trunk.memory) if self.recurrent else ()

    def initial_state(self, batch_size: int | tf.Tensor) -> memory.State:
        """Returns the state at the start of an episode: zeros `[B, units]` each."""
        return tuple(tf.zeros([batch_size, *spec.shape]) for spec in self.state_spec)

    def call(self, observations: Nest, training: bool = False) -> tf.Tensor:
        """Returns the outputs for `[B, ...]`, for a memory the first of an episode."""
        state: memory.State = ()
        if self.recurrent:
            batch_size = keras.ops.shape(tf.nest.flatten(observations)[0])[0]
            state = self.initial_state(batch_size)
        return self.step(observations, state, training)[0]

    def step(
        self, observations: Nest, state: memory.State, training: bool = False
    ) -> tuple[tf.Tensor, memory.State]:
        """Takes one step in time, from `initial_state` or the last step's state.

        Returns:
            The outputs `[B, ...]` for a nest of `[B, ...]`, and the next state.
        """
        features = self.trunk(observations, training=training)
        if self.recurrent:
            state = memory.advance(self.trunk.memory, features, state, training)
            features = state[0]
        return self.outputs(features, observations), state

    def unroll(
        self,
        observations: Nest,
        state: memory.State,
        resets: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, memory.State]:
        """Takes T steps; only the memory goes through them one by one.

        Args:
            observations: Nest of `[T, B, ...]`.
            state: State before the first row.
            resets: `[T, B]` bool: whether a row is the first of an episode. The state
                is zero before such a row.
            training: Whether the call is part of an update. Defaults to `False`.

        Returns:
            The outputs `[T, B, ...]` and the states after each row, `[T, B, units]`.
        """
        outputs, states = self._unroll([self], observations, state, resets, training)
        return outputs[0], states

    def unroll_with(
        self,
        critic: ObservationModel,
        observations: Nest,
        state: memory.State,
        resets: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the outputs of `unroll` for itself and for a critic on its trunk."""
        both, _ = self._unroll([self, critic], observations, state, resets, training)
        return both[0], both[1]

    def _unroll(
        self,
        models: Sequence[ObservationModel],
        observations: Nest,
        state: memory.State,
        resets: tf.Tensor,
        training: bool,
    ) -> tuple[list[tf.Tensor], memory.State]:
        """Returns the outputs of models with this one's trunk, and the states."""
        axes = _time_and_batch(tf.convert_to_tensor(resets), observations)
        rows = tf.nest.map_structure(_flat, observations)
        features = self.trunk(rows, training=training)
        states: memory.State = ()
        if self.recurrent:
            inputs = tf.reshape(features, [*axes, features.shape[-1]])
            states = memory.unroll(self.trunk.memory, inputs, state, resets, training)
            features = _flat(states[0])
        outputs = [model.outputs(features, rows) for model in models]
        return [tf.reshape(o, [*axes, *o.shape[1:]]) for o in outputs], states

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        **options: object,
    ) -> None:
        """See `keras.Model.summary`; says how images are read, too."""
        super().summary(line_length, positions, print_fn, **options)
        for image in self.encoder.images():
            (print_fn or print)(image)

    def get_config(self) -> Config:
        """Returns what `from_config` makes an equal object of."""
        return {
            **super().get_config(),
            "observation_space": spaces.to_config(self.observation_space),
            **self._options.get_config(),
            "seed": self._seed,
        }

    @classmethod
    def from_config(
        cls,
        config: Config,
        custom_objects: Mapping[str, object] | None = None,
        trunk: ObservationModel | None = None,
    ) -> Self:
        """Makes the model of a configuration, of this version or an earlier one.

        If that model shared a trunk, `trunk` must be the model it shared it with.
        """
        config = dict(config)
        if config.pop("trunk", False):
            if trunk is None:
                raise ValueError(
                    f"This {cls.__name__} shares the trunk of a policy, which is not "
                    "part of its configuration; save and load the trainer that has "
                    f"both, or call {cls.__name__}.from_config(config, trunk=policy). "
                    "Received: trunk=None"
                )
            config["trunk"] = trunk
        for name in ("observation_space", "action_space"):
            if name in config:
                config[name] = spaces.from_config(config[name])
        # Before options were values, sizes were written down even without effect.
        if config["memory"] is None:
            config.pop("memory_units", None)
        if config["memory"] != "transformer":
            config.pop("memory_steps", None)
        if trunk is None:
            config.setdefault("channels", "legacy")
        with keras.saving.custom_object_scope(dict(custom_objects or {})):
            revive = keras.saving.deserialize_keras_object
            config["backbone"] = revive(config["backbone"])
            return cls(**config)


def _shared_trunk(
    model: ObservationModel, space: Space, options: TrunkOptions
) -> Trunk:
    if not isinstance(model, ObservationModel):
        raise ValueError(
            "`trunk` must be the kpg.models.Policy whose encoder, backbone and memory "
            f"are shared. Received: trunk={model!r}"
        )
    if space != model.observation_space:
        raise ValueError(
            "A shared `trunk` must be for the same observations. Received: "
            f"observation_space={space}, but the trunk has {model.observation_space}"
        )
    options.refuse("with a shared `trunk`", *options.get_config())
    return model.trunk


def _flat(rows: tf.Tensor) -> tf.Tensor:
    """Turns `[T, B, ...]` into `[T * B, ...]`."""
    return tf.reshape(rows, [-1, *rows.shape[2:]])


def _time_and_batch(resets: tf.Tensor, observations: Nest) -> list[int | tf.Tensor]:
    """Returns T and B, as numbers where they are known."""
    for leaf in tf.nest.flatten(observations):
        fits = resets.shape.is_compatible_with(leaf.shape[:2])
        if resets.shape.rank != 2 or not fits:
            raise ValueError(
                "`resets` must be [T, B] and observations [T, B, ...]. Received: "
                f"resets.shape={resets.shape}, observations of shape={leaf.shape}"
            )
    sizes = enumerate(resets.shape)
    return [tf.shape(resets)[i] if size is None else size for i, size in sizes]
