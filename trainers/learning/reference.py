"""A policy as it once was, and what it costs to drift away from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kpg import adaptation, losses
from kpg.trainers.learning.minibatches import log_probs_of
from kpg.trainers.settings import TrainerSettings
from kpg.trajectories import Trajectory


class Drift(NamedTuple):
    """How far the actions of a trajectory lead away from the reference.

    Attributes:
        log_probs: `[T, B]` float32, of the actions under the reference, in nats.
        estimates: `[T, B]` float32, what each action says of KL(π ‖ π_ref), in nats; 0
            in rows that are not valid.
    """

    log_probs: Any
    estimates: Any


class Reference(keras.layers.Layer):
    """The reference policy of a trainer, and β, the price of a nat of drift from it.

    There is no second model. What training changes of the policy (its trainable weights
    and the running moments of its observations) is copied, and the policy's own layers
    are called with the copy in place of it. With adapters (LoRA) on frozen weights only
    the adapters are copied. The copy and β are weights, and are saved with the trainer.

    The policy must have its trainable weights before the trainer is made, and none may
    become trainable after.

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), section 2.2, https://arxiv.org/abs/1909.08593.

    Args:
        policy: The policy that is trained.
        settings: Those of its trainer, with a `reference_kl_coef` above 0.

    Attributes:
        coefficient: β, a float32 weight.
        in_reward: Whether rewards pay for the drift, and not the loss.
        metric_names: Names of what `follow` returns.
    """

    def __init__(self, policy: Any, settings: TrainerSettings) -> None:
        super().__init__(trainable=False, name="reference")
        moments = [w for _, layer in policy.normalizers for w in layer.weights]
        changing = {id(w): w for w in [*policy.trainable_variables, *moments]}
        # Keras does not look into functions: these weights are the policy's alone.
        self._policy: Callable[[], Any] = lambda: policy
        self._changing: Callable[[], list[Any]] = lambda: list(changing.values())
        self._settings = settings
        self.in_reward = settings.reference_kl_in == "reward"
        self.adapts = settings.reference_kl_target is not None
        names = ("reference_kl", "reference_kl_coef")
        self.metric_names = names if self.adapts else names[:1]
        start = keras.initializers.Constant(settings.reference_kl_coef)
        self.coefficient = self._weight("coefficient", (), "float32", start)
        self.chosen = self._weight("chosen", (), "int32", "zeros")
        self.snapshot = [
            self._weight(f"snapshot_{index}", weight.shape, weight.dtype, "zeros")
            for index, weight in enumerate(self._changing())
        ]
        self.built = True

    def _weight(self, name: str, shape: Any, dtype: str, initializer: Any) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=dtype,
            initializer=initializer,
            trainable=False,
            autocast=False,
        )

    def save_own_variables(self, store: Any) -> None:
        """See `keras.layers.Layer.save_own_variables`."""
        store["coefficient"], store["chosen"] = self.coefficient, self.chosen
        for place, copy in zip(self._places(), self.snapshot, strict=True):
            store[place] = copy

    def load_own_variables(self, store: Any) -> None:
        """See `keras.layers.Layer.load_own_variables`.

        What was frozen is in no copy, but in the policy, which is loaded before.
        """
        self.coefficient.assign(store["coefficient"])
        self.chosen.assign(store["chosen"])
        rows = (self._places(), self.snapshot, self._changing())
        for place, copy, weight in zip(*rows, strict=True):
            copy.assign(store[place] if place in store.keys() else weight)

    def _places(self) -> list[str]:
        """Returns where what training changes stands among the policy's weights."""
        places = {id(w): str(index) for index, w in enumerate(self._policy().weights)}
        return [places[id(weight)] for weight in self._changing()]

    def begin(self) -> None:
        """Takes the policy as it is now, unless a reference was chosen before."""
        if not int(tf.convert_to_tensor(self.chosen)):
            self.choose(self._policy())

    def choose(self, policy: Any) -> None:
        """Takes a policy as it is now for the reference.

        Raises:
            ValueError: If it has other weights than the trained one, or others that
                training does not change.
        """
        changing = {id(weight): None for weight in self._changing()}
        pairs = list(zip(self._policy().weights, policy.weights, strict=False))
        fits = len(self._policy().weights) == len(policy.weights)
        if not fits or any(own.shape != other.shape for own, other in pairs):
            raise ValueError(
                "A reference must have the weights of the policy that is trained, with "
                "other values at most; make it by the same arguments. Received: "
                f"{len(policy.weights)} weights of other shapes or in another number"
            )
        for own, other in pairs:
            if id(own) in changing or own is other:
                continue
            if not np.array_equal(*map(tf.convert_to_tensor, (own, other))):
                raise ValueError(
                    "What is frozen in the policy must be the same in the reference, "
                    f"which keeps no copy of it. Received: another {own.path}"
                )
        sources = {id(own): other for own, other in pairs}
        for copy, weight in zip(self.snapshot, self._changing(), strict=True):
            copy.assign(tf.convert_to_tensor(sources[id(weight)]))
        self.chosen.assign(1)

    def drift(self, trajectory: Trajectory) -> Drift:
        """Asks the reference about the actions of a trajectory; builds graph.

        Raises:
            ValueError: If a weight is trainable of which there is no copy.
        """
        policy = self._policy()
        known = {id(weight) for weight in self._changing()}
        for weight in policy.trainable_variables:
            if id(weight) not in known:
                raise ValueError(
                    "A weight became trainable after the trainer was made, and the "
                    "reference has no copy of it; make the trainer after that. "
                    f"Received: {weight.path}"
                )
        with self._in_place():
            log_probs = log_probs_of(policy, trajectory)
        log_ratios = log_probs - trajectory.log_probs
        if trajectory.valid is not None:
            log_ratios = tf.where(trajectory.valid, log_ratios, 0.0)
        estimator = self._settings.kl_estimator
        return Drift(log_probs, losses.kl_estimates(log_ratios, estimator))

    def _in_place(self) -> keras.StatelessScope:
        """Lets the policy's layers find the copies instead of their weights."""
        copies = [tf.convert_to_tensor(copy) for copy in self.snapshot]
        return keras.StatelessScope(list(zip(self._changing(), copies, strict=True)))

    def charged(self, trajectory: Trajectory, drift: Drift) -> Trajectory:
        """Lessens the rewards by β · k."""
        price = self.coefficient * drift.estimates
        return trajectory._replace(rewards=trajectory.rewards - price)

    def sums(self, trajectory: Trajectory, drift: Drift) -> tf.Tensor:
        """Returns `[2]`: the sum of the estimates, and over how many rows it is."""
        valid = trajectory.valid
        rows = tf.ones_like(drift.estimates) if valid is None else valid
        count = tf.reduce_sum(tf.cast(rows, tf.float32))
        return tf.stack([tf.reduce_sum(drift.estimates), count])

    def follow(self, kl: tf.Tensor, known: tf.Tensor, num_episodes: int) -> tf.Tensor:
        """Returns what is measured, and then adapts β if it has a target.

        Args:
            kl: Scalar, nats for each step.
            known: Scalar bool, whether that says anything.
            num_episodes: Episodes that it was measured in.

        Raises:
            ValueError: If the horizon is too short for so many episodes.
        """
        settings, beta = self._settings, tf.identity(self.coefficient)
        if settings.reference_kl_target is None:
            return kl[tf.newaxis]
        moved = adaptation.proportional_kl_coefficient(
            beta,
            tf.where(known, kl, float("nan")),
            target_kl=settings.reference_kl_target,
            num_episodes=num_episodes,
            horizon=settings.reference_kl_horizon,
        )
        self.coefficient.assign(moved)
        return tf.stack([kl, beta])
