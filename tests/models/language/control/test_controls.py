"""What an executor's distribution becomes when it is told something."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.control.controls import (
    SHARPNESS,
    STRENGTH,
    Options,
    make_control,
)
from tests.texts import policy

END = 1
SEED = tf.constant([3, 4])
CLASSES = {"one": ["ab"], "other": ["c", "ba"]}


def control(name: str, **options: Any) -> Any:
    given = {"word_classes": {}, "phrases": [], "deterministic": False, **options}
    numbers = {"strength": STRENGTH, "sharpness": SHARPNESS, "max_new_tokens": 4}
    return make_control(policy("abc"), name, Options(**{**numbers, **given}))


def logits(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 5)).astype("float32")


def test_a_token_is_written_as_it_is() -> None:
    made = control("token")
    assert made.space == gym.spaces.Discrete(5)
    written = made.tokens(logits(3), np.array([4, 0, 1]), np.zeros(3, int), SEED)
    np.testing.assert_array_equal(written, [4, 0, 1])


def test_a_bias_of_tokens_is_added() -> None:
    made = control("bias", strength=3.0)
    assert made.space == gym.spaces.Box(-1.0, 1.0, (5,))
    biases = np.random.default_rng(1).uniform(-1, 1, (3, 5)).astype("float32")
    got = made.bent(logits(3), biases, np.zeros(3, int))
    np.testing.assert_allclose(got, logits(3) + 3.0 * biases, rtol=1e-6)
    np.testing.assert_array_equal(made.forced(biases), [-1] * 3)


def test_a_bias_of_classes_goes_on_with_words() -> None:
    made = control("bias", word_classes=CLASSES, strength=2.0)
    assert made.space.shape == (2,)
    behind_a = made.classes.after(0, 2)
    biases = np.array([[0.5, -1.0], [0.5, -1.0]], np.float32)
    got = made.bent(logits(2), biases, np.array([0, behind_a]))
    # Letters a, b, c are the tokens 2, 3, 4.
    first, then = [0, 0, 1, -2, -2], [0, 0, 0, 1 - 2, -2]
    np.testing.assert_allclose(got, logits(2) + np.array([first, then]), atol=1e-6)


def test_instructions() -> None:
    made = control("instructions", word_classes=CLASSES, phrases=["cab", "b"])
    assert made.names == (
        "continue",
        "stop",
        "sharpen",
        "boost one",
        "boost other",
        "insert 'cab'",
        "insert 'b'",
    )
    assert made.space == gym.spaces.Discrete(7)
    row = logits(1)[0]
    got = made.bent(logits(1).repeat(7, 0), np.arange(7), np.zeros(7, int)).numpy()
    for action in (0, 1, 5, 6):
        np.testing.assert_array_equal(got[action], row)
    np.testing.assert_allclose(got[2], SHARPNESS * row)
    np.testing.assert_allclose(got[3], row + STRENGTH * np.eye(5)[2], rtol=1e-6)
    other = np.eye(5)[3] + np.eye(5)[4]
    np.testing.assert_allclose(got[4], row + STRENGTH * other, rtol=1e-6)


def test_what_is_written_without_asking() -> None:
    made = control("instructions", phrases=["cab", "b"], deterministic=True)
    likely = int(np.argmax(logits(1)[0]))
    actions = np.arange(5)
    rows = logits(1).repeat(5, 0)
    written = made.tokens(rows, actions, np.zeros(5, int), SEED)
    np.testing.assert_array_equal(written, [likely, END, likely, 4, 3])
    np.testing.assert_array_equal(made.forced(actions), [-1, END, -1, 4, 3])
    phrases = [made.phrase(action) for action in actions]
    assert phrases[:3] == [None] * 3
    assert [phrase.tolist() for phrase in phrases[3:]] == [[4, 2, 3], [3]]


def test_the_executor_samples_from_its_own_family() -> None:
    made = make_control(
        policy("abc", top_k=2),
        "instructions",
        Options({}, [], STRENGTH, SHARPNESS, False, 4),
    )
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


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prompt", {}, "one of token, bias, instructions. Received: control='prompt'"),
        ("token", {"word_classes": CLASSES}, "`word_classes` has no effect"),
        ("token", {"deterministic": True}, "`deterministic` has no effect"),
        ("bias", {"phrases": ["a"]}, r"`phrases` has no effect.*Received: .*\['a'\]"),
        ("bias", {"sharpness": 2.0}, "`sharpness` has no effect"),
        ("instructions", {"strength": 2.0}, "`strength` has no effect"),
        ("bias", {"strength": 0.0}, "finite number above 0. Received: strength=0.0"),
        ("bias", {"strength": float("nan")}, "Received: strength=nan"),
        ("instructions", {"sharpness": 1.0}, "above 1. Received: sharpness=1.0"),
        ("bias", {"word_classes": {"x": []}}, r"one word or more.*Received: 'x': \[\]"),
        ("bias", {"word_classes": {"x": "ab"}}, "Received: 'x': 'ab'"),
        ("bias", {"word_classes": {"x": [""]}}, r"word_classes\['x'\].*Received: ''"),
        (
            "bias",
            {"word_classes": {"x": ["a", "xyz"]}},
            "tokenizer can make. Received: 'xyz', of which it makes 'aaa'",
        ),
        ("instructions", {"phrases": ["d"]}, "`phrases` must.*Received: 'd'.*'a'"),
        ("instructions", {"phrases": [3]}, "`phrases` must.*Received: 3"),
        ("instructions", {"phrases": "ab"}, "must be a list. Received: 'ab'"),
        (
            "instructions",
            {"phrases": ["a", "abcab"]},
            "max_new_tokens=4, and 5 tokens of 'abcab'",
        ),
    ],
)
def test_refuses(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        control(name, **options)
