"""Reward models: the formula, a ranking that is learned, saving, other tokenizers."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.models import RewardModel
from kpg.models.language.reward_model import bradley_terry
from tests.texts import Begun, Letters, gpt2, policy, stirred


def made(**options: Any) -> RewardModel:
    model = RewardModel(gpt2(258, hidden_dim=16), text.ByteTokenizer(), **options)
    stirred(model.reader.head)
    return model


def test_the_loss_is_that_of_bradley_and_terry() -> None:
    chosen, rejected = np.array([1.0, -2.0, 40.0]), np.array([0.5, 1.0, -50.0])
    shares = np.exp(chosen) / (np.exp(chosen) + np.exp(rejected))
    found = bradley_terry(tf.constant(chosen), tf.constant(rejected))
    np.testing.assert_allclose(found, -np.log(shares).mean(), rtol=1e-6)


def test_a_score_is_read_behind_the_end() -> None:
    model = made()
    prompts, completions = ["ab", "c"], ["cde", ""]
    scores = model.judge(prompts, completions)
    for prompt, completion, score in zip(prompts, completions, scores, strict=True):
        tokens = [*(2 + byte for byte in (prompt + completion).encode()), 1]
        features = model.reader.trunk(tf.constant([tokens]))
        want = model.reader.outputs(features[:, -1])[0]
        np.testing.assert_allclose(score, want, atol=1e-5)
    # A text that is too long loses its beginning.
    long = model.judge(["x" * 40 + "ab"], ["c" * 21])
    np.testing.assert_allclose(long, model.judge(["ab"], ["c" * 21]), atol=1e-5)


@pytest.mark.slow
def test_learns_a_known_ranking() -> None:
    words = ["".join(word) for word in itertools.product("abc", repeat=3)]
    better = {word: word.count("a") - word.count("c") for word in words}
    pairs = [
        ("x", a, b)
        for a, b in itertools.permutations(words, 2)
        if better[a] > better[b]
    ]
    random = np.random.default_rng(0)
    random.shuffle(pairs)
    model = made()
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    history = model.fit(
        pairs[:200], validation_data=pairs[200:], epochs=6, verbose=0
    ).history
    assert history["loss"][0] > history["loss"][-1]
    assert history["val_accuracy"][-1] > 0.95
    scores = model.judge(["x"] * len(words), words)
    levels = np.array(list(better.values()))
    assert np.corrcoef(scores, levels)[0, 1] > 0.9


def test_one_step_follows_the_gradient_of_the_formula() -> None:
    model, rate = made(), 0.1
    pairs: list[Any] = [
        ("x", "ab", "c"),
        {"prompt": "yy", "chosen": "b", "rejected": "aac"},
    ]
    head = model.reader.head.kernel
    before = head.numpy()

    def loss() -> float:
        good = model.judge(["x", "yy"], ["ab", "b"])
        bad = model.judge(["x", "yy"], ["c", "aac"])
        return float(np.log1p(np.exp(bad - good)).mean())

    differences = []
    for row in range(4):
        values = []
        for step in (1e-2, -1e-2):
            moved = before.copy()
            moved[row] += step
            head.assign(moved)
            values.append(loss())
        differences.append((values[0] - values[1]) / 2e-2)
    head.assign(before)
    model.compile(keras.optimizers.SGD(rate), jit_compile=False, run_eagerly=True)
    want = loss()
    history = model.fit(pairs, batch_size=2, verbose=0).history
    np.testing.assert_allclose(history["loss"], [want], atol=1e-5)
    found = (before - head.numpy())[:4, 0] / rate
    np.testing.assert_allclose(found, differences, atol=2e-3)


def test_is_saved_and_loaded(tmp_path: Any) -> None:
    model = made()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    texts = (["ab", "c"], ["de", "f"])
    np.testing.assert_allclose(loaded.judge(*texts), model.judge(*texts), atol=1e-6)


def test_a_policy_may_have_another_tokenizer() -> None:
    model, writer = made(), policy("abc")
    texts = writer.generate(["ab", "c"], 4, seed=1)
    env = kpg.environments.TextGeneration(
        ["ab", "c"], rewards=[kpg.rewards.Judgement(model)], num_envs=2
    )
    ids = [np.array([2, 3, 4], np.int32)] * 2  # the writer's own
    found = env.score(np.array([0, 1]), texts, ids, ids, [True, True])
    want = model.judge(["ab", "c"], texts)
    with pytest.raises(ValueError, match="Received: prompts='ab'"):
        model.judge("ab", texts)
    np.testing.assert_allclose(found.sums()["judgement"], want, atol=1e-6)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "at least one"),
        ({"prompt": ["a"]}, "rows in an order.*Received: pairs=dict"),
        ([("a", "b")], r"three strings.*pairs\[0\]=\('a', 'b'\)"),
        ([("a", "b", 3)], r"pairs\[0\]="),
        ([{"prompt": "a", "chosen": "b"}], r"pairs\[0\]={"),
    ],
)
def test_refuses_what_is_no_pair(pairs: Any, message: str) -> None:
    model = made()
    model.compile("sgd")
    with pytest.raises(ValueError, match=message):
        model.fit(pairs)


def test_refuses_a_tokenizer_of_another_model() -> None:
    with pytest.raises(ValueError, match="a tokenizer with 258 tokens.*model with 5"):
        RewardModel(gpt2(5), text.ByteTokenizer())
    with pytest.raises(ValueError, match="tokenizer=None"):
        RewardModel(gpt2(5))
    begun = RewardModel(gpt2(6), Begun())
    assert (
        begun.add_start_token
        and not RewardModel(gpt2(5), Letters("abc")).add_start_token
    )
