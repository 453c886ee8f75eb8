"""What a text is made of: letters, words of a list, words with a mood."""

from __future__ import annotations

import re
from collections.abc import Sequence

from typing_extensions import override

from kpg import checks, imports
from kpg.language.rewards.reward import TextReward
from kpg.language.rows import texts_of

LANGUAGES = ("ar", "de", "en", "es", "eu", "fa", "fr", "it", "lv", "nl", "pt", "ru")
_WORD = re.compile(r"\w+(?:'\w+)*")


class LetterShare(TextReward):
    """Share of a completion's characters that are among `letters`, in [0, 1].

    0 for an empty completion. The default are the lower-case vowels of English. It
    shows within seconds whether a policy learns at all.
    """

    def __init__(self, letters: str = "aeiou", name: str = "vowels") -> None:
        super().__init__(name)
        self.letters = letters

    @override
    def score(self, text: str) -> float:
        return sum(letter in self.letters for letter in text) / max(len(text), 1)


class Spelling(TextReward):
    """The share of a completion's words that a word list knows, in [0, 1].

    Case does not matter; numbers and the possessive 's do not count. 0 for a completion
    without a word. The lists are those of https://github.com/barrust/pyspellchecker;
    the English one has 160 000 American words, many names among them.

    Note: it does not see whether a word fits its place: "the the the" scores 1.

    Args:
        language: One of "ar", "de", "en", "es", "eu", "fa", "fr", "it", "lv", "nl",
            "pt" and "ru". Defaults to "en".
        words: More words to know. Defaults to none.

    Raises:
        ImportError: If pyspellchecker is not installed.
        ValueError: If the language is unknown.
    """

    def __init__(
        self, language: str = "en", words: Sequence[str] = (), name: str = "spelling"
    ) -> None:
        super().__init__(name)
        self.language = checks.choice("language", language, LANGUAGES)
        self.words = texts_of("words", words) if len(words) else []
        module = imports.optional(
            "spellchecker", "pyspellchecker", "text", "kpg.rewards.Spelling"
        )
        known = module.SpellChecker(language=language, distance=1).word_frequency
        self._known = frozenset(known.keys()) | {word.lower() for word in words}

    @override
    def score(self, text: str) -> float:
        found = _WORD.findall(text.lower().replace("’", "'"))
        words = [word for word in found if not word.isdigit()]
        if not words:
            return 0.0
        return sum(self._knows(word) for word in words) / len(words)

    def _knows(self, word: str) -> bool:
        return word in self._known or word.removesuffix("'s") in self._known


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
