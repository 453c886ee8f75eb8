"""Groups of texts that all earned the same give way to others that did not."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kpg.language.rewards.weighted import Evaluation
from kpg.trainers.language.writing import Written
from kpg.types import Array

# Rewards that differ by less, relative to their size, differ by rounding.
_ROUNDING = 1e-6


class Chosen(NamedTuple):
    """Texts to learn from, and which groups have no spread.

    Of the groups `[B / G]`, bool, `flat` has those of each round, `kept` those that are
    learned from.
    """

    written: Written
    flat: list[Array]
    kept: Array

    @property
    def rounds(self) -> int:
        """In how many rounds texts were written, ≥ 1."""
        return len(self.flat)

    def measures(self, further_rounds: int) -> dict[str, Array]:
        """Returns what is logged, `[…]` float32 each, if there may be more rounds."""
        shares = {"groups_without_spread": np.concatenate(self.flat)}
        if further_rounds:
            shares["groups_without_spread_kept"] = self.kept
            shares["sampling_rounds"] = np.array([self.rounds])
        return {name: np.asarray(rows, np.float32) for name, rows in shares.items()}


def without_spread(returns: Array, group_size: int) -> Array:
    """Returns `[B / G]` bool: the groups whose scored texts all earned the same.

    `returns` are `[B]`, NaN for texts that nothing scored.
    """
    groups = returns.reshape([-1, group_size])
    known = ~np.isnan(groups)
    high = np.where(known, groups, -np.inf).max(axis=1)
    low = np.where(known, groups, np.inf).min(axis=1)
    flat = high - low <= _ROUNDING * np.maximum(np.abs(high), np.abs(low))
    return np.asarray(flat | (known.sum(axis=1) < 2))


def with_spread(
    group_size: int, further_rounds: int, write: Callable[[int], Written]
) -> Chosen:
    """Writes, and writes again until all groups have spread, or no round is left.

    `write` takes the number of the round, from 0 on, and returns B texts of which
    `group_size` neighbours are a group. Groups without spread that nothing replaces
    stay: they have no advantage, and count in means over texts or tokens.

    Reference: Yu et al. (2025), https://arxiv.org/abs/2503.14476, section 3.2.
    """
    written = write(0)
    flat = [without_spread(written.returns, group_size)]
    kept = flat[0].copy()
    while kept.any() and len(flat) <= further_rounds:
        fresh = write(len(flat))
        flat.append(without_spread(fresh.returns, group_size))
        sources = np.flatnonzero(~flat[-1])
        places = np.flatnonzero(kept)[: len(sources)]
        written = _replaced(written, fresh, group_size, places, sources[: len(places)])
        kept[places] = False
    return Chosen(written, flat, kept)


def _replaced(
    written: Written, fresh: Written, group_size: int, places: Array, sources: Array
) -> Written:
    """Returns texts with the groups `sources` of others at `places`."""
    total = len(written.counts)
    rows = np.arange(total).reshape([-1, group_size])
    rows[places] = total + rows[sources]
    order = rows.ravel()

    def joined(own: Array, other: Array) -> Array:
        return np.concatenate([own, other])[order]

    width = max(written.prompts.shape[1], fresh.prompts.shape[1])
    prompts, others = (
        np.pad(one.prompts, [(0, 0), (0, width - one.prompts.shape[1])])
        for one in (written, fresh)
    )
    return Written(
        joined(prompts, others),
        joined(written.lengths, fresh.lengths),
        tf.nest.map_structure(
            lambda own, other: tf.gather(tf.concat([own, other], 1), order, axis=1),
            written.completions,
            fresh.completions,
        ),
        joined(written.counts, fresh.counts),
        Evaluation(
            joined(written.scores.total, fresh.scores.total),
            joined(written.scores.scored, fresh.scores.scored),
            parts={},
        ),
        joined(written.ended, fresh.ended),
    )
