"""What an executor writes under control, and who chooses it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kpg.environments import Instructions
from kpg.models import CausalLMPolicy
from tests.steering import SEED, generation, logits, steered
from tests.texts import gpt2, policy

END = 1


def test_what_is_written_without_asking() -> None:
    made = steered(Instructions(phrases=["cab", "b"], deterministic=True))
    likely = int(np.argmax(logits(1)[0]))
    actions = np.arange(5)
    rows = logits(1).repeat(5, 0)
    written = made.tokens(rows, actions, np.zeros(5, int), SEED)
    np.testing.assert_array_equal(written, [likely, END, likely, 4, 3])
    np.testing.assert_array_equal(made.forced(actions), [-1, END, -1, 4, 3])
    phrases = [made.control.phrase(action, made.lexicon) for action in actions]
    assert phrases[:3] == [None] * 3
    assert [phrase.tolist() for phrase in phrases[3:] if phrase is not None] == [
        [4, 2, 3],
        [3],
    ]
    longer = made.phrases(np.array([3, 3, 4, 0]), np.array([1, 2, 3]))
    assert [(row, phrase.tolist()) for row, phrase in longer] == [(1, [4, 2, 3])]
    assert made.inserts and not steered(Instructions(phrases=["b"])).inserts


def test_the_executor_samples_from_its_own_family() -> None:
    made = steered(Instructions(), top_k=2)
    count = 4000
    rows = logits(1).repeat(count, 0)
    actions = np.zeros(count, int)
    written = made.tokens(rows, actions, np.zeros(count, int), SEED).numpy()
    order = np.argsort(-logits(1)[0])
    weights = np.exp(logits(1)[0][order[:2]])
    probability = weights[0] / weights.sum()
    error = np.sqrt(probability * (1 - probability) / count)
    assert set(written.tolist()) == set(order[:2].tolist())
    assert abs((written == order[0]).mean() - probability) < 4 * error


@pytest.mark.parametrize("made", [gpt2(5), object()])
def test_refuses_an_executor_without_a_tokenizer(made: object) -> None:
    with pytest.raises(ValueError, match="Received: (GPT2CausalLM|object)"):
        generation(made)
    with pytest.raises(ValueError, match="needs a `tokenizer`.*tokenizer=None"):
        CausalLMPolicy(gpt2(5))


@pytest.mark.parametrize(
    "options", [{"stop": ["ab"]}, {"end_tokens": ["b"]}, {"repetition_penalty": 1.1}]
)
def test_refuses_an_executor_that_writes_in_its_own_way(
    options: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match="end token alone.*make the executor without"):
        generation(policy("abc", **options))
