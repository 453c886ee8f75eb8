"""What gradient steps minimise on a minibatch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter

import keras
import tensorflow as tf
from typing_extensions import override

from kpg import losses, schedules
from kpg.graph.sums import all_sum
from kpg.models.action_model import Entropies
from kpg.trainers.learning.batches import Batch, size_of
from kpg.trainers.learning.outputs import judged
from kpg.trainers.learning.training import Training
from kpg.trainers.settings import TrainerSettings
from kpg.types import Metrics, Tensor

METRICS = ("loss", "policy_loss", "value_loss", "entropy")
# Of all optimizers' gradients, before anything clips them.
GRADIENT_NORM = "gradient_norm"
# What kpg itself logs, or counts on the way to the logs.
_RESERVED = (
    *(*METRICS, GRADIENT_NORM),
    *("explained_variance", "learning_rate", "valid_fraction"),
    *("reference_kl", "reference_kl_coef"),
    *("return", "length", "episodes", "env_steps", "steps_per_second"),
    *("returns", "lengths", "number", "broken_environment", "broken_policy"),
    *("skipped_updates", "idle", "fault", "fault_value"),
    *("replay_overlap", "replay_age"),
)
# Not logged; it decides whether an iteration's updates go on.
KL_METRIC = "kl of the next minibatch"


class Objective(ABC):
    """What gradient steps minimise on a minibatch."""

    # The losses among the metrics, the total last.
    terms: tuple[str, ...] = ("policy_loss", "value_loss", "entropy", "loss")

    @abstractmethod
    def __call__(self, rows: Batch, progress: Tensor) -> tuple[Tensor, Metrics]:
        """Returns a scalar to minimise, and scalars to log."""

    def metrics(self, rows: Batch) -> Metrics:
        """Returns metrics of any value, in as few operations as possible."""
        return self(rows, tf.zeros([]))[1]


class PolicyObjective(Objective):
    """The losses of policy and critic, the entropy bonus and the penalties."""

    def __init__(self, training: Training) -> None:
        self.training = training

    @property
    def settings(self) -> TrainerSettings:
        """Read where graph is built: numbers may be its inputs."""
        return self.training.settings

    @override
    def __call__(self, rows: Batch, progress: Tensor) -> tuple[Tensor, Metrics]:
        training, settings = self.training, self.settings
        # An input of the program, which is no number of Python, may be anything.
        unweighted = (
            isinstance(settings.ent_coef, (int, float)) and not settings.ent_coef
        )
        known: Entropies = "constant" if unweighted else "learned"
        # A minibatch of all rows has them in their order: see `shuffled`.
        whole = training.recurrent and training.minibatches()[1] == 1
        alike = training.alike(size_of(rows)) if whole else 1
        said = judged(training.policy, training.critic, rows, known, alike)
        entropy = losses.mean(said.entropies, rows.valid)
        policy_loss, metrics = self._policy_loss(said.log_probs, rows, progress)
        value_loss = tf.zeros([])
        if said.values is not None:
            value_loss = training.algorithm.value_loss(said.values, rows)
        bonus = settings.ent_coef * schedules.factor(
            settings.ent_coef_schedule, progress
        )
        loss = policy_loss + settings.vf_coef * value_loss - bonus * entropy
        if training.partner is not None:
            turns, before = rows.turns
            own, partner = rows._replace(log_probs=before), training.partner
            loss += self._policy_loss(partner.log_probs(turns), own, progress)[0]
        for penalty in _penalties(training):
            loss += penalty
        if training.reference is not None and rows.reference_log_probs is not None:
            loss += training.reference.penalty(said.log_probs, rows)
        if training.algorithm.updates.target_kl is not None:
            kl = losses.approximate_kl(said.log_probs, rows.log_probs, valid=rows.valid)
            metrics = {**metrics, KL_METRIC: kl}
        parts = (loss, policy_loss, value_loss, entropy)
        named: Metrics = dict(zip(METRICS, parts, strict=True))
        return loss, {name: named[name] for name in self.loss_names} | metrics

    @property
    def loss_names(self) -> list[str]:
        """The members of `METRICS` that there are: no loss of a critic without one."""
        without = self.training.critic is None
        return [name for name in METRICS if not (without and name == "value_loss")]

    @override
    def metrics(self, rows: Batch) -> Metrics:
        own = self._policy_loss(rows.log_probs, rows, tf.zeros([]))[1]
        if self.training.algorithm.updates.target_kl is not None:
            own = {**own, KL_METRIC: tf.zeros([])}
        return {**dict.fromkeys(self.loss_names, tf.zeros([])), **own}

    def _policy_loss(
        self, log_probs: Tensor, rows: Batch, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Returns the algorithm's loss and metrics, checked."""
        found = self.training.algorithm.policy_loss(log_probs, rows, progress)
        return checked_loss("policy_loss", found)

    def standardised(self, rows: Batch, weight: Tensor) -> Batch:
        """Centres and scales advantages over all replicas; see `share` for `weight`.

        Weights of rows that are shares of episodes become those of the minibatch.
        """
        if rows.weights is not None and rows.episodes is not None:
            mean = all_sum(losses.mean(rows.episodes, rows.valid) * weight)
            rows = rows._replace(weights=tf.math.divide_no_nan(rows.weights, mean))
        scaled = self.settings.normalize_advantages
        if not scaled and not self.training.algorithm.updates.center_advantages:
            return rows
        center = all_sum(losses.mean(rows.advantages, rows.valid) * weight)
        deviations = rows.advantages - center
        if scaled:
            variance = losses.mean(tf.square(deviations), rows.valid) * weight
            std = tf.sqrt(all_sum(variance))
            # Equal advantages differ by their rounding, which must not be scaled up.
            std = tf.where(std > 1e-6 * tf.abs(center), std, float("inf"))
            deviations /= std + 1e-8
        return rows._replace(advantages=deviations)


def _penalties(training: Training) -> list[Tensor]:
    """Returns the losses that layers added, and each weight's regulariser once."""
    models: list[keras.Model] = [training.policy]
    critic = training.critic
    if critic is not None and critic.trunk is not training.policy.trunk:
        models.append(critic)
    penalties = [penalty for model in models for penalty in model.losses]
    counts = Counter(id(v) for model in models for v in model.trainable_variables)
    for variable in training.variables:
        missing = 1 - counts[id(variable)]
        if missing and variable.regularizer is not None:
            penalties.append(missing * variable.regularizer(variable))
    return penalties


def checked_loss(name: str, found: object) -> tuple[Tensor, Metrics]:
    """Returns a user function's loss and metrics: scalars, with names of their own."""
    pair = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    loss, metrics = pair
    if not isinstance(metrics, dict):
        raise ValueError(
            f"`{name}` must return a pair: the loss, and a dict of scalars to log, "
            f"which may be empty. Received: {type(found).__name__}"
        )
    for key, number in {None: loss, **metrics}.items():
        what = "loss" if key is None else f"metric {key!r}"
        shape = tf.convert_to_tensor(number).shape
        if shape.rank != 0:
            raise ValueError(
                f"`{name}` must return scalars; take the mean over the rows with "
                f"`kpg.losses.mean(terms, rows.valid)`. Received: a {what} of shape "
                f"{shape}"
            )
        if key in _RESERVED:
            raise ValueError(
                f"kpg logs a metric of its own under this name; choose another. "
                f"Received: {key!r} from `{name}`"
            )
    return loss, {key: tf.cast(own, tf.float32) for key, own in metrics.items()}
