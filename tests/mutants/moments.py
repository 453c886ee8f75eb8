"""Running moments: what must hold, and how they go wrong."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from kpg.models import RunningNormalization
from tests.mutants.subject import Array, Implementation, Subject, close


def rows() -> Array:
    """Two features, whose mean drifts from batch to batch."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(60, 2)) * [0.5, 3.0]
    return (numbers + np.linspace(0.0, 4.0, 60)[:, np.newaxis]).astype("float32")


def shipped(batches: list[Array]) -> tuple[Array, Array]:
    layer = RunningNormalization((2,))
    for batch in batches:
        layer.update(tf.constant(batch))
    return layer.mean.numpy(), layer.variance.numpy()


def one_batch_has_numpys_moments(moments: Implementation) -> None:
    mean, variance = moments([rows()])
    close(mean, rows().mean(0), 1e-4)
    close(variance, rows().var(0), 1e-4)


def the_split_does_not_matter(moments: Implementation) -> None:
    for splits in ([30], [10, 15, 50], [1, 2]):
        mean, variance = moments(np.split(rows(), splits))
        close(mean, rows().mean(0), 1e-4)
        close(variance, rows().var(0), 1e-4)


def the_order_does_not_matter(moments: Implementation) -> None:
    batches = np.split(rows(), [10, 15, 50])
    for found, expected in zip(moments(batches[::-1]), moments(batches), strict=True):
        close(found, expected, 1e-4)


def merged(
    batches: list[Array],
    *,
    shift: bool = True,
    weighted: bool = True,
    ddof: int = 0,
    rate: float | None = None,
) -> tuple[Array, Array]:
    """Chan's merge again; each option, changed, makes a mutant of it."""
    count, mean, variance = 0.0, np.zeros(2), np.ones(2)
    for batch in batches:
        size = len(batch)
        share = size / (count + size) if weighted else 1.0 / (1.0 + (count > 0.0))
        if rate is not None and count:
            share = rate
        distance = batch.mean(0) - mean
        variance = (1.0 - share) * variance + share * batch.var(
            0, ddof=min(ddof, size - 1)
        )
        if shift:
            variance = variance + share * (1.0 - share) * distance**2
        mean = mean + share * distance
        count += size
    return mean, variance


MOMENTS = Subject(
    name="kpg.models.RunningNormalization",
    shipped=shipped,
    identities=(
        one_batch_has_numpys_moments,
        the_split_does_not_matter,
        the_order_does_not_matter,
    ),
    mutants={
        "shift term missing": lambda batches: merged(batches, shift=False),
        "batches weighted alike": lambda batches: merged(batches, weighted=False),
        "forgets at a fixed rate": lambda batches: merged(batches, rate=0.1),
        "divided by n − 1": lambda batches: merged(batches, ddof=1),
        "only the last batch": lambda batches: merged(batches[-1:]),
        "deviation for variance": lambda batches: (
            merged(batches)[0],
            np.sqrt(merged(batches)[1]),
        ),
    },
    right=merged,
)
