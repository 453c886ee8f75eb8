"""BLEU of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from kpg import checks, imports
from kpg.language.rewards.reward import Column, Reward, Score, references

SMOOTHINGS = ("exp", "floor", "add-k", "none")
# Those of sacrebleu that need no download and no compiler.
TOKENIZERS = ("13a", "char", "intl", "none", "zh")


class Bleu(Reward):
    """How many of a completion's n-grams its references have, in [0, 1].

    BLEU = BP · exp(Σₙ log pₙ / N), where pₙ is the share of the completion's n-grams
    that a reference has (each counted at most as often as there), and BP =
    min(1, exp(1 − r / c)) for c words against r of the closest reference. A completion
    whose references are None is not scored.

    Reference: Papineni et al., "BLEU: a method for automatic evaluation of machine
    translation" (2002), https://aclanthology.org/P02-1040; smoothing: Chen and Cherry,
    "A systematic comparison of smoothing techniques for sentence-level BLEU" (2014),
    https://aclanthology.org/W14-3346; computed by sacrebleu: Post, "A call for clarity
    in reporting BLEU scores" (2018), https://aclanthology.org/W18-6319.

    Note: the paper defines BLEU for a corpus, which is not the mean over sentences.
    Here N is at most the number of words of the completion, and orders without a match
    are smoothed if another order has one; otherwise most sentences would score 0.

    Args:
        max_order: Longest n-gram, at least 1. Defaults to 4.
        smoothing: How many matches an order without one has: "exp" ½ in the first such
            order, ¼ in the second and so on, "floor" 0.1, "none" 0, which makes all 0;
            "add-k" adds 1 to the counts of every n up to `max_order` except 1, so that
            orders without an n-gram have 1. Defaults to "exp".
        lowercase: Whether case does not matter. Defaults to False.
        tokenizer: What separates words: "13a" punctuation, "intl" that of Unicode,
            "none" spaces only, "char" everything, "zh" Chinese characters.

    Raises:
        ImportError: If sacrebleu is not installed.
        ValueError: If an option is unknown, or, when called, without `references`.
    """

    requires = ("references",)

    def __init__(
        self,
        max_order: int = 4,
        smoothing: str = "exp",
        lowercase: bool = False,
        tokenizer: str = "13a",
        name: str = "bleu",
    ) -> None:
        super().__init__(name)
        self.max_order = checks.whole_number("max_order", max_order)
        self.smoothing = checks.choice("smoothing", smoothing, SMOOTHINGS)
        self.lowercase = lowercase
        self.tokenizer = checks.choice("tokenizer", tokenizer, TOKENIZERS)
        metrics = imports.optional(
            "sacrebleu.metrics", "sacrebleu", "text", "kpg.rewards.Bleu"
        )
        self._metric = metrics.BLEU(
            lowercase=lowercase,
            tokenize=tokenizer,
            smooth_method=smoothing,
            max_ngram_order=max_order,
            effective_order=True,
        )

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        expected = references(self, columns)
        return [
            self._metric.sentence_score(text, texts).score / 100.0 if texts else None
            for text, texts in zip(completions, expected, strict=True)
        ]
