"""What the replicas of a `tf.distribute` strategy share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import tensorflow as tf

from kpg.graph.sums import all_sum
from kpg.trajectories import Trajectory
from kpg.types import Array, Nest, Tensor

_N = TypeVar("_N")


def workers_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Returns the number of this worker, from 0, and how many there are.

    The first is the chief. A strategy on one machine has one worker.
    """
    resolver = strategy.cluster_resolver
    jobs = {} if resolver is None else resolver.cluster_spec().as_dict()
    tasks = [(job, n) for job in sorted(jobs) for n in range(len(jobs[job]))]
    if resolver is None or len(tasks) < 2:
        return 0, 1
    return tasks.index((resolver.task_type, resolver.task_id)), len(tasks)


def one_at_a_time(strategy: tf.distribute.Strategy) -> dict[str, int]:
    """Returns an argument of `tf.while_loop` for loops with reductions in them.

    Reductions of several replicas must come in the same order on each worker, which
    would otherwise wait for ever for what another one does later.
    """
    return {} if strategy.num_replicas_in_sync == 1 else {"parallel_iterations": 1}


def split(strategy: tf.distribute.Strategy, trajectory: Trajectory) -> Trajectory:
    """Gives each of this worker's replicas its share of B columns, as tensors."""
    count = strategy.num_replicas_in_sync
    if count == 1:
        whole: Trajectory = tf.nest.map_structure(_constant, trajectory)
        return whole
    count //= workers_of(strategy)[1]

    def part(context: tf.distribute.ReplicaContext) -> Trajectory:
        def own(nest: Nest, axis: int) -> Nest:
            def cut(rows: Array | Tensor | None) -> Tensor | None:
                if rows is None:
                    return None
                size = rows.shape[axis] // count
                first = context.replica_id_in_sync_group % count * size
                window = (slice(None),) * axis + (slice(first, first + size),)
                return tf.constant(rows[window])

            return tf.nest.map_structure(cut, nest)

        states = {
            name: getattr(trajectory, name) for name in ("policy_state", "critic_state")
        }
        rows: Trajectory = own(trajectory._replace(**dict.fromkeys(states, ())), 1)
        return rows._replace(**own(states, 0))

    shares: Trajectory = strategy.experimental_distribute_values_from_function(part)
    return shares


def replicated(strategy: tf.distribute.Strategy, rows: Sequence[Array]) -> Tensor:
    """Gives each replica its own of several arrays, as a tensor."""
    if len(rows) == 1:
        return tf.constant(rows[0])
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(rows[context.replica_id_in_sync_group])
    )


def _constant(rows: Array | Tensor | None) -> Tensor | None:
    return None if rows is None else tf.constant(rows)


def sum_up(strategy: tf.distribute.Strategy, value: _N) -> _N:
    """Adds up a nest of tensors over all replicas, from outside of them."""
    if strategy.num_replicas_in_sync == 1:
        return value
    total: _N = tf.nest.map_structure(
        lambda tensor: strategy.reduce("SUM", tensor, axis=None), value
    )
    return total


def share(valid: Tensor | None) -> Tensor:
    """Returns the weight of this replica's mean in that over all valid rows."""
    count = tf.distribute.get_replica_context().num_replicas_in_sync
    if count == 1:
        return tf.constant(1.0)
    if valid is None:
        return tf.constant(1.0 / count)
    rows = tf.reduce_sum(tf.cast(valid, tf.float32))
    return rows / tf.maximum(all_sum(rows), 1.0)


def fold_in_replica(seed: Tensor) -> Tensor:
    """Makes a seed this replica's own; the first replica's is the seed itself."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return seed
    return fold_in(seed, context.replica_id_in_sync_group)


def fold_in(seed: Tensor, number: Tensor | int) -> Tensor:
    """Makes a `[2]` seed that of one of several replicas or workers; 0 keeps it."""
    number = tf.cast(number, tf.int32)
    return tf.bitwise.bitwise_xor(seed, tf.stack([number * 0x61C88647, number]))
