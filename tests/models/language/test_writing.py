"""Options of writing, and what they refuse."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from kpg.distributions import TruncatedFamily
from kpg.models.language.writing import Writing


def test_is_saved_as_plain_data() -> None:
    made = Writing(0.5, min_p=0.1, stop="ab", end_tokens=["x", 3])
    config = made.get_config()
    assert config["stop"] == ["ab"] and config["end_tokens"] == ["x", 3]
    assert Writing(**config) == made and not made.plain
    family = made.family(gym.spaces.Discrete(3))
    assert isinstance(family, TruncatedFamily) and family.min_p == 0.1


def test_is_plain_unless_told() -> None:
    family = Writing().family(gym.spaces.Discrete(3))
    assert Writing().plain and not isinstance(family, TruncatedFamily)
    assert not Writing(repetition_penalty=1.1).plain and Writing(top_k=3).plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "evaluate deterministically.*temperature=0.0"),
        ({"repetition_penalty": 0.0}, "greater than 0. Received: repetition_penalty=0"),
        ({"stop": [3]}, r"strings that are not empty. Received: stop=\(3,\)"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Writing(**options)
