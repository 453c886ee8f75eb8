"""Coherence: against its formula in NumPy, and its weakness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from kpg import rewards
from kpg.rewards import Coherence
from tests.mutants.subject import close

WORDS = {"cat": 0, "dog": 1, "sea": 2}


class Executor:
    """Gives each token −its id / 10, and counts three words."""

    def score(self, prompt_ids: Any, completion_ids: Any) -> list[np.ndarray]:
        return [-np.asarray(ids, np.float32) / 10.0 for ids in completion_ids]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        found = np.zeros([len(texts), 3])
        for row, text in zip(found, texts, strict=True):
            for word, place in WORDS.items():
                row[place] = text.lower().count(word)
        return found


def scored(texts: Sequence[str], prompt: str = "The cat.", **options: Any) -> Any:
    ids = [np.arange(1, 4)] * len(texts)
    return Coherence(Executor(), **options)(
        prompts=[prompt] * len(texts),
        completions=texts,
        prompt_ids=[[1]] * len(texts),
        completion_ids=ids,
    )


def test_is_the_mean_of_fluency_and_similarity() -> None:
    texts = ["A cat and a dog. A dog.", "The sea.", "...", "A cat. A cat."]
    half = np.sqrt(0.5)  # the cosine of (1, 1, 0) and an axis
    similar = np.array([(half + half) / 2, 0.0, 0.0, 1.0])
    close(scored(texts), 0.5 * -0.2 + 0.5 * similar)
    close(scored(texts, weight=0.25), 0.75 * -0.2 + 0.25 * similar)
    close(scored(texts, weight=1.0), similar)


def test_without_a_sentence_before_it_only_its_own_count() -> None:
    close(scored(["A cat. A dog. A dog."], prompt="...", weight=1.0), [0.5])
    # Only the last sentence of a prompt is a neighbour.
    close(scored(["The sea."], prompt="A cat. The sea.", weight=1.0), [1.0])


def test_saying_the_same_again_pays() -> None:
    good, repeated = scored(["A dog chased it. Both ran.", "The cat. The cat."])
    assert repeated > good


def test_it_is_saved_without_its_executor() -> None:
    reward = Coherence(Executor(), 0.3)
    config = rewards.serialize(reward)["config"]
    assert config == {"weight": 0.3, "name": "coherence"}
    assert Coherence.from_config({**config, "scorer": Executor()}).weight == 0.3


def test_refuses() -> None:
    class Mute:
        score = Executor.score

    with pytest.raises(ValueError, match=r"must have `embed\(texts\)`.*Mute"):
        Coherence(Mute())  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValueError, match=r"\[0, 1\]. Received: weight=2"):
        Coherence(Executor(), weight=2.0)
