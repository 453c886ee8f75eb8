"""The score of grammar, and how it tells written English from shuffled words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pydoc_data.topics import topics
from random import Random

import numpy as np
import pytest

from kpg.language.rewards.grammar_rules import violations
from kpg.rewards import Bleu, Grammar, bleu_and_grammar
from tests.mutants.subject import close


def test_the_score_is_of_violations_for_each_sentence() -> None:
    one, two = "She left.", "They is the the dog"
    assert sum(violations(two).values()) == 3
    texts = [one, two, f"{one} {two}", f"{one} " * 5 + two, "", "?!"]
    expected = [1.0, 1 / (1 + 3), 1 / (1 + 3 / 2), 1 / (1 + 3 / 6), 0.0, 0.0]
    close(Grammar()([""] * 6, texts), expected)


def test_rules_can_be_chosen() -> None:
    text = "she left"
    close(Grammar()([""], [text]), [1 / 3])
    close(Grammar(rules=["ending"])([""], [text]), [1 / 2])
    close(Grammar(rules=["article", "spacing"])([""], [text]), [1.0])
    for rules in ([], ["ending", "style"]):
        with pytest.raises(ValueError, match="`rules` must be some of .*Received"):
            Grammar(rules=rules)


def test_words_in_any_order_score_less_than_in_theirs() -> None:
    right = "The old man and his dog have seen a small house at the end of the road."
    wrong = "the a house of end dog and man have road seen. small the old at the The"
    (better, worse) = Grammar()(["", ""], [right, wrong])
    assert better == 1.0
    assert isinstance(worse, float)
    assert worse < 0.4


def paragraphs() -> list[str]:
    """Returns prose of Python's documentation, without code and markup."""
    found = set()
    for topic in topics.values():
        for block in topic.split("\n\n"):
            text = " ".join(block.split())
            if re.fullmatch(r"[A-Z][a-z][^\"`*=|<>\\]{60,400}\.", text):
                found.add(text)
    return sorted(found)


def share_below(random: Random, change: Callable[[Random, list[str]], object]) -> float:
    """Returns how often a changed paragraph scores less; ties count half."""
    wins = 0.0
    for text in paragraphs():
        words = text.split()
        change(random, words)
        right, wrong = Grammar()(["", ""], [text, " ".join(words)])
        assert isinstance(right, float)
        assert isinstance(wrong, float)
        wins += (right > wrong) + 0.5 * (right == wrong)
    return wins / len(paragraphs())


def swap(random: Random, words: list[str]) -> None:
    place = random.randrange(len(words) - 1)
    words[place : place + 2] = words[place + 1], words[place]


def test_written_english_keeps_the_rules_and_shuffled_english_does_not() -> None:
    """The figures of docs/rewards.md; what the rules cannot see stays in its place."""
    texts = paragraphs()
    assert len(texts) > 100
    assert np.mean(np.array(Grammar()([""] * len(texts), texts), float)) > 0.97
    assert share_below(Random(0), lambda random, words: random.shuffle(words)) > 0.98
    assert 0.55 < share_below(Random(0), swap) < 0.70
    lacking = share_below(
        Random(0), lambda r, words: words.pop(r.randrange(len(words)))
    )
    assert 0.5 < lacking < 0.65


def test_is_the_weighted_sum() -> None:
    texts, references = ["The cat sat.", "the cat sat on"], ["The cat sat."] * 2
    found = bleu_and_grammar(0.3)(["", ""], texts, references=references)
    (bleu,) = Bleu()([""], texts[1:], references=references[1:])
    (grammar,) = Grammar()([""], texts[1:])
    assert isinstance(bleu, float)
    assert isinstance(grammar, float)
    close(found, [1.0 + 0.3, bleu + 0.3 * grammar])
    assert 0.0 < bleu < 1.0
    assert grammar == 1 / 3
