"""ROUGE-N and ROUGE-L of a sentence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from typing_extensions import override

from kpg import checks
from kpg.language.rewards.reward import Column, Reward, Score, references
from kpg.language.rewards.units import words


class Rouge(Reward, ABC):
    """What a completion and the best of its references share, in [0, 1]."""

    requires = ("references",)

    def __init__(self, measure: str, unit: str, name: str) -> None:
        super().__init__(name)
        self.measure = checks.choice("measure", measure, ("f1", "precision", "recall"))
        self.unit = checks.choice("unit", unit, ("word", "character"))

    @abstractmethod
    def counts(self, ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...]:
        """Returns what both share, and what each of them has, of what is counted."""

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        expected = references(self, columns)
        return [
            max((self._score(text, other) for other in texts), default=None)
            for text, texts in zip(completions, expected, strict=True)
        ]

    def _score(self, text: str, reference: str) -> float:
        """Precision is common / ours, recall common / theirs, F1 2 common / (both)."""
        common, ours, theirs = self.counts(self._split(text), self._split(reference))
        sizes = {"precision": ours, "recall": theirs, "f1": 0.5 * (ours + theirs)}
        return common / sizes[self.measure] if common else 0.0

    def _split(self, text: str) -> Sequence[str]:
        return words(text) if self.unit == "word" else "".join(text.lower().split())


class RougeN(Rouge):
    """How many n-grams a completion and its references share, in [0, 1].

    Recall is the share of the reference's n-grams that the completion has (each counted
    at most as often as there), precision that of the completion's n-grams which the
    reference has, F1 = 2PR / (P + R); the best over the references. A completion whose
    references are None is not scored.

    Reference: Lin, "ROUGE: a package for automatic evaluation of summaries" (2004),
    https://aclanthology.org/W04-1013.

    Note: the paper counts recall only, for all references together. Words are
    lower-case runs of letters and digits of all scripts, not stemmed. Without an
    n-gram, as in a single word for n = 2, it is 0.

    Args:
        order: Length of the n-grams, at least 1. Defaults to 2.
        measure: "f1", "precision" or "recall". Defaults to "f1".
        unit: "word", or "character" for scripts without spaces (spaces are left out).
            Defaults to "word".
        name: What the logs call it. Defaults to "rouge" and the order: "rouge2".

    Raises:
        ValueError: If an option is unknown, or, when called, without `references`.
    """

    def __init__(
        self,
        order: int = 2,
        measure: str = "f1",
        unit: str = "word",
        name: str | None = None,
    ) -> None:
        super().__init__(measure, unit, f"rouge{order}" if name is None else name)
        self.order = checks.whole_number("order", order)

    @override
    def counts(self, ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...]:
        first, second = ngrams(ours, self.order), ngrams(theirs, self.order)
        return (first & second).total(), first.total(), second.total()


class RougeL(Rouge):
    """How long a subsequence a completion and its references share, in [0, 1].

    Recall is LCS / m and precision LCS / n, for the longest common subsequence of n
    words of the completion and m of the reference (section 3.1 of the paper, with
    β = 1). A text counts as one sentence: "rougeL", not "rougeLsum".
    For all else, the arguments included, see `RougeN`.
    """

    def __init__(
        self, measure: str = "f1", unit: str = "word", name: str = "rougeL"
    ) -> None:
        super().__init__(measure, unit, name)

    @override
    def counts(self, ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...]:
        return longest_common_subsequence(ours, theirs), len(ours), len(theirs)


def ngrams(items: Sequence[Hashable], order: int) -> Counter[tuple[Hashable, ...]]:
    """Counts the runs of `order` neighbouring items."""
    return Counter(zip(*(items[start:] for start in range(order)), strict=False))


def longest_common_subsequence(
    first: Sequence[Hashable], second: Sequence[Hashable]
) -> int:
    """Counts the items of the longest subsequence that two sequences share.

    A table row rises by 0 or 1 per cell, so one integer holds it as bits:
    V ← (V + (V ∧ Mᵢ)) ∨ (V ∧ ¬Mᵢ), where Mᵢ marks the places of the i-th item. Hyyrö,
    "Bit-parallel LCS-length computation revisited" (2004), AWOCA.
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
