"""Which letters a text is made of: a reward that needs no language."""

from __future__ import annotations

from typing_extensions import override

from kpg.language.rewards.reward import TextReward


class LetterShare(TextReward):
    """Share of a completion's characters that are among some letters, in [0, 1].

    0 for an empty completion. It shows within seconds whether a policy learns at all.

    Args:
        letters: The letters that count. Defaults to the lower-case vowels of English.
        name: What the logs call it. Defaults to "vowels".
    """

    def __init__(self, letters: str = "aeiou", name: str = "vowels") -> None:
        super().__init__(name)
        self.letters = letters

    @override
    def score(self, text: str) -> float:
        return sum(letter in self.letters for letter in text) / max(len(text), 1)
