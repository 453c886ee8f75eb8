"""What an executor's distribution becomes when it is told something."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
from typing_extensions import override

import kpg
from kpg.environments import Biases, Control, Instructions, NextToken
from kpg.models.language.control.lexicon import Lexicon
from kpg.types import Space, Tensor
from tests.steering import CLASSES, SEED, executor, logits, steered
from tests.texts import policy


def test_a_token_is_written_as_it_is() -> None:
    made = steered(NextToken())
    assert made.space == gym.spaces.Discrete(5)
    written = made.tokens(logits(3), np.array([4, 0, 1]), np.zeros(3, int), SEED)
    np.testing.assert_array_equal(written, [4, 0, 1])


def test_a_bias_of_tokens_is_added() -> None:
    made = steered(Biases(strength=3.0))
    assert made.space == gym.spaces.Box(-1.0, 1.0, (5,))
    biases = np.random.default_rng(1).uniform(-1, 1, (3, 5)).astype("float32")
    got = made.bent(logits(3), biases, np.zeros(3, int))
    np.testing.assert_allclose(got, logits(3) + 3.0 * biases, rtol=1e-6)
    np.testing.assert_array_equal(made.forced(biases), [-1] * 3)


def test_a_bias_of_classes_goes_on_with_words() -> None:
    made = steered(Biases(CLASSES, strength=2.0))
    assert made.space.shape == (2,)
    behind_a = made.lexicon.classes.after(0, 2)
    biases = np.array([[0.5, -1.0], [0.5, -1.0]], np.float32)
    got = made.bent(logits(2), biases, np.array([0, behind_a]))
    # Letters a, b, c are the tokens 2, 3, 4.
    first, then = [0, 0, 1, -2, -2], [0, 0, 0, 1 - 2, -2]
    np.testing.assert_allclose(got, logits(2) + np.array([first, then]), atol=1e-6)


def test_instructions() -> None:
    made = steered(Instructions(CLASSES, ["cab", "b"]))
    assert made.control.names == (
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
    np.testing.assert_allclose(got[2], 4.0 * row)
    np.testing.assert_allclose(got[3], row + 5.0 * np.eye(5)[2], rtol=1e-6)
    other = np.eye(5)[3] + np.eye(5)[4]
    np.testing.assert_allclose(got[4], row + 5.0 * other, rtol=1e-6)


NUMBERS = {"word_classes": {"x": ["ab"]}, "strength": 2.0, "deterministic": True}


@pytest.mark.parametrize(
    ("name", "flat", "value"),
    [
        ("token", {}, NextToken()),
        ("token", {"phrases": [], "deterministic": False}, NextToken()),
        ("bias", NUMBERS, Biases({"x": ["ab"]}, 2.0, True)),
        ("bias", {"word_classes": {}}, Biases()),
        (
            "instructions",
            {**NUMBERS, "sharpness": 3.0, "phrases": ["c"]},
            Instructions({"x": ["ab"]}, ["c"], 2.0, 3.0, True),
        ),
        ("instructions", {}, Instructions()),
    ],
)
def test_a_name_with_flat_options_is_a_value(
    name: str, flat: dict[str, Any], value: Control
) -> None:
    """What was written before there were values means the same."""
    assert made(control=name, **flat) == value
    config = keras.saving.serialize_keras_object(value)
    assert made(control=config) == made(control=value) == value
    assert keras.saving.deserialize_keras_object(config) == value


def made(**options: Any) -> Control:
    """Returns the control of an environment."""
    small: dict[str, Any] = {"rewards": [lambda **_: [0.0]], "num_envs": 1}
    small |= {"max_new_tokens": 4, "jit_compile": False}
    env = kpg.environments.ControlledGeneration(
        executor(), ["a"], **{**small, **options}
    )
    return env.control


def test_a_class_is_made_with_the_flat_options() -> None:
    assert made(control=Biases, strength=3.0) == Biases(strength=3.0)


def test_what_is_given_is_copied() -> None:
    classes, phrases = {"x": ["a"]}, ["b"]
    value = Instructions(classes, phrases)
    classes["x"].append("c")
    phrases.append("c")
    assert value == Instructions({"x": ["a"]}, ["b"])


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class Temperature(Control):
    """A control that kpg does not have."""

    lowest: float = 0.5

    @override
    def space(self, lexicon: Lexicon) -> Space:
        return gym.spaces.Box(self.lowest, 2.0, (1,))

    @override
    def bent(self, parameters: Tensor, actions: Tensor, continuing: Tensor) -> Tensor:
        return parameters / actions


@pytest.mark.usefixtures("one_by_one")
def test_a_control_of_ones_own() -> None:
    env = kpg.environments.ControlledGeneration(
        policy("abc"),
        ["a"],
        rewards=[lambda prompts, completions: [len(text) for text in completions]],
        control=Temperature(0.25),
        max_new_tokens=4,
        num_envs=2,
        jit_compile=False,
    )
    assert env.single_action_space == gym.spaces.Box(0.25, 2.0, (1,))
    env.reset(seed=0)
    env.step(np.ones((2, 1), np.float32))
    got = steered(Temperature()).bent(logits(2), np.full((2, 1), 0.5), np.zeros(2, int))
    np.testing.assert_allclose(got, 2.0 * logits(2), rtol=1e-6)
    assert made(control=keras.saving.serialize_keras_object(Temperature(0.3))) == (
        Temperature(0.3)
    )


def test_an_unfinished_control_is_refused() -> None:
    class Half(Control):
        def space(self, lexicon: Lexicon) -> Space:
            return gym.spaces.Discrete(2)

    with pytest.raises(TypeError, match="abstract.*bent"):
        Half()  # type: ignore[abstract]
    with pytest.raises(TypeError, match="Did you mean forced.*Received: forces"):

        class Slip(Control):
            def forces(self, actions: Tensor) -> Tensor:
                return actions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "prompt"}, "no such choice.*Received: control='prompt'"),
        ({"control": "token", "word_classes": CLASSES}, "Received: word_classes=.*tok"),
        ({"control": "token", "deterministic": True}, "Received: deterministic=True"),
        ({"control": "bias", "phrases": ["a"]}, r"takes .*Received: phrases=\['a'\]"),
        ({"control": "bias", "sharpness": 2.0}, "Received: sharpness=2.0"),
        ({"control": Biases(), "strength": 2.0}, "finished value.*'strength': 2.0"),
        ({"control": 3}, "derives from Control. Received: control=3"),
        ({"strength": 2.0}, "needs `word_classes`.*Received: strength=2.0"),
        ({"control": "bias", "strength": 0.0}, "greater than 0. Received: strength=0"),
        ({"control": "bias", "strength": float("nan")}, "Received: strength=nan"),
        ({"sharpness": 1.0}, "greater than 1. Received: sharpness=1.0"),
        ({"sharpness": 0.5}, "Received: sharpness=0.5"),
        ({"word_classes": {"x": []}}, r"at least one word.*Received: 'x': \[\]"),
        ({"word_classes": {"x": "ab"}}, "Received: 'x': 'ab'"),
        ({"word_classes": {"x": [""]}}, r"word_classes\['x'\].*Received: ''"),
        ({"phrases": [3]}, "`phrases` must.*Received: 3"),
        ({"phrases": "ab"}, "must be a list. Received: phrases='ab'"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)
