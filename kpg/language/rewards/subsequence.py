"""The longest common subsequence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence


def longest_common_subsequence(
    first: Sequence[Hashable], second: Sequence[Hashable]
) -> int:
    """Counts the items of the longest subsequence that two sequences share.

    A row of the usual table rises by 0 or 1 from cell to cell, so that one integer
    holds it as bits: V ← (V + (V ∧ Mᵢ)) ∨ (V ∧ ¬Mᵢ), where Mᵢ marks the places of
    the i-th item and a bit of V is 0 where the row rises.

    Reference: Hyyrö, "Bit-parallel LCS-length computation revisited" (2004), AWOCA.

    Args:
        first: n items.
        second: m items.

    Returns:
        The length, from 0 to min(n, m).
    """
    places: defaultdict[Hashable, int] = defaultdict(int)
    for place, item in enumerate(first):
        places[item] |= 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for item in second:
        matches = row & places.get(item, 0)
        row = ((row + matches) | (row - matches)) & everything
    return len(first) - row.bit_count()
