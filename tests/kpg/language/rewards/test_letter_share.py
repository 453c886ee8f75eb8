from __future__ import annotations

from kpg.rewards import deserialize, serialize
from kpg.text import LetterShare


def test_a_share_of_all_characters() -> None:
    texts = ["", "aei", "xa", "b c!", "AE"]
    scores = LetterShare()(prompts=["?"] * 5, completions=texts)
    assert scores == [0.0, 1.0, 0.5, 0.0, 0.0]


def test_any_letters_count() -> None:
    reward = LetterShare("xz", name="rare")
    assert reward(prompts=["?"], completions=["xyz"]) == [2 / 3]
    again = deserialize(serialize(reward))
    assert again.name == "rare"
    assert again(prompts=["?"], completions=["zza"]) == [2 / 3]
