"""Gradient steps: from minibatches to new weights."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kpg.graph.compiling import aside, for_gpu, for_xla
from kpg.graph.gradients import graph_keeps_gradients
from kpg.trainers.learning.batches import Batch, take
from kpg.trainers.learning.micro_batches import Gradients, in_turn
from kpg.trainers.learning.objective import (
    GRADIENT_NORM,
    KL_METRIC,
    METRICS,
    Objective,
)
from kpg.trainers.learning.replicas import one_at_a_time, share, sum_up
from kpg.trainers.learning.soundness import (
    Faults,
    Part,
    culprit,
    global_norm,
    row,
    suspects,
    total_norm,
)
from kpg.trainers.learning.training import Training
from kpg.types import Metrics, Tensor

# From here on a copy of all weights costs more than a branch.
_MANY_WEIGHTS = 2**21


class Taken(NamedTuple):
    """An iteration's steps so far.

    `totals` are `[M]` sums of metrics over the sound minibatches, the number of these,
    that of others, and that of reasons to stop: each number of its own would cost a GPU
    a kernel a step. `faulty` is the `row` of the first step that must raise.
    """

    totals: Tensor
    faulty: Tensor

    @property
    def stopped(self) -> Tensor:
        """Whether no more steps are taken."""
        return self.totals[-1] > 0.0


@dataclasses.dataclass(eq=False)
class Descent:
    """Takes gradient steps; `run` builds graph outside of the replicas.

    `prepared` changes a minibatch, given the replica's weight, before `objective` sees
    it; `target_kl` is that of `Updates` if it `stops` by it. `start` finds the `names`
    of the metrics. What is not `_reached`, variables without effect on the objective,
    stays as it is.
    """

    training: Training
    objective: Objective
    prepared: Callable[[Batch, Tensor], Batch] | None = None
    stops: bool = False
    names: tuple[str, ...] = ()
    _reached: list[bool] = dataclasses.field(default_factory=list)

    @property
    def strategy(self) -> tf.distribute.Strategy:
        """Whose replicas learn."""
        return self.training.strategy

    @property
    def target_kl(self) -> float | None:
        """The bound on the divergence, if any."""
        return self.training.algorithm.updates.target_kl if self.stops else None

    @property
    def terms(self) -> list[str]:
        """The losses that are watched, the total last."""
        return [name for name in self.objective.terms if name in self.names]

    @property
    def suspects(self) -> list[str]:
        """What may have been the fault of a step that must raise; see `row`."""
        if self.training.on_nonfinite == "skip":
            return []
        return suspects(self.terms, self.training.variables)

    def start(self, batch: Batch, orders: Tensor, healthy: Tensor) -> Taken:
        """Returns the state before the first step; if not `healthy`, there is none."""
        self.strategy.run(self._look, (batch, orders))
        reasons = tf.cast(~healthy, tf.float32)
        totals = tf.concat([tf.zeros([len(self.names) + 2]), [reasons]], axis=0)
        return Taken(totals, tf.zeros([len(self.suspects)]))

    def _look(self, batch: Batch, orders: Tensor) -> None:
        """Finds the metrics' names, which the loop needs."""
        with contextlib.nullcontext() if tf.executing_eagerly() else aside():
            names = self.objective.metrics(take(batch, orders[0]))
            self.names = (*names, GRADIENT_NORM)

    def run(
        self,
        batch: Batch,
        orders: Tensor,
        window: tuple[Tensor | int, int],
        taken: Taken,
        progress: Tensor,
    ) -> Taken:
        """Takes a gradient step on each minibatch of a window: first, how many."""
        (first, count), limit = window, self.target_kl
        # Workers must reduce in one order, or each waits for what the other does later.
        several = self.training.replicas > 1
        together = self._undone_together()
        changing = self.training.changing() if together else []
        start_values = [tf.identity(variable) for variable in changing]

        def body(index: Tensor, taken: Taken) -> tuple[Tensor, Taken]:
            before = Before(self.training, limit, together)
            arguments = (batch, orders, first + index, progress)
            gradients, metrics = self.strategy.run(self._gradients, arguments)
            metrics = sum_up(self.strategy, metrics)
            with tf.control_dependencies([metrics] if several else []):
                gradients = sum_up(self.strategy, gradients)
            parts = self._parts(gradients)
            sound = tf.math.is_finite(metrics[self.names.index(self.terms[-1])])
            for part in parts:
                sound &= part.sound()
            metrics = tf.concat([metrics, [total_norm(parts)]], axis=0)
            counted, faulty = sound & ~taken.stopped, ~sound & ~taken.stopped
            stop = tf.constant(False)
            if limit is not None:
                stop = counted & (metrics[self.names.index(KL_METRIC)] > 1.5 * limit)

            def step() -> Tensor:
                self._apply(parts)
                return taken.faulty

            def leave() -> Tensor:
                return self._blamed(taken, metrics, parts, faulty)

            blamed = before.change(step, leave, counted & ~stop, sound)
            if self.training.on_nonfinite == "raise":
                stop |= faulty
            flags = [tf.cast(flag, tf.float32) for flag in (counted, faulty, stop)]
            seen = tf.concat([tf.where(counted, metrics, 0.0), flags], axis=0)
            with tf.control_dependencies(gradients if several else []):
                index = tf.identity(index) if several else index
            return index + 1, Taken(taken.totals + seen, blamed)

        def unfinished(index: Tensor, taken: Taken) -> Tensor:
            # A condition on the index alone lets XLA know how often the loop runs.
            more = index < count
            return more if limit is None else more & ~taken.stopped

        # XLA must see where the loop starts.
        steered = limit is None and not for_xla()
        start = tf.where(taken.stopped, count, 0) if steered else tf.constant(0)
        done: Taken = tf.while_loop(
            unfinished, body, (start, taken), **one_at_a_time(self.strategy)
        )[1]
        for variable, old in zip(changing, start_values, strict=True):
            variable.assign(tf.where(done.stopped, old, variable))
        return done

    def _undone_together(self) -> bool:
        """Whether all steps are undone at once if one of them must raise.

        A branch at each step costs a CPU a tenth of its speed with small networks. With
        large ones it costs nothing, and a copy of all weights would.
        """
        if self.target_kl is not None or self.training.on_nonfinite != "raise":
            return False
        sizes = (math.prod(v.shape) for v in self.training.variables)
        return not for_gpu() and sum(sizes) <= _MANY_WEIGHTS

    def _blamed(
        self, taken: Taken, metrics: Tensor, parts: list[Part], faulty: Tensor
    ) -> Tensor:
        """Returns the `row` of the first faulty step, if it is to raise an error."""
        if not self.suspects:
            return taken.faulty
        losses = tf.stack([metrics[self.names.index(term)] for term in self.terms])
        found = row(losses, parts, self.training.variables)
        return tf.where(faulty, found, taken.faulty)

    def metrics(self, taken: Taken, unknown: float = 0.0) -> Metrics:
        """Returns the means over the sound minibatches, `unknown` if there are none."""
        sums, looked = taken.totals[:-3], taken.totals[-3]
        means = tf.unstack(tf.where(looked > 0.0, sums / looked, unknown))
        hidden = {KL_METRIC, *self.terms} - {*METRICS}
        named = zip(self.names, means, strict=True)
        return {name: mean for name, mean in named if name not in hidden}

    def idle(self, taken: Taken) -> Tensor:
        """Returns 1 if no minibatch was sound, else 0."""
        return tf.cast(tf.equal(taken.totals[-3], 0.0), tf.float32)

    def faults(self, taken: Taken) -> Faults:
        """Returns how many steps were not sound, and what was the first one's fault."""
        number, place, value = taken.totals[-2], tf.zeros([]), tf.zeros([])
        if self.suspects:
            place, value = culprit(taken.faulty, len(self.terms))
        return Faults(number, place, value)

    def _gradients(
        self, batch: Batch, orders: Tensor, index: Tensor, progress: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Computes this replica's share of the gradient on one minibatch.

        Each optimizer's gradients are as large as its `scale_loss` makes them.
        """
        rows = take(batch, orders[index])
        weight = share(rows.valid)
        if self.prepared is not None:
            rows = self.prepared(rows, weight)
        size = self.training.micro_batch_size(int(orders.shape[1]))
        if size == orders.shape[1]:
            found, values = self._of_rows(rows, weight, progress)
        else:
            found, values = in_turn(
                lambda part, own: self._of_rows(part, weight * own, progress),
                rows,
                size,
                self.training.variables,
                len(self._measured),
            )
        self._reached = [gradient is not None for gradient in found]
        return [gradient for gradient in found if gradient is not None], values

    @property
    def _measured(self) -> tuple[str, ...]:
        """The metrics that the objective returns."""
        return self.names[:-1]

    def _of_rows(
        self, rows: Batch, weight: Tensor, progress: Tensor
    ) -> tuple[Gradients, Tensor]:
        """Returns the gradients of the rows' loss, and metrics, times a weight."""
        optimized = self.training.optimized
        with tf.GradientTape(persistent=len(optimized) > 1) as tape:
            loss, metrics = self.objective(rows, progress)
            loss = weight * loss
            scaled = [optimizer.scale_loss(loss) for optimizer, _ in optimized]
        found: Gradients = []
        for own, (_, variables) in zip(scaled, optimized, strict=True):
            # Of an embedding's gradient, slices of one row are added up: else the norm
            # would be that of another vector.
            found += [
                None if gradient is None else tf.convert_to_tensor(gradient)
                for gradient in tape.gradient(own, variables)
            ]
        values = [metrics[name] for name in self._measured]
        return found, weight * tf.stack(values)

    def _parts(self, gradients: list[Tensor]) -> list[Part]:
        """Splits the gradients by optimizer, without variables that have no effect."""
        left, reached, parts = iter(gradients), iter(self._reached), []
        for optimizer, variables in self.training.optimized:
            own = [variable for variable in variables if next(reached)]
            if own:
                part = [next(left) for _ in own]
                parts.append(Part(optimizer, own, part, global_norm(part)))
        return parts

    def _apply(self, parts: list[Part]) -> None:
        """Lets each optimizer update its variables."""
        with graph_keeps_gradients():
            for part in parts:
                part.optimizer.apply(self._clipped(part), part.variables)

    def _clipped(self, part: Part) -> list[Tensor]:
        """Clips the global norm, unless the optimizer itself does it more tightly."""
        limit = self.training.settings.max_grad_norm
        inner = getattr(part.optimizer, "inner_optimizer", part.optimizer)
        own = getattr(inner, "global_clipnorm", None)
        if limit is None or (own is not None and own <= limit):
            return part.gradients
        limit *= part.optimizer.scale_loss(1.0)  # what `apply` divides by
        clipped: list[Tensor] = tf.clip_by_global_norm(
            part.gradients, limit, part.norm
        )[0]
        return clipped


class Before:
    """The variables before a step, which is not taken if need be.

    A branch would make a GPU's host wait: there, each step is taken and undone. Nor is
    there one where all steps are undone `together` after the last of them.
    """

    def __init__(
        self, training: Training, target_kl: float | None, together: bool
    ) -> None:
        self._branches = not together and (target_kl is not None or not for_gpu())
        stepped = [] if together or self._branches else training.stepped()
        followed = [] if together else training.followed()
        self._stepped = [(variable, tf.identity(variable)) for variable in stepped]
        self._followed = [(variable, tf.identity(variable)) for variable in followed]

    def change(
        self,
        step: Callable[[], Tensor],
        leave: Callable[[], Tensor],
        taken: Tensor,
        sound: Tensor,
    ) -> Tensor:
        """Takes a step if `taken`; what layers followed stays if it was `sound`.

        Returns what `step` or `leave` does.
        """
        if self._branches:
            result = tf.cond(taken, step, leave)
        else:
            result = leave()
            step()
        for pairs, keep in ((self._stepped, taken), (self._followed, sound)):
            for variable, old in pairs:
                variable.assign(tf.where(keep, variable, old))
        return result
