"""What an algorithm may ask and do after an iteration's updates."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from typing_extensions import override

from kpg import checks, losses
from kpg.trainers.algorithm import Iteration, Loss
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.minibatches import Descent, Objective, checked_loss
from kpg.trainers.learning.outputs import output, outputs
from kpg.trainers.learning.replicas import share, sum_up
from kpg.trainers.learning.training import Training
from kpg.types import Metrics, Tensor


class LearnedIteration(Iteration):
    """What `Algorithm.after` receives; see `Iteration`."""

    def __init__(
        self,
        training: Training,
        batch: Batch,
        seed: Tensor,
        healthy: Tensor,
        progress: Tensor,
    ) -> None:
        self.healthy = healthy
        self.progress = progress
        self._training = training
        self._batch = batch
        self._seed = seed
        self._phases = 0

    @override
    def kl(self) -> Tensor:
        def divergence(batch: Batch) -> Tensor:
            policy = self._training.policy
            parameters = output(policy, batch, batch.states[0], training=False)
            log_probs = policy.family.log_prob(parameters, batch.actions)
            return losses.approximate_kl(log_probs, batch.log_probs, valid=batch.valid)

        return self._mean(divergence)

    @override
    def mean_advantage(self) -> Tensor:
        return self._mean(lambda batch: losses.mean(batch.advantages, batch.valid))

    def _mean(self, of_replica: Callable[[Batch], Tensor]) -> Tensor:
        """Returns the mean over all replicas of a mean over rows."""

        def weighted(batch: Batch) -> Tensor:
            return of_replica(batch) * share(batch.valid)

        strategy = self._training.strategy
        mean = sum_up(strategy, strategy.run(weighted, (self._batch,)))
        return tf.where(self.healthy, mean, float("nan"))

    @override
    def minimize(
        self, loss: Loss, num_epochs: int = 1, minibatch_size: int | None = None
    ) -> Metrics:
        training, strategy = self._training, self._training.strategy
        checks.whole_number("num_epochs", num_epochs)
        self._phases += 1  # each phase has an order of its own
        seed = self._seed + tf.constant([0, self._phases])
        orders = strategy.run(
            lambda seed: training.orders(num_epochs, minibatch_size, seed), (seed,)
        )
        size = training.minibatch_size(minibatch_size)
        rows = training.num_envs * training.settings.num_steps
        descent = Descent(training, OwnObjective(training, loss))
        taken = descent.start(self._batch, orders, self.healthy)
        window = (0, num_epochs * (rows // size))
        taken = descent.run(self._batch, orders, window, taken, self.progress)
        return descent.metrics(taken)


class OwnObjective(Objective):
    """A loss that an algorithm gave to `Iteration.minimize`."""

    def __init__(self, training: Training, loss: Loss) -> None:
        self.training = training
        self.loss = loss

    @override
    def __call__(self, rows: Batch, progress: Tensor) -> tuple[Tensor, Metrics]:
        said = outputs(self.training.policy, self.training.critic, rows)
        name = getattr(self.loss, "__name__", type(self.loss).__name__)
        return checked_loss(name, self.loss(said, rows, progress))
