"""The rules of grammar, each with what breaks it and what only looks like that."""

from __future__ import annotations

import pytest

from kpg.language.rewards.grammar_rules import RULES, sentences, violations

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
