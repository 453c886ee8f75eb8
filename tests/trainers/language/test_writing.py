"""Completions and what rewards say of them, sampled and greedy."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers.language.writing import GreedyWriter, TextEvaluator, Writer
from tests.text_training import T, remainder, small_policy, task, vowels

SEED = tf.constant([1, 2])
INDICES = np.array([0, 2, 1, 0, 2, 1])


def test_what_is_written_is_what_is_scored() -> None:
    made, env = small_policy("abc"), task([vowels])
    written = Writer(env, made, jit_compile=False).write(INDICES, SEED)
    tokens = written.completions.tokens.numpy()
    rows = [tokens[:count, row] for row, count in enumerate(written.counts)]
    texts = made.texts(rows)
    np.testing.assert_allclose(written.returns, vowels([], texts), atol=1e-6)
    np.testing.assert_array_equal(written.lengths, [2, 5, 1, 2, 5, 1])
    returns, lengths, count = written.episodes
    assert (lengths, count) == (written.counts.sum(), 6.0)
    assert returns == pytest.approx(written.returns.sum())
    assert env.completed is not None and env.completed.completions == texts


@pytest.mark.usefixtures("one_by_one")
def test_only_those_that_are_wanted_are_scored() -> None:
    env = task([vowels])
    written = Writer(env, small_policy("abc"), jit_compile=False).write(
        INDICES, SEED, 4
    )
    assert written.scores.total.shape == (4, T) and len(written.counts) == 4
    assert written.completions.tokens.shape == (T, 6)


@pytest.mark.usefixtures("one_by_one")
def test_a_part_is_judged_while_the_next_is_written() -> None:
    both = threading.Barrier(2, timeout=30)

    def waits(prompts: Any, completions: Any) -> list[float]:
        if prompts[0] == "ba":  # the first part
            both.wait()
        return vowels([], completions)

    env = task([waits, remainder], group_size=2, parts=3, num_envs=6)
    writer = Writer(env, small_policy("abc"), jit_compile=False, in_groups=True)
    calls, write = [], writer.function

    def counted(*given: Any) -> Any:
        calls.append(len(given[0]))
        if len(calls) == 2:
            both.wait()
        return write(*given)

    assert writer.sampler.alike == 2  # a group's prompt is read once
    writer.function = counted
    indices = np.array([0, 0, 2, 2, 1, 1])
    written = writer.write(indices, SEED)
    assert calls == [2, 2, 2]
    # Texts, masks and scores stand in the order of their prompts.
    completed = env.completed
    assert completed is not None and len(completed.completions) == 6
    assert completed.prompts == [env.prompts[index] for index in indices]
    tokens = written.completions.tokens.numpy()
    rows = [tokens[:count, row] for row, count in enumerate(written.counts)]
    assert completed.completions == writer.policy.texts(rows)
    np.testing.assert_array_equal(
        written.completions.valid.numpy().sum(0), written.counts
    )
    want = env.task.judge(completed._replace(prompts=["c"] * 6))
    np.testing.assert_array_equal(written.scores.total, want.total)
    np.testing.assert_array_equal(written.scores.scored, want.scored)
    for name, own in want.sums().items():
        np.testing.assert_array_equal(written.scores.sums()[name], own)
    assert env.measured()["reward/waits"] == pytest.approx(want.means()["waits"])


@pytest.mark.usefixtures("one_by_one")
def test_what_a_judge_raises_aside_is_raised() -> None:
    def fails(completions: Any, **columns: Any) -> list[float]:
        raise RuntimeError("no judge")

    env = task([fails], group_size=2, parts=3, num_envs=6)
    writer = Writer(env, small_policy("abc"), jit_compile=False, in_groups=True)
    with pytest.raises(ValueError, match="no judge"):
        writer.write(np.array([0, 0, 2, 2, 1, 1]), SEED)


@pytest.mark.usefixtures("one_by_one")
def test_short_prompts_are_padded_to_a_shorter_length() -> None:
    env = task([vowels], prompt_buckets=3)  # of 2, 4 and 5 tokens
    writer = Writer(env, small_policy("abc"), jit_compile=False)
    assert writer.prompt_tokens == 5
    for longest, indices in ((2, [0] * 6), (2, [0, 1] * 3), (5, [0, 2] * 3)):
        written = writer.write(np.array(indices), SEED)
        assert written.prompts.shape == (6, longest)
        assert written.prompts[0, :2].tolist() == [3, 2]
    with pytest.raises(ValueError, match="prompt_buckets.*Received: .*0"):
        task(prompt_buckets=0)


@pytest.mark.usefixtures("one_by_one")
def test_the_greedy_writer_leaves_no_trace() -> None:
    made, env = small_policy("abc"), task([remainder], group_size=2)
    writer = Writer(env, made, jit_compile=False)
    indices = np.array([0, 0, 2, 2, 1, 1])
    writer.write(indices, SEED)
    completed = env.completed
    rewards = GreedyWriter(env, made, jit_compile=False).rewards(indices)
    assert env.completed is completed and set(env.measured()) > {"ended"}
    prompts = [env.prompts[i] for i in indices[::2]]
    texts = made.generate(prompts, T, deterministic=True)
    again = made.generate(prompts, T, deterministic=True)
    assert texts == again and rewards.shape == (6, T)
    np.testing.assert_array_equal(rewards[::2], rewards[1::2])


def test_a_policy_of_something_else_is_refused() -> None:
    env = kpg.make("CartPole-v1", num_envs=6)
    made = kpg.models.Policy(env.observation_space, env.action_space, hidden_units=(4,))
    with pytest.raises(ValueError, match="CausalLMPolicy`. Received: Policy"):
        Writer(task(), made, jit_compile=False)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("deterministic", [False, True])
def test_as_many_episodes_as_are_asked_for(deterministic: bool) -> None:
    made, env = small_policy("abc"), task([vowels], num_envs=4)
    evaluator = TextEvaluator(env, made, 6, deterministic, False)
    ids = [np.array([1])]
    env.score(np.array([0]), ["abe"], ids, ids, [True])  # as training does
    result: Any = evaluator.run(0)
    assert result["episodes"] == 6 and len(result["returns"]) == 6
    assert result["reward/vowels"] == pytest.approx(result["return"], abs=1e-5)
    assert evaluator.run(0)["return"] == result["return"]
    assert env.measured()["reward/vowels"] == pytest.approx(vowels([], ["abe"])[0])
    if deterministic:
        prompts = [env.prompts[number % 3] for number in range(6)]
        texts = made.generate(prompts, T, deterministic=True)
        np.testing.assert_allclose(result["returns"], vowels([], texts), atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_a_stream_is_written_as_a_list_is() -> None:
    made, prompts = small_policy("abc"), ["ab", "c", "abcab", "b"]
    rows = ({"prompt": prompt, "place": n} for n, prompt in enumerate(prompts))
    seen: list[Any] = []

    def note(prompts: Any, completions: Any, place: Any) -> list[float]:
        seen.append((prompts, place))
        return [1.0] * len(place)

    options: dict[str, Any] = {"max_new_tokens": T, "max_prompt_tokens": 6}
    options |= {"num_envs": 4, "group_size": 2, "rewards": [note]}
    env = kpg.environments.TextGeneration(rows, **options)
    listed = kpg.environments.TextGeneration(
        prompts, columns={"place": range(4)}, **options
    )
    writers = [Writer(one, made, jit_compile=False) for one in (env, listed)]
    for iteration, want in enumerate(([0, 0, 1, 1], [2, 2, 3, 3])):
        found = [
            writers[0].write(env.chosen(iteration), SEED),
            writers[1].write(np.array(want), SEED),
        ]
        assert seen[-2] == seen[-1] == ([prompts[n] for n in want], want)
        assert found[0].prompts.shape == (4, 6)
        tokens, again = (one.completions.tokens.numpy() for one in found)
        np.testing.assert_array_equal(tokens, again)
    with pytest.raises(ValueError, match="has ended, and cannot begin anew"):
        env.chosen(2)


@pytest.mark.usefixtures("one_by_one")
def test_an_evaluation_of_a_data_set_begins_at_its_beginning() -> None:
    made, data = (
        small_policy("abc"),
        tf.data.Dataset.from_tensor_slices(["ab", "c", "b"]),
    )
    env = kpg.environments.TextGeneration(
        data, rewards=[vowels], max_new_tokens=T, max_prompt_tokens=4, num_envs=2
    )
    listed = task([vowels], num_envs=2, prompts=["ab", "c", "b"])
    assert env.chosen(1).tolist() == [0, 1] and env.prompts == ["b", "ab"]
    results = [TextEvaluator(one, made, 3, True, False).run(0) for one in (env, listed)]
    np.testing.assert_array_equal(results[0]["returns"], results[1]["returns"])
    assert env.completed is not None and env.completed.prompts == ["b"]


def test_stop_strings_end_a_text_and_are_no_part_of_it() -> None:
    made = small_policy("abc", stop=["aa", "cb"])
    env = task([vowels])
    written = Writer(env, made, jit_compile=False).write(INDICES, SEED)
    assert env.completed is not None
    tokens = written.completions.tokens.numpy()
    some = 0
    for row, count in enumerate(written.counts):
        ids = tokens[:count, row].tolist()
        text = "".join("  abc"[token] for token in ids if token > 1)
        stopped = text.endswith(("aa", "cb"))
        some += stopped
        assert env.completed.columns["ended"][row] == (stopped or ids[-1] == 1)
        assert env.completed.completions[row] == (text[:-2] if stopped else text)
    assert some
