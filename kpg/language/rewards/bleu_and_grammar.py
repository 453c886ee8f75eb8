"""BLEU with grammar."""

from __future__ import annotations

from kpg.language.rewards.bleu import Bleu
from kpg.language.rewards.grammar import Grammar
from kpg.language.rewards.weighted import Weighted


def bleu_and_grammar(
    coefficient: float = 0.5, name: str = "bleu_and_grammar"
) -> Weighted:
    """BLEU(τ, τ_ref) + λ · Grammar(τ), in [0, 1 + λ], with the defaults of both.

    Args:
        coefficient: λ. Defaults to 0.5.
        name: What the logs call it. Defaults to "bleu_and_grammar".

    Raises:
        ImportError: If sacrebleu is not installed.
        ValueError: If the coefficient is not finite.
    """
    return Weighted([Bleu(), Grammar()], [1.0, coefficient], name=name)
