"""The rules of grammar, each with what breaks it and what only looks like that."""

from __future__ import annotations

import re
from collections.abc import Callable
from pydoc_data.topics import topics
from random import Random

import numpy as np
import pytest

from kpg.language.rewards.grammar_rules import RULES, sentences, violations
from kpg.rewards import Grammar
from tests.mutants.subject import close

BROKEN = {
    "capital": [
        "she left.",
        "She left. he stayed.",
        "Then i left.",
        "You and i, then.",
        '"come in."',
    ],
    "ending": ["She left", "She left. He stayed,", "She left now"],
    "repeated": ["She she left.", "The man saw saw the dog.", "It was very VERY cold."],
    "article": ["A apple fell.", "She has an dog.", "An user left.", "It was a hour."],
    "agreement": [
        "She have a dog.",
        "They is here.",
        "I are cold.",
        "When we was young, he do much.",
    ],
    "verb": ["She could went home.", "He has went home.", "It should is here."],
    "determiner": [
        "The of dog left.",
        "The is here.",
        "Dog the my barks.",
        "She saw the.",
        "He stayed and. She left.",
    ],
    "spacing": ["She left , then.", "She left .", "Red,green.", "What ?"],
    "brackets": ["She (left.", "She left).", "([She] left.", 'He said "no.', "(a]"],
}
TWICE = {"They is here.": 1, "When we was young, he do much.": 2, "(a]": 2}
# Words and signs that the rules must not stumble over.
RIGHT = [
    "He said that that was wrong, and she had had enough.",
    "No, no. No. The price is 3.3 or 10.10 pounds.",
    "A user of a European unit met an honest heir for an hour, once a one.",
    "An umbrella, a ukulele, an unusual uncle, an MRI, a B and an 8.",
    "A historian and an historian met in a hotel.",
    "Does she have a dog? Let it do that. I saw him and they have it.",
    "You and he are old; one of you is young. If I were you!",
    "Mr. Smith met Dr. Jones, e.g. at home (see p. 5), i.e. here.",
    "“Come in,” she said (and he did). He's 3,000 years old…",
    "The (blue) dog barks - and the cat, too.",
    'She said "no".\n\nIt\'s an "an" there.',
    "iPhones don't lie.",
]


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule in RULES for text in BROKEN[rule]]
)
def test_a_broken_rule_is_found_and_no_other(rule: str, text: str) -> None:
    found = {name: count for name, count in violations(text).items() if count}
    if text == "(a]":
        found = {"brackets": found["brackets"]}
    assert found == {rule: TWICE.get(text, 1)}


@pytest.mark.parametrize("text", RIGHT)
def test_what_is_right_breaks_no_rule(text: str) -> None:
    assert not any(violations(text).values())
    assert Grammar()([""], [text]) == [1.0]


def test_sentences() -> None:
    text = 'Mr. Lee left. "Why?" No…\n\n- (Ah!) 3.5 m\n\n???'
    assert [part.strip() for part in sentences(text)] == [
        "Mr. Lee left.",
        '"Why?"',
        "No…",
        "- (Ah!)",
        "3.5 m",
    ]
    assert sentences(" ?! \n\n") == []


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
