"""A price for repetition."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from typing_extensions import override

from kpg import checks
from kpg.language.rewards.reward import Score
from kpg.language.rewards.units import CountingReward
from kpg.types import Array


class Repetition(CountingReward):
    """Minus the share of a completion's n-grams that are repeated, in (−1, 0].

    −(1 − distinct / all) over the n-grams of one completion; 0 if it has none.

    Reference: Yeo et al., "Demystifying long chain-of-thought reasoning in LLMs"
    (2025), appendix on repetition, https://arxiv.org/abs/2502.03373, who subtract a
    fixed number for each; the share is 1 − distinct-n of Li et al., "A
    diversity-promoting objective function for neural conversation models" (2016),
    https://arxiv.org/abs/1510.03055.

    Args:
        order: Length of the n-grams, at least 1. Defaults to 3.
        unit: See `TargetLength`. Defaults to "word".
        per_token: Whether each token pays for the n-gram that it completes, −1 / all if
            it occurred before; the sum is the same. For unit "token" only.
    """

    def __init__(
        self,
        order: int = 3,
        unit: str = "word",
        per_token: bool = False,
        name: str = "repetition",
    ) -> None:
        super().__init__(unit, name)
        self.order = checks.whole_number("order", order)
        if per_token and unit != "token":
            raise ValueError(f'`per_token` needs unit="token". Received: unit={unit!r}')
        self.per_token = per_token

    @override
    def score(self, items: Sequence[Hashable]) -> Score:
        prices = repeated(items, self.order)
        return prices if self.per_token else float(prices.sum())


def repeated(items: Sequence[Hashable], order: int) -> Array:
    """Prices N items: −1 / (N − n + 1) where an n-gram ends that came before."""
    prices = np.zeros(len(items))
    seen = set()
    for end in range(order, len(items) + 1):
        ngram = tuple(items[end - order : end])
        if ngram in seen:
            prices[end - 1] = -1.0 / (len(items) - order + 1)
        seen.add(ngram)
    return prices
