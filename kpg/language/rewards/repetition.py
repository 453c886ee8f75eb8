"""A price for saying the same again."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kpg.language.rewards.reward import Reward, Score
from kpg.language.rewards.units import check_choice, split

UNITS = ("word", "character", "token")


class Repetition(Reward):
    """Minus the share of a completion's n-grams that it had already, in (−1, 0].

    −(1 − distinct / all) over the n-grams of one completion; 0 if it has none.

    Reference: Yeo et al., "Demystifying long chain-of-thought reasoning in LLMs"
    (2025), appendix on repetition, https://arxiv.org/abs/2502.03373, which subtracts a
    fixed number for each repeated n-gram; the share is 1 − distinct-n of Li et al., "A
    diversity-promoting objective function for neural conversation models" (2016),
    https://arxiv.org/abs/1510.03055.

    Args:
        order: Length of the n-grams, at least 1. Defaults to 3.
        unit: "word" (lower-case runs of letters and digits), "character" or "token".
            Defaults to "word".
        per_token: Whether each token pays for the n-gram that it completes, −1 / all
            if that stood there before, so that the sum is the same; for unit "token"
            only. Defaults to False.
        name: What the logs call it. Defaults to "repetition".

    Raises:
        ValueError: If an option is unknown or without effect, or, when called for
            tokens, if there are no `completion_ids`.
    """

    def __init__(
        self,
        order: int = 3,
        unit: str = "word",
        per_token: bool = False,
        name: str = "repetition",
    ) -> None:
        super().__init__(name)
        if order < 1:
            raise ValueError(f"`order` must be 1 or more. Received: {order}")
        check_choice("unit", unit, UNITS)
        if per_token and unit != "token":
            raise ValueError(f'`per_token` needs unit="token". Received: {unit!r}')
        self.order = order
        self.unit = unit
        self.requires = ("completion_ids",) if unit == "token" else ()
        self.per_token = per_token

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        pieces = split(completions, columns, self.unit, "Repetition")
        prices = [repeated(piece, self.order) for piece in pieces]
        if self.per_token:
            return list(prices)
        return [float(price.sum()) for price in prices]


def repeated(items: Sequence[Hashable], order: int) -> npt.NDArray[np.float64]:
    """Prices each item for the n-gram that it completes.

    Args:
        items: N items.
        order: n.

    Returns:
        N numbers: −1 / (N − n + 1) if the n-gram that ends there stood there before,
        else 0.
    """
    prices = np.zeros(len(items))
    seen = set()
    for end in range(order, len(items) + 1):
        ngram = tuple(items[end - order : end])
        if ngram in seen:
            prices[end - 1] = -1.0 / (len(items) - order + 1)
        seen.add(ngram)
    return prices
