"""Grammar, by a few rules, alone and with BLEU."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from kpg.language.rewards.bleu import Bleu
from kpg.language.rewards.grammar_rules import RULES, sentences, violations
from kpg.language.rewards.reward import TextReward
from kpg.language.rewards.weighted import Weighted


class Grammar(TextReward):
    """How well a completion keeps some rules of written English, in [0, 1].

    1 / (1 + v / s) for v violations in s sentences; 0 for a completion without a word.
    Each rule counts what shows in the letters alone:

    - "capital": a sentence that begins with a lower-case letter, and each lone "i";
    - "ending": a text that does not end with ".", "!", "?" or "…";
    - "repeated": a word that stands twice in a row, "had had" and "that that" excepted;
    - "article": "a" before a vowel, "an" before a consonant;
    - "agreement": a pronoun with the wrong form of be, have or do;
    - "verb": "could went", "has went" and the like;
    - "determiner": "the", "a", "my" … before a word that ends the noun phrase, such as
      "of" or "is", and a sentence that ends with one, or with "and", "or", "but";
    - "spacing": a space before a comma or a full stop, or none after a comma;
    - "brackets": brackets and straight double quotes that do not match.

    Note: a text can keep all rules and not be English: "Tree loudly of runs." scores 1.
    Many short sentences dilute a violation.

    Args:
        rules: Which rules count; None for all. Leave "capital" out for completions that
            continue the prompt's sentence, "ending" where they are cut off.

    Raises:
        ValueError: If a rule is unknown, or the list is empty.
    """

    def __init__(
        self, rules: Sequence[str] | None = None, name: str = "grammar"
    ) -> None:
        super().__init__(name)
        self.rules = list(RULES if rules is None else rules)
        if not self.rules or not set(self.rules) <= set(RULES):
            raise ValueError(
                f"`rules` must be some of {list(RULES)}. Received: {self.rules}"
            )

    @override
    def score(self, text: str) -> float:
        found = sentences(text)
        if not found:
            return 0.0
        broken = violations(text)
        return 1.0 / (1.0 + sum(broken[rule] for rule in self.rules) / len(found))


def bleu_and_grammar(
    coefficient: float = 0.5, name: str = "bleu_and_grammar"
) -> Weighted:
    """BLEU(τ, τ_ref) + λ · Grammar(τ), in [0, 1 + λ], where λ is `coefficient`.

    Both have their defaults; for errors see `Bleu` and `Weighted`.
    """
    return Weighted([Bleu(), Grammar()], [1.0, coefficient], name=name)
