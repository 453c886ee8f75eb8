"""Rewards by other models: Keras's own, KerasHub's classifiers, and judges."""

from __future__ import annotations

from typing import Any

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.rewards import Judgement

PROMPTS = ["a", "bb", "c"]
TEXTS = ["xyz", "y", "zz"]


class Judge:
    """Says how long both are; remembers how many it was given."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def judge(self, prompts: Any, completions: Any) -> np.ndarray:
        self.sizes.append(len(prompts))
        pairs = zip(prompts, completions, strict=True)
        return np.array([10.0 * len(a) + len(b) for a, b in pairs])


def scored(model: Any, **options: Any) -> list[float]:
    reward = Judgement(model, **options)
    found: Any = reward(prompts=PROMPTS, completions=TEXTS)  # a number for each
    return [float(one) for one in found]


def of_strings(inputs: int, outputs: int = 1) -> keras.Model:
    """Returns a Keras model that counts characters."""
    given = [keras.Input((), dtype="string") for _ in range(inputs)]
    lengths = [
        keras.layers.Lambda(
            lambda one: tf.cast(tf.strings.length(one), tf.float32)[:, tf.newaxis],
            output_shape=(1,),
        )(one)
        for one in given
    ]
    whole = lengths[0] if inputs == 1 else 10.0 * lengths[0] + lengths[1]
    found = [whole * (number + 1.0) for number in range(outputs)]
    result = found[0] if outputs == 1 else keras.ops.concatenate(found, axis=-1)
    return keras.Model(given[0] if inputs == 1 else given, result)


def test_a_judge_is_asked_in_full_batches() -> None:
    judge = Judge()
    assert scored(judge, batch_size=2) == [13.0, 21.0, 12.0]
    assert judge.sizes == [2, 2]


def test_keras_models_of_strings() -> None:
    assert scored(of_strings(1)) == [4.0, 3.0, 3.0]
    assert scored(of_strings(2), batch_size=2) == [13.0, 21.0, 12.0]
    assert scored(of_strings(2, 3), label=1) == [26.0, 42.0, 24.0]
    logits = np.array([[1, 2, 3]]) * np.array([[13.0], [21.0], [12.0]])
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = scored(of_strings(2, 3), label=1, probability=True)
    np.testing.assert_allclose(found, want[:, 1], rtol=1e-5)
    single = scored(of_strings(1), probability=True)
    np.testing.assert_allclose(single, 1 / (1 + np.exp([-4.0, -3.0, -3.0])), rtol=1e-6)


def test_a_keras_model_of_tokens_has_its_own_tokenizer() -> None:
    inputs = keras.Input((4,), dtype="int32")
    model = keras.Model(inputs, keras.ops.cast(inputs, "float32"))
    options: dict[str, Any] = {"tokenizer": text.ByteTokenizer(), "max_tokens": 4}
    # Of "cat" + "dogs" the model sees the end.
    for label, byte in enumerate(b"dogs"):
        reward = Judgement(model, label=label, **options)
        assert reward(prompts=["cat"], completions=["dogs"]) == [2.0 + byte]
    assert scored(model, label=3, **options) == [2.0 + ord("z"), 0.0, 0.0]
    with pytest.raises(ValueError, match="tokenizer` that it was trained with.*int32"):
        Judgement(model)


@pytest.mark.slow
def test_a_classifier_of_kerashub_reads_both_as_segments() -> None:
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcxyz",
        *"##x ##y ##z ##b".split(),
    ]
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary=words, lowercase=True)
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=8,
        max_sequence_length=8,
        dropout=0.0,
    )
    own = keras_nlp.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    model = keras_nlp.models.BertTextClassifier(
        backbone, num_classes=2, preprocessor=own
    )
    segments = (tf.constant(PROMPTS), tf.constant(TEXTS))
    inputs = own(x=segments)
    assert inputs["segment_ids"].numpy().any()
    want = np.array(model(inputs, training=False))
    np.testing.assert_allclose(
        scored(model, label=1, batch_size=2), want[:, 1], atol=1e-5
    )
    with pytest.raises(ValueError, match="which of the model's 2 outputs.*label=None"):
        scored(model)
    with pytest.raises(ValueError, match="model's 2 outputs.*label=2"):
        scored(model, label=2)
    with pytest.raises(ValueError, match="`tokenizer` must be None for a model with"):
        Judgement(model, tokenizer=text.ByteTokenizer(), max_tokens=8)


def test_it_is_a_reward_like_others() -> None:
    reward = Judgement(Judge(), name="judge")
    kpg.testing.check_reward(reward, saved=False)
    config = kpg.rewards.serialize(reward)["config"]
    assert "model" not in config and config["name"] == "judge"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "bert"}, "must be a Keras model or have `judge.*model='bert'"),
        ({"model": Judge(), "label": -1}, "label=-1"),
        ({"model": Judge(), "batch_size": 0}, "batch_size=0"),
        ({"model": Judge(), "max_tokens": 4}, "give both or neither.*max_tokens=4"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Judgement(**options)
