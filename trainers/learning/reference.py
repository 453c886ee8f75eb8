"""The reference policy, and the penalty for drifting away from it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, MutableMapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kpg import adaptation, checks, losses
from kpg.models.policy import Policy
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.outputs import log_probs_of
from kpg.trajectories import Trajectory
from kpg.types import Metrics, Tensor
from kpg.values import Value


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class KL(Value):
    """A penalty on KL(π ‖ π_ref), the drift from a reference policy.

    Args:
        coef: β > 0, the price of a nat.
        target: Drift > 0, in nats per step, towards which β adapts after each iteration
            by `kpg.adaptation.proportional_kl_coefficient`; the metric
            `reference_kl_coef` is β. The paper's 6 nats for 24 tokens are 0.25.
            Defaults to `None`, a fixed β.
        inside: "reward" subtracts β · k1 from each step's reward before rewards are
            normalised and advantages estimated; logged returns are the environment's.
            With γ = 1 the best policy is then π_ref · exp(R / β) / Z over whole
            episodes. "loss" adds β · mean(k) to the loss; see
            `kpg.losses.reference_kl`. Then an action does not answer for drift in later
            steps, and β weighs against the advantages, normalised or not.
        estimator: "k1", "k2" or "k3" of `kpg.losses.kl_estimates`. "reward" takes only
            k1: the gradient of E[k] is E[k ∇log π] + E[∇k], the reward yields only the
            first term, and only for k1 is the second zero. Defaults to `None`: k1 in
            the reward, k3 in the loss.
        horizon: Episodes over which β follows the target; an iteration counts as one
            per environment. β changes by the relative error, clipped to ±20 %, times
            the iteration's part of the horizon. 10000 as in the paper's code.
        dtype: "bfloat16" or "float16" keeps the reference's weights in half of the
            memory, rounded, so that the drift does not begin at 0 exactly. Defaults to
            `None`: as they are.

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), section 2.2, https://arxiv.org/abs/1909.08593.
    """

    coef: float
    target: float | None = None
    inside: str = "reward"
    estimator: str | None = None
    horizon: int = 10_000
    dtype: str | None = None

    def __post_init__(self) -> None:
        checks.positive("coef", self.coef)
        checks.choice("inside", self.inside, ("reward", "loss"))
        known = (None, *losses.KL_ESTIMATORS)
        checks.choice("estimator", self.estimator, known)
        checks.whole_number("horizon", self.horizon)
        checks.choice("dtype", self.dtype, (None, "bfloat16", "float16"))
        if self.target is not None:
            checks.positive("target", self.target)
        elif self.horizon != type(self).horizon:
            checks.refuse(
                "horizon", "has no effect with target=None; omit it", self.horizon
            )
        if self.in_reward and self.kl_estimator != "k1":
            checks.refuse(
                "estimator",
                "must be k1 with inside='reward': with another one rewards give only a "
                "part of the divergence's gradient; omit it, or use inside='loss'",
                self.estimator,
            )

    @property
    def in_reward(self) -> bool:
        """Whether the reward, not the loss, carries the penalty."""
        return self.inside == "reward"

    @property
    def kl_estimator(self) -> str:
        """The name of the estimator in force."""
        return self.estimator or ("k1" if self.in_reward else "k3")


class Drift(NamedTuple):
    """`[T, B]` log-probabilities under the reference; KL estimates, 0 if not valid."""

    log_probs: Tensor
    estimates: Tensor


class Reference(keras.layers.Layer):
    """A trainer's reference policy, and β, the price of a nat of drift from it.

    There is no second model: only what training changes is copied (trainable weights,
    such as adapters on frozen ones, and running moments), and the policy's own layers
    run on the copies. Copies and β are saved as weights. The policy's trainable weights
    must exist before the trainer, and none may be added.
    """

    def __init__(self, policy: Policy, kl: KL) -> None:
        super().__init__(trainable=False, name="reference")
        moments = [w for _, layer in policy.normalizers for w in layer.weights]
        weights = [*policy.trainable_variables, *moments]
        changing = list({id(weight): weight for weight in weights}.values())
        # Hidden in functions, so that Keras does not track them here as well.
        self._policy: Callable[[], Policy] = lambda: policy
        self._changing: Callable[[], list[keras.Variable]] = lambda: changing
        self.kl = kl
        start = keras.initializers.Constant(kl.coef)

        def kept_in(dtype: str) -> str:
            return kl.dtype if kl.dtype is not None and dtype == "float32" else dtype

        weight = functools.partial(self.add_weight, trainable=False, autocast=False)
        self.coefficient = weight((), start, "float32", name="coefficient")
        self.chosen = weight((), "zeros", "int32", name="chosen")
        self.snapshot = [
            weight(own.shape, "zeros", kept_in(own.dtype), name=f"snapshot_{index}")
            for index, own in enumerate(self._changing())
        ]
        self.built = True

    def save_own_variables(self, store: MutableMapping[str, Tensor]) -> None:
        """See `keras.layers.Layer.save_own_variables`."""
        store["coefficient"], store["chosen"] = self.coefficient, self.chosen
        for place, copy in zip(self._places(), self.snapshot, strict=True):
            store[place] = copy

    def load_own_variables(self, store: MutableMapping[str, Tensor]) -> None:
        """See `keras.layers.Layer.load_own_variables`."""
        # Weights frozen when saved have no copy; the policy, loaded before, has them.
        self.coefficient.assign(store["coefficient"])
        self.chosen.assign(store["chosen"])
        rows = (self._places(), self.snapshot, self._changing())
        for place, copy, weight in zip(*rows, strict=True):
            known = store[place] if place in store.keys() else weight
            copy.assign(tf.cast(tf.convert_to_tensor(known), copy.dtype))

    def _places(self) -> list[str]:
        """Returns the places of the changing weights among the policy's weights."""
        places = {id(w): str(index) for index, w in enumerate(self._policy().weights)}
        return [places[id(weight)] for weight in self._changing()]

    def begin(self) -> None:
        """Copies the policy unless a reference was chosen before."""
        if not int(tf.convert_to_tensor(self.chosen)):
            self.choose(self._policy())

    def choose(self, policy: Policy) -> None:
        """Copies a policy whose shapes and frozen weights must be the same."""
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
            copy.assign(tf.cast(sources[id(weight)], copy.dtype))
        self.chosen.assign(1)

    def drift(
        self, trajectory: Trajectory, at_a_time: int | None = None, alike: int = 1
    ) -> Drift:
        """Returns the drift of a trajectory; builds graph; see `log_probs_of`."""
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
            log_probs = log_probs_of(policy, trajectory, at_a_time, alike)
        log_ratios = log_probs - trajectory.log_probs
        if trajectory.valid is not None:
            log_ratios = tf.where(trajectory.valid, log_ratios, 0.0)
        return Drift(log_probs, losses.kl_estimates(log_ratios, self.kl.kl_estimator))

    def _in_place(self) -> keras.StatelessScope:
        """Makes the policy's layers use the copies instead of their weights."""
        pairs = zip(self._changing(), self.snapshot, strict=True)
        return keras.StatelessScope([(own, tf.cast(c, own.dtype)) for own, c in pairs])

    def charged(self, trajectory: Trajectory, drift: Drift) -> Trajectory:
        """Subtracts β · k from the rewards."""
        price = self.coefficient * drift.estimates
        return trajectory._replace(rewards=trajectory.rewards - price)

    def sums(self, trajectory: Trajectory, drift: Drift) -> Tensor:
        """Returns `[2]`: the sum of the estimates, and the number of their rows."""
        valid = trajectory.valid
        rows = tf.ones_like(drift.estimates) if valid is None else valid
        count = tf.reduce_sum(tf.cast(rows, tf.float32))
        return tf.stack([tf.reduce_sum(drift.estimates), count])

    def penalty(self, log_probs: Tensor, rows: Batch) -> Tensor:
        """Returns the penalty on a minibatch's loss, a scalar."""
        return self.coefficient * losses.reference_kl(
            log_probs,
            rows.log_probs,
            rows.reference_log_probs,
            estimator=self.kl.kl_estimator,
            valid=rows.valid,
        )

    def follow(self, kl: Tensor, known: Tensor, num_episodes: int) -> Metrics:
        """Returns metrics, and then adapts β if it has a target and `kl` is `known`."""
        if self.kl.target is None:
            return {"reference_kl": kl}
        beta = tf.identity(self.coefficient)
        moved = adaptation.proportional_kl_coefficient(
            beta,
            tf.where(known, kl, float("nan")),
            target_kl=self.kl.target,
            num_episodes=num_episodes,
            horizon=self.kl.horizon,
        )
        self.coefficient.assign(moved)
        return {"reference_kl": kl, "reference_kl_coef": beta}
