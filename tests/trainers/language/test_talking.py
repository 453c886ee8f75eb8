"""Conversations: what is learned from them is what the policy said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import Conversation
from kpg.models.language.decoding.sampling import Completions
from kpg.trainers.language.talking import Talker, credited
from tests.fragments import batch_of, collected, engine_of
from tests.seq2seq import policy as seq2seq_policy
from tests.text_training import gradient_of, make_trainer, small_policy
from tests.texts import remainder, teacher_forced

SEED = tf.constant([1, 2])
REPLY, LENGTH = 3, 2 + 3


def reply(prompts: Any, completions: Any, completion_ids: Any) -> list[str | None]:
    """Answers an end with a letter, a letter with three, and padding with nothing."""
    return [[None, "a", "aaa"][ids[-1]] for ids in completion_ids]


def conversation(num_envs: int = 6, **options: Any) -> Conversation:
    given: dict[str, Any] = {
        "max_turns": 2,
        "max_turn_tokens": 1,
        "max_reply_tokens": REPLY,
    }
    given |= {"rewards": [remainder], "num_envs": num_envs, **options}
    return Conversation(given.pop("prompts", ["aa", "a"]), reply, **given)


# All that can be said after a prompt in two turns, and which tokens are the policy's:
# token 0 pads, 1 ends and 2 is a letter.
SAID = [([0], [True])]
SAID += [([1, 2, last], [True, False, True]) for last in range(3)]
SAID += [([2, 2, 2, 2, last], [True, False, False, False, True]) for last in range(3)]


def scripted() -> Any:
    """Returns a sampler that writes `SAID`, a turn at a call."""
    turns = iter([0, -1])

    def function(tokens: tf.Tensor, lengths: tf.Tensor, seed: tf.Tensor) -> Any:
        turn = next(turns)
        written = tf.constant([[tokens[turn] for tokens, _ in SAID]])
        zeros = tf.zeros(written.shape)
        return Completions(written, zeros, zeros, tf.ones(written.shape, tf.bool))

    return function


def test_rows_of_a_group_are_read_apart() -> None:
    """Their prompt is one, but not what was said behind it."""
    talker = Talker(conversation(group_size=2), small_policy(), False, in_groups=True)
    assert talker.sampler.alike == 1


@pytest.mark.usefixtures("one_by_one")
def test_the_expected_gradient_is_that_of_the_expected_reward() -> None:
    made, prompt = small_policy(), [2, 2]
    env = conversation(len(SAID), prompts=["aa"])
    trainer = make_trainer(
        made,
        "REINFORCE",
        baseline="none",
        normalize_advantages=False,
        num_steps=LENGTH,
    )
    engine = engine_of(trainer, env)
    engine.writer.function = scripted()
    rows, episodes = engine.collect(0, SEED)
    assert episodes.lengths == sum(sum(own) for _, own in SAID)
    variables = [variable.value for variable in made.trainable_variables]
    with tf.GradientTape() as tape:
        log_probs = [
            tf.reduce_sum(tf.boolean_mask(teacher_forced(made, prompt, tokens), own))
            for tokens, own in SAID
        ]
        probs = tf.exp(tf.stack(log_probs))
        rewards = remainder([], [], [tokens for tokens, _ in SAID])
        expected = tf.reduce_sum(probs * tf.constant(rewards))
    np.testing.assert_allclose(tf.reduce_sum(probs), 1.0, atol=1e-5)
    exact = tape.gradient(expected, variables)
    weighted = rows._replace(rewards=rows.rewards * probs)
    of = gradient_of(trainer, len(SAID))
    # The loss is a mean over the policy's own tokens, and falls where rewards rise.
    count = float(tf.reduce_sum(tf.cast(rows.valid, tf.float32)))
    for ours, want in zip(of(weighted), exact, strict=False):
        want = tf.convert_to_tensor(want).numpy()
        np.testing.assert_allclose(-count * ours, want, atol=1e-5)
    # The mutant that also learns what others said.
    length = np.array([len(tokens) for tokens, _ in SAID])
    every = tf.constant(np.arange(env.max_new_tokens)[:, np.newaxis] < length)
    wrong = of(weighted._replace(valid=every))
    first = float(length.sum()) * wrong[0]
    assert not np.allclose(-first, tf.convert_to_tensor(exact[0]), atol=1e-3)


@pytest.mark.usefixtures("one_by_one")
def test_own_log_probabilities_are_those_of_one_pass_over_all() -> None:
    made, env = small_policy(), conversation(max_turns=3)
    length = env.max_new_tokens
    trainer = make_trainer(made, "PPO", num_steps=length, minibatch_size=6 * length)
    rows, episodes = collected(trainer, env)
    done = env.completed
    assert done is not None
    turns = []
    for row, (given, ids) in enumerate(
        zip(done.columns["prompt_ids"], done.columns["completion_ids"], strict=True)
    ):
        own = rows.valid.numpy()[: len(ids), row]
        np.testing.assert_array_equal(rows.actions.numpy()[: len(ids), row], ids)
        assert not rows.valid.numpy()[len(ids) :, row].any()
        want = teacher_forced(made, given.tolist(), ids.tolist()).numpy()
        got = rows.log_probs.numpy()[: len(ids), row]
        np.testing.assert_allclose(got[own], want[own], atol=1e-5)
        np.testing.assert_array_equal(got[~own], 0.0)
        last = np.flatnonzero(own)[-1]
        np.testing.assert_array_equal(
            rows.terminated.numpy()[:, row], np.arange(length) == last
        )
        said = done.columns["turns"][row]
        assert done.completions[row] == "".join(said)
        turns.append(len(said) // 2 + 1)
        assert own.sum() == turns[-1] and (~own).sum() == len("".join(said[1::2]))
    assert 1 < sum(turns) / 6 < 3 and episodes.lengths == rows.valid.numpy().sum()
    measured = env.measured()
    assert measured["turns"] == pytest.approx(sum(turns) / 6)
    assert measured["cut_replies"] == 0.0
    # Values of answers are no part of advantages: λ-returns over own tokens alone.
    gains = batch_of(trainer, rows).advantages.numpy()
    for row, own in enumerate(rows.valid.numpy().T):
        values = rows.values.numpy()[own, row]
        rewards = rows.rewards.numpy()[own, row]
        later, want = 0.0, []
        for r, v, after in zip(
            rewards[::-1], values[::-1], [0.0, *values[:0:-1]], strict=True
        ):
            later = r + after - v + 0.95 * later
            want.append(later)
        np.testing.assert_allclose(gains[own, row], want[::-1], atol=1e-4)


@pytest.mark.usefixtures("one_by_one")
def test_long_answers_are_cut_and_counted() -> None:
    env = conversation(max_reply_tokens=1)
    trainer = make_trainer(small_policy(), "REINFORCE", num_steps=env.max_new_tokens)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert history["cut_replies"][0] > 0.0
    done = env.completed
    assert done is not None and {len(t[1]) for t in done.columns["turns"] if t[1:]} == {
        1
    }
    result = trainer.evaluate(env, episodes=5)
    assert result["episodes"] == 5 and 1.0 <= result["turns"] <= 2.0


@pytest.mark.usefixtures("one_by_one")
def test_the_room_of_prompts_changes_nothing_that_is_said() -> None:
    made, said = small_policy(), []
    for prompts, options in (
        (["aa", "a", "aaaaa"], {}),
        (["aa", "a", "aaaaa"], {"prompt_buckets": 2}),
        (["aaaaaaaa", "a", "aaaaa"], {"prompt_buckets": 2, "truncate_prompts": "left"}),
    ):
        env = conversation(prompts=prompts, max_prompt_tokens=6, **options)
        found = Talker(env, made, False).write(np.array([0, 1] * 3), SEED)
        assert env.completed is not None
        said.append((found, env.completed.columns["turns"]))
    one, buckets, truncated = said
    assert [found.prompts.shape[1] for found, _ in said] == [5, 3, 6]
    np.testing.assert_array_equal(truncated[0].lengths, [6, 1] * 3)
    assert one[1] == buckets[1] and one[1][1::2] == truncated[1][1::2]
    for part, same in zip(one[0].completions, buckets[0].completions, strict=True):
        np.testing.assert_allclose(part, same, atol=1e-5)


@pytest.mark.usefixtures("one_by_one")
def test_greedy_conversations_are_baselines() -> None:
    env = conversation(4, group_size=2)
    trainer = make_trainer(
        small_policy(),
        "REINFORCE",
        baseline="self_critical",
        returns="total",
        num_steps=LENGTH,
    )
    rows, _ = collected(trainer, env)
    greedy = Talker(env, trainer.policy, False, deterministic=True)
    again = greedy.write(env.chosen(2)[::2], tf.constant([0, 0]))
    totals = np.repeat(again.returns, 2)
    np.testing.assert_allclose(rows.greedy_rewards.numpy().sum(0), totals, atol=1e-5)


def test_rewards_of_answers_go_to_the_token_before_them() -> None:
    rewards = np.array([[1.0, 2.0, 4.0, 8.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]])
    own = np.array([[1, 0, 0, 1, 0], [1, 1, 1, 0, 0]], bool)
    want = [[7.0, 0.0, 0.0, 8.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0]]
    np.testing.assert_array_equal(credited(rewards, own), want)


def test_refuses_a_model_that_reads_no_further() -> None:
    env = conversation()
    with pytest.raises(ValueError, match="which a Seq2SeqLM does not; use a"):
        Talker(env, seq2seq_policy("a"), jit_compile=False)
    with pytest.raises(ValueError, match="at most 24 tokens"):
        Talker(conversation(max_turn_tokens=11), small_policy(), jit_compile=False)
    other = kpg.make("CartPole-v1", num_envs=6)
    made = kpg.models.Policy(other.observation_space, other.action_space)
    with pytest.raises(ValueError, match="CausalLMPolicy`. Received: Policy"):
        Talker(env, made, jit_compile=False)
