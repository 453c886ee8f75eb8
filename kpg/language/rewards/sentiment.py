"""Sentiment by a lexicon."""

from __future__ import annotations

from typing_extensions import override

from kpg import imports
from kpg.language.rewards.reward import TextReward


class Sentiment(TextReward):
    """How positive the words of a completion are, in [−1, 1].

    s / √(s² + 15), where s is the sum of the valences, −4 to 4, of the words that
    VADER's English lexicon knows. Negations reverse them; degree words, capitals and
    exclamation marks raise or lower them. 0 without such a word.

    Reference: Hutto and Gilbert, "VADER: a parsimonious rule-based model for sentiment
    analysis of social media text" (2014), ICWSM,
    https://ojs.aaai.org/index.php/ICWSM/article/view/14550.

    Note: "wonderful wonderful wonderful" is the best text. Add a penalty on the KL or
    on repetition, or a policy writes just that.

    Raises:
        ImportError: If vaderSentiment is not installed.
    """

    def __init__(self, name: str = "sentiment") -> None:
        super().__init__(name)
        vader = imports.optional(
            "vaderSentiment.vaderSentiment",
            "vaderSentiment",
            "text",
            "kpg.rewards.Sentiment",
        )
        self._analyzer = vader.SentimentIntensityAnalyzer()

    @override
    def score(self, text: str) -> float:
        return float(self._analyzer.polarity_scores(text)["compound"])
