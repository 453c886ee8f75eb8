"""Words and phrases as an executor's tokens."""

from __future__ import annotations

import pytest

from kpg.environments import Biases, Control, Instructions
from tests.steering import CLASSES, steered


def test_words_become_tokens() -> None:
    lexicon = steered(Instructions(CLASSES, ["cab", "b"])).lexicon
    assert (lexicon.vocabulary_size, lexicon.end) == (5, 1)
    assert lexicon.classes.names == ("one", "other")
    # Letters a, b, c are the tokens 2, 3, 4.
    assert [row.tolist() for row in lexicon.phrases] == [[4, 2, 3], [3]]
    assert lexicon.classes.continuing[0, 0].tolist() == [0, 0, 1, 0, 0]
    assert lexicon.classes.continuing[0, 1].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("control", "message"),
    [
        (Biases({"x": ["a", "xyz"]}), "can write. Received: 'xyz', .* becomes 'aaa'"),
        (Instructions(phrases=["d"]), "`phrases` must.*Received: 'd'.*'a'"),
        (
            Instructions(phrases=["a", "abcab"]),
            "max_new_tokens=4, and 5 tokens of 'abcab'",
        ),
    ],
)
def test_refuses_what_cannot_be_written(control: Control, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steered(control)
