"""ROUGE-N and ROUGE-L of a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

from kpg.language.rewards.required_columns import references
from kpg.language.rewards.reward import Reward, Score
from kpg.language.rewards.subsequence import longest_common_subsequence
from kpg.language.rewards.units import alphanumeric, check_choice

MEASURES = ("f1", "precision", "recall")
UNITS = ("word", "character")


class RougeN(Reward):
    """How many n-grams a completion and its references share, in [0, 1].

    Recall is the share of the reference's n-grams that the completion has (each
    counted at most as often as there), precision that of the completion's n-grams
    which the reference has, F1 = 2PR / (P + R); the best over the references.

    Reference: Lin, "ROUGE: a package for automatic evaluation of summaries" (2004),
    https://aclanthology.org/W04-1013.

    Note: the paper counts recall only, for all references together; one number for
    each, and F1, which does not pay for mere length, are what is reported today. Words
    are lower-case runs of letters and digits, not stemmed, as in the rouge-score
    package, but with the letters of all scripts. Without an n-gram, as in a single
    word for n = 2, it is 0.

    Args:
        order: Length of the n-grams, at least 1. Defaults to 2.
        measure: "f1", "precision" or "recall". Defaults to "f1".
        unit: "word", or "character" for scripts without spaces (spaces are left out).
            Defaults to "word".
        name: What the logs call it. Defaults to "rouge" and the order: "rouge2".

    Raises:
        ValueError: If an option is unknown, or, when called, if there are no
            `references`. A completion whose references are None is not scored.
    """

    requires = ("references",)

    def __init__(
        self,
        order: int = 2,
        measure: str = "f1",
        unit: str = "word",
        name: str | None = None,
    ) -> None:
        super().__init__(f"rouge{order}" if name is None else name)
        if order < 1:
            raise ValueError(f"`order` must be 1 or more. Received: {order}")
        check_choice("measure", measure, MEASURES)
        check_choice("unit", unit, UNITS)
        self.order = order
        self.measure = measure
        self.unit = unit

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        return [
            max((self._score(text, other) for other in texts), default=None)
            for text, texts in zip(
                completions, references(columns, "RougeN"), strict=True
            )
        ]

    def _score(self, text: str, reference: str) -> float:
        ours, theirs = (
            ngrams(_split(written, self.unit), self.order)
            for written in (text, reference)
        )
        common = (ours & theirs).total()
        return _measure(common, ours.total(), theirs.total(), self.measure)


class RougeL(Reward):
    """How long a subsequence a completion and its references share, in [0, 1].

    Recall is LCS / m and precision LCS / n, for the longest common subsequence of n
    words of the completion and m of the reference, F1 = 2PR / (P + R); the best over
    the references.

    Reference: Lin, "ROUGE: a package for automatic evaluation of summaries" (2004),
    https://aclanthology.org/W04-1013, section 3.1.

    Note: a text counts as one sentence ("rougeL", not "rougeLsum"); the paper's β is 1.
    For words see `RougeN`.

    Args:
        measure: "f1", "precision" or "recall". Defaults to "f1".
        unit: "word", or "character" for scripts without spaces (spaces are left out).
            Defaults to "word".
        name: What the logs call it. Defaults to "rougeL".

    Raises:
        ValueError: If an option is unknown, or, when called, if there are no
            `references`. A completion whose references are None is not scored.
    """

    requires = ("references",)

    def __init__(
        self, measure: str = "f1", unit: str = "word", name: str = "rougeL"
    ) -> None:
        super().__init__(name)
        check_choice("measure", measure, MEASURES)
        check_choice("unit", unit, UNITS)
        self.measure = measure
        self.unit = unit

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Any
    ) -> list[Score]:
        """See `Reward.__call__`."""
        return [
            max((self._score(text, other) for other in texts), default=None)
            for text, texts in zip(
                completions, references(columns, "RougeL"), strict=True
            )
        ]

    def _score(self, text: str, reference: str) -> float:
        ours, theirs = _split(text, self.unit), _split(reference, self.unit)
        common = longest_common_subsequence(ours, theirs)
        return _measure(common, len(ours), len(theirs), self.measure)


def ngrams(items: Sequence[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    """Counts the runs of `order` items that stand next to each other."""
    return Counter(zip(*(items[start:] for start in range(order)), strict=False))


def _split(text: str, unit: str) -> Sequence[str]:
    return alphanumeric(text) if unit == "word" else "".join(text.lower().split())


def _measure(common: int, ours: int, theirs: int, measure: str) -> float:
    """Precision is common / ours, recall common / theirs, F1 2 common / (both)."""
    count = {"precision": ours, "recall": theirs, "f1": 0.5 * (ours + theirs)}[measure]
    return common / count if common else 0.0
