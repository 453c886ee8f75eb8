"""Groups whose texts all earned the same give way to others, within a bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.language.rewards.weighted import Evaluation
from kpg.models.language.decoding.sampling import Completions
from kpg.trainers import recipes
from kpg.trainers.language.dynamic_sampling import with_spread, without_spread
from kpg.trainers.language.writing import Written
from kpg.trajectories import resets
from tests.fragments import collected, engine_of, values_of
from tests.text_training import T, remainder, small_policy, task

NAN = float("nan")


def written(returns: Sequence[float], number: int, width: int = 2) -> Written:
    """Returns texts whose every number says their round and their place."""
    count = len(returns)
    marks = 100 * number + np.arange(count)
    table = tf.constant(np.tile(marks, [T, 1]))
    totals = np.zeros([count, T], np.float32)
    totals[:, 0] = np.nan_to_num(returns)
    return Written(
        np.tile(marks[:, np.newaxis], [1, width]),
        marks,
        Completions(table, tf.cast(table, tf.float32), table, table > 0),
        marks,
        Evaluation(totals, ~np.isnan(returns), {}),
        marks % 2 == 0,
    )


@pytest.mark.parametrize(
    ("returns", "flat"),
    [
        ([1.0, 1.0, 1.0, 2.0], [True, False]),
        ([0.1 + 0.2, 0.3, -5.0, -5.1], [True, False]),
        ([NAN, 1.0, NAN, NAN], [True, True]),
        ([0.0, 1e-9, 0.0, 0.0], [False, True]),
    ],
)
def test_what_has_no_spread(returns: list[float], flat: list[bool]) -> None:
    found = without_spread(np.array(returns, np.float64), 2)
    assert found.tolist() == flat


def test_groups_are_replaced_in_order_and_no_others() -> None:
    rounds = [
        [0.0, 0.0, 0.0, 1.0, 2.0, 2.0, NAN, 3.0],
        [5.0, 5.0, 5.0, 6.0, 7.0, 7.0, 7.0, 7.0],
        [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
    ]
    chosen = with_spread(
        2, 9, lambda number: written(rounds[number], number, 2 + number)
    )
    places = [102, 103, 2, 3, 200, 201, 202, 203]
    own = chosen.written
    for rows in (own.lengths, own.counts, own.prompts[:, 0]):
        assert rows.tolist() == places
    for rows in own.completions[:3]:
        assert rows.numpy().tolist() == [places] * T
    # Prompts of other lengths are padded.
    assert own.prompts.shape == (8, 4) and own.prompts[2].tolist() == [2, 2, 0, 0]
    assert own.returns.tolist() == [5.0, 6.0, 0.0, 1.0, 1.0, 2.0, 1.0, 2.0]
    assert own.ended.tolist() == [mark % 2 == 0 for mark in places]
    measures = chosen.measures(9)
    shares = measures["groups_without_spread"].tolist()
    assert shares == [1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    assert measures["groups_without_spread_kept"].tolist() == [0.0] * 4
    assert measures["sampling_rounds"].tolist() == [3.0]


def test_one_round_is_enough_if_all_have_spread() -> None:
    chosen = with_spread(2, 9, lambda number: written([1.0, 2.0], number))
    assert chosen.rounds == 1 and chosen.written.lengths.tolist() == [0, 1]
    assert set(chosen.measures(0)) == {"groups_without_spread"}


def same(prompts: Any, completions: Any) -> list[float]:
    return [0.5] * len(completions)


def made(reward: Any, rounds: int) -> tuple[Any, Any]:
    trainer: Any = recipes.grpo(
        small_policy("abc"), 0, dynamic_sampling=rounds, num_steps=T
    )
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return trainer, task([reward], num_envs=6, group_size=3)


@pytest.mark.usefixtures("one_by_one")
def test_rewards_that_never_spread_end_after_the_bound() -> None:
    trainer, env = made(same, 2)
    before = values_of(trainer.policy.trainable_variables)
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    for old, new in zip(
        before, values_of(trainer.policy.trainable_variables), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    assert history["sampling_rounds"] == [3.0]
    assert history["groups_without_spread"] == [1.0]
    assert history["groups_without_spread_kept"] == [1.0]
    # Every round's steps are taken, and those learned from make the return.
    assert history["env_steps"] == [2 * 3 * 6 * T]
    assert history["episodes"] == [12]


def test_what_is_learned_from_is_what_was_written(one_by_one: None) -> None:
    """Also of later rounds: prompts, tokens and their probabilities belong together."""
    trainer, env = made(remainder, 3)
    rounds: list[Written] = []
    engine = engine_of(trainer, env)
    assert engine.writer.sampler.alike == env.group_size == 3
    write = engine.writer.write

    def noting(indices: Any, seed: Any) -> Written:
        found: Written = write(indices, seed)
        if not rounds:  # a first round of which only the second group counts
            found.scores.total[:3] = 0.0
        rounds.append(found)
        return found

    engine.writer.write = noting
    rows, _ = collected(trainer, env)
    assert len(rounds) == 2
    parameters, _ = trainer.policy.unroll(
        rows.observations, rows.policy_state, resets(rows)
    )
    again = trainer.policy.family.log_prob(parameters, rows.actions)
    found, valid = rows.log_probs, rows.valid
    np.testing.assert_allclose(found[valid], again[valid], atol=1e-5)
    second = rounds[1].completions.tokens.numpy()
    assert (rows.actions.numpy()[:, :3] == second[:, :3]).all()


def test_further_rounds_have_an_order_of_their_own() -> None:
    env = task(prompts=[f"{'a' * (1 + n)}" for n in range(9)], num_envs=6, group_size=2)
    orders = [env.chosen(0, number).tolist() for number in range(4)]
    assert orders[0] == env.chosen(0).tolist()
    assert len({tuple(order) for order in orders}) > 2
    assert all(order[0::2] == order[1::2] for order in orders)
