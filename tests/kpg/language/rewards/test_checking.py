"""What a reward is refused for: the message names it and shows the completion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.rewards import (
    Bleu,
    MissingEnd,
    Repetition,
    RougeL,
    SoftOverlong,
    TargetLength,
    Weighted,
    check_columns,
    evaluate,
)

PROMPTS = ["first", "second", "third"]
COMPLETIONS = ["one", "two two", "three"]
IDS = [[5], [6, 6], [7, 7, 7]]


def returning(*scores: Any) -> Any:
    def constant(prompts: Any, completions: Any, **columns: Any) -> Any:
        return list(scores)

    return constant


def refused(reward: Any, message: str, **columns: Any) -> None:
    columns = {"completion_ids": IDS, **columns}
    with pytest.raises(ValueError, match=message):
        evaluate([reward], None, PROMPTS, COMPLETIONS, columns)


SECOND = "for the prompt 'second' and the completion 'two two'. Received: "


@pytest.mark.parametrize(
    ("score", "received"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.float32("inf"), ".*inf"),
        (1e39, "1e.39"),
        (10**60, "10+"),
        (np.array(np.nan), ".*nan"),
        ("0.5", "'0.5'"),
        (1j, "1j"),
        (object(), "<object"),
        ({"score": 1.0}, "{'score': 1.0}"),
        ([1.0, float("nan")], "nan at token 1"),
        (np.array([np.inf, 0.0]), "inf at token 0"),
        ([1.0, None], "nan at token 1"),
        ([1.0, "x"], r"\[1.0, 'x'\]"),
    ],
)
def test_what_is_no_score_is_refused(score: Any, received: str) -> None:
    wanted = "The reward 'constant' must give a finite number, an array with one for "
    refused(
        returning(1.0, score, 2.0), f"{wanted}each token, or None, {SECOND}{received}"
    )


@pytest.mark.parametrize("score", [[1.0], np.zeros(3), np.zeros((2, 1)), []])
def test_an_array_must_have_the_length_of_the_completion(score: Any) -> None:
    wanted = f"must give the 2 tokens a number each, {SECOND}shape"
    refused(returning(1.0, score, None), wanted)


def test_rewards_of_tokens_need_to_know_the_tokens() -> None:
    wanted = f"needs `completion_ids` for rewards of tokens, {SECOND}" + r"\(2,\)"
    refused(returning(1.0, [1.0, 2.0], 3.0), wanted, completion_ids=None)


@pytest.mark.parametrize(
    ("found", "received"),
    [
        ([1.0, 2.0], "2 scores"),
        ([], "0 scores"),
        (3.0, "3.0"),
        (None, "None"),
        (np.float64(3.0), ".*3.0"),
        (np.array(3.0), r"array\(3"),
        ({"a": 1, "b": 2, "c": 3}, "{'a'"),
        ("abc", "'abc'"),
    ],
)
def test_what_is_no_list_of_scores_is_refused(found: Any, received: str) -> None:
    def wrong(**columns: Any) -> Any:
        return found

    message = "'wrong' must return 3 scores, one for each completion, for the prompt "
    refused(wrong, f"{message}'first' and the completion 'one'. Received: {received}")


def test_the_completion_that_makes_a_reward_raise_is_shown() -> None:
    def fragile(prompts: Any, completions: Any) -> Any:
        return [1 / (len(text) - 7) for text in completions]

    message = f"'fragile' must not raise; .*, {SECOND}ZeroDivisionError: .*by zero$"
    refused(fragile, message)


def test_a_reward_that_raises_on_no_completion_alone() -> None:
    def batches(completions: Any, **columns: Any) -> Any:
        if len(completions) > 1:
            raise RuntimeError("too many")
        return [0.0]

    message = r"'first' .*'one'. Received: RuntimeError: too many \(only for the batch"
    refused(batches, message)


def test_long_texts_are_cut() -> None:
    with pytest.raises(ValueError, match="'x{200}…' and the completion ''") as caught:
        evaluate([returning(None, "y")], None, ["", "x" * 999], ["", ""])
    assert len(str(caught.value)) < 400


def test_interrupts_are_not_caught() -> None:
    def interrupted(**columns: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate([interrupted], None, PROMPTS, COMPLETIONS)


def test_a_function_is_given_what_it_names() -> None:
    given: dict[str, Any] = {}

    def named(completions: Any, ended: Any, hint: Any = None) -> Any:
        given.update(completions=completions, ended=ended, hint=hint)
        return [0.0] * 3

    columns = {"ended": [True] * 3, "hint": None, "other": [1, 2, 3]}
    evaluate([named], None, PROMPTS, COMPLETIONS, columns)
    assert given == {"completions": COMPLETIONS, "ended": [True] * 3, "hint": None}


@pytest.mark.parametrize(
    ("reward", "missing"),
    [
        (Bleu(), "'bleu' needs references"),
        (MissingEnd(), "'missing_end' needs ended"),
        (Repetition(unit="token"), "'repetition' needs completion_ids"),
        (TargetLength(5), "'length' needs completion_ids"),
        (SoftOverlong(5, 5), "'soft_overlong' needs completion_ids"),
        (Weighted([RougeL(), MissingEnd()]), "'weighted' needs ended, references"),
        (lambda prompts, completions, hint: [], "'<lambda>' needs hint"),
    ],
)
def test_missing_columns_are_found_before_anything_is_sampled(
    reward: Any, missing: str
) -> None:
    with pytest.raises(ValueError, match=rf"{missing}, .*Received: columns \['a'\]"):
        check_columns([reward], ["a"])
    columns = ["a", "completion_ids", "ended", "hint", "references"]
    check_columns([reward], columns)
    check_columns([TargetLength(5, unit="word"), RougeL(), Repetition()], columns[-1:])


@pytest.mark.parametrize(
    ("prompts", "completions", "columns", "message"),
    [
        ("abc", ["a", "b", "c"], {}, "`prompts` must be a list of strings. R.*'abc'"),
        (["a"], [b"a"], {}, r"`completions` must be a list of strings. .*\[b'a'\]"),
        ([], [], {}, "'prompts': 0"),
        (["a", "b"], ["a"], {}, "Received: {'prompts': 2, 'completions': 1}"),
        (["a"], ["b"], {"ended": [True, False]}, "'ended': 2"),
        (["a"], ["b"], {"state": 3}, "'state': 0"),
        (["a", "b"], ["a", "b"], {"completion_ids": [[1], []]}, "no token in row 1"),
    ],
)
def test_what_is_no_batch_is_refused(
    prompts: Any, completions: Any, columns: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate([returning(0.0)], None, prompts, completions, columns)


@pytest.mark.parametrize(
    ("rewards", "weights", "message"),
    [
        ([], None, "`rewards` must hold one callable or more"),
        (RougeL(), None, "`rewards` must be a list. Received: <"),
        ([RougeL(), "bleu"], None, "one callable or more.*Received: 'bleu'"),
        ([RougeL()], [1.0, 2.0], r"must be 1 finite numbers.*Received: \[1.0, 2.0\]"),
        ([RougeL()], [float("nan")], "must be 1 finite numbers"),
        ([RougeL()], ["1"], "must be 1 finite numbers"),
        ([RougeL()], 1.0, "must be 1 finite numbers.*Received: 1.0"),
        ([RougeL(), RougeL("recall")], None, r"name of its own.*\['rougeL'\] twice"),
    ],
)
def test_rewards_and_weights_that_do_not_fit_are_refused(
    rewards: Any, weights: Any, message: str
) -> None:
    for use in (
        lambda: evaluate(rewards, weights, ["a"], ["b"], {"references": ["c"]}),
        lambda: Weighted(rewards, weights),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize(
    "scores",
    [
        tf.constant([1.0, 2.0, 3.0]),
        tf.constant([1.0, 2.0, 3.0], tf.bfloat16),
        [tf.constant(1), tf.Variable(2.0), np.float32(3.0)],
        (1.0, tf.constant([0.5, 1.5]), 3.0),
    ],
)
def test_tensors_are_scores(scores: Any) -> None:
    found = evaluate(
        [lambda **columns: scores], None, PROMPTS, COMPLETIONS, {"completion_ids": IDS}
    )
    np.testing.assert_array_equal(found.total.sum(axis=1), [1.0, 2.0, 3.0])


def test_a_tensor_that_is_no_score_is_refused() -> None:
    refused(returning(1.0, tf.constant(np.nan), 2.0), "Received: .*nan")
    refused(returning(1.0, tf.constant("x"), 2.0), "must give a finite number")
