"""Texts near a reference: what counts of them, and where training ends."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tests.fragments import collected, traces
from tests.languages import (
    LENGTH,
    REWARDS,
    STATES,
    WORDS,
    best_tokens,
    divergence,
    stir,
    tilted,
    word_probabilities,
)
from tests.text_training import make_trainer, noisy, small_policy, task
from tests.texts import teacher_forced

BETA = 0.5
PROMPT = [2, 2, 2]


@pytest.mark.usefixtures("one_by_one")
def test_the_reference_reads_texts_up_to_their_end() -> None:
    made = small_policy("abc")
    trainer = make_trainer(made, "REINFORCE", reference_kl_coef=1.0)
    trainer.reference.begin()
    stir(made, scale=0.2)
    rows, _ = collected(trainer, task(), 5)
    valid = rows.valid.numpy()
    assert 0 < valid.sum() < valid.size
    drift = trainer.reference.drift(rows)
    np.testing.assert_array_equal(
        drift.estimates, trainer.reference.drift(noisy(rows)).estimates
    )
    assert np.abs(drift.estimates.numpy()[valid]).min() > 1e-4
    for weight, copy in zip(
        made.trainable_variables, trainer.reference.snapshot, strict=True
    ):
        weight.assign(copy)
    histories, lengths = (part.numpy() for part in rows.policy_state)
    for column, (history, length) in enumerate(zip(histories, lengths, strict=True)):
        prompt = [*history[:length], int(rows.observations[0, column])]
        count = int(valid[:, column].sum())
        completion = rows.actions.numpy()[:count, column]
        want = teacher_forced(made, prompt, completion)
        np.testing.assert_allclose(drift.log_probs[:count, column], want, atol=1e-5)


def table_of(made: Any) -> np.ndarray:
    """Returns the probabilities `[3, 3]` of the tokens in each state of a word."""
    table = np.zeros([3, 3])
    for prefix, state in STATES.items():
        for token in range(3):
            log_probs = teacher_forced(made, PROMPT, (*prefix, token))
            table[state, token] = np.exp(log_probs[-1])
    return table


def paid(prompts: Any, completions: Any, completion_ids: Any) -> list[float]:
    return [REWARDS[WORDS.index(tuple(map(int, ids)))] for ids in completion_ids]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        ("REINFORCE", {"baseline": "leave_one_out", "returns": "total"}),
        ("ActorCritic", {"gae_lambda": 1.0}),
        ("PPO", {"gae_lambda": 1.0, "num_epochs": 2, "reference_kl_in": "loss"}),
    ],
)
def test_a_language_ends_where_theory_says(
    algorithm: str, settings: dict[str, Any]
) -> None:
    made = small_policy()
    extra: dict[str, Any] = {"normalize_advantages": False, "reference_kl_coef": BETA}
    if algorithm == "PPO":
        extra["minibatch_size"] = 256 * LENGTH
    trainer = make_trainer(made, algorithm, num_steps=LENGTH, **settings, **extra)
    trainer.compile(keras.optimizers.Adam(0.02))
    reference = table_of(made)
    env = task(
        [paid], prompts=["aaa"], max_new_tokens=LENGTH, num_envs=256, group_size=256
    )
    for rate in (0.02, 0.002):
        trainer.optimizer.learning_rate = rate
        trainer.fit(env, steps_per_epoch=100, verbose=0)
    assert traces(trainer) == 1
    start = word_probabilities(reference)
    best = tilted(start, REWARDS, BETA)
    if "reference_kl_in" in settings:
        best = word_probabilities(best_tokens(reference, BETA))
    got = word_probabilities(table_of(made))
    assert divergence(got, best) < 0.02 < divergence(start, best)
