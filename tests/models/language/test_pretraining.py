"""The supervised start: what is learned, what is not, and how far it gets."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.models import CausalLMPolicy, pretrain
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.pretraining import pairs_of, predictor, windows
from kpg.text import Codec
from tests import seq2seq
from tests.texts import Begun, Letters, gpt2, llama, policy, stirred

ABC = Letters("abc")
END = 1


def tokens(letters: str) -> list[int]:
    return [2 + "abc".index(letter) for letter in letters]


def test_texts_are_cut_into_windows_with_ends_between() -> None:
    rows = windows(["ab", "cab"], ABC, longest=24, length=4)
    stream = [*tokens("ab"), END, *tokens("cab"), END]
    np.testing.assert_array_equal(rows.inputs, [stream[:4], [*stream[4:6], END, 0]])
    np.testing.assert_array_equal(rows.targets, [stream[1:5], [*stream[5:], 0, 0]])
    np.testing.assert_array_equal(rows.weights, [[1, 1, 1, 1], [1, 1, 0, 0]])
    assert [part.dtype for part in rows] == [np.int32, np.int32, np.float32]


@pytest.mark.parametrize(("longest", "width"), [(24, 6), (4, 4)])
def test_windows_are_as_long_as_the_texts_need(longest: int, width: int) -> None:
    rows = windows(["ab", "cab"], ABC, longest)
    assert rows.inputs.shape[1] == width
    assert rows.weights.sum() == 6


def test_of_a_pair_the_completion_and_its_end_count() -> None:
    rows = windows([("ab", "c"), ("c", "ab"), ("abc", "")], ABC, longest=24)
    np.testing.assert_array_equal(
        rows.inputs, [tokens("abc"), tokens("cab"), tokens("abc")]
    )
    ends = [[0, tokens("c")[0], END], [*tokens("ab"), END], [0, 0, END]]
    np.testing.assert_array_equal(rows.targets, ends)
    np.testing.assert_array_equal(rows.weights, [[0, 1, 1], [1, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize("kind", ["rows", "data set of pairs", "data set of rows"])
def test_pairs_come_in_many_forms(kind: str) -> None:
    named = {"prompt": ["ab", "c"], "completion": ["c", "ab"]}
    texts: Any = [
        {"prompt": "ab", "completion": "c"},
        {"completion": "ab", "prompt": "c"},
    ]
    if kind != "rows":
        given: Any = named if "rows" in kind else tuple(named.values())
        texts = tf.data.Dataset.from_tensor_slices(given)
    rows = windows(texts, ABC, longest=24)
    np.testing.assert_array_equal(rows.inputs, [tokens("abc"), tokens("cab")])
    np.testing.assert_array_equal(rows.weights, [[0, 1, 1], [1, 1, 1]])


def loss_of(model: Any, rows: Any) -> float:
    """The mean of −log p over what counts, by the KerasHub model and NumPy."""
    inputs = {"token_ids": rows.inputs, "padding_mask": np.ones_like(rows.inputs)}
    logits = np.asarray(model(inputs), np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    own = np.take_along_axis(log_probs, rows.targets[..., None], -1)[..., 0]
    return float(-(own * rows.weights).sum() / rows.weights.sum())


def small() -> Any:
    return gpt2(5, num_layers=1, hidden_dim=4)


def test_the_loss_is_that_of_the_model() -> None:
    """With a learning rate of nothing, all windows in one batch."""
    model, texts = small(), [("ab", "ca"), ("c", "b")]
    want = loss_of(model, windows(texts, ABC, longest=24))
    history = pretrain(model, texts, ABC, learning_rate=1e-30, verbose=0)
    assert history.history["loss"] == [pytest.approx(want, abs=1e-5)]


@pytest.mark.parametrize("build", [gpt2, llama])
def test_every_family_is_read_as_it_reads_itself(build: Any) -> None:
    model = build(5)
    rows = windows(["abcab", "cc"], ABC, longest=24)
    inputs = {"token_ids": rows.inputs, "padding_mask": np.ones_like(rows.inputs)}
    network = predictor(LanguageTrunk(model))
    np.testing.assert_allclose(network(rows.inputs), model(inputs), atol=1e-5)
    assert len(network.trainable_variables) == len(model.trainable_variables)


def test_prompts_and_padding_have_no_gradient() -> None:
    """∂loss/∂logits is (π − 1[target]) / n where the target counts, exactly 0 else."""
    model = gpt2(5)
    rows = windows([("abca", "b"), ("c", "a")], ABC, longest=24)
    network = predictor(LanguageTrunk(model))
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    logits = tf.constant(network(rows.inputs))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(rows.targets, logits, rows.weights)
    got = tape.gradient(value, logits).numpy()
    right = tf.nn.softmax(logits).numpy() - np.eye(5)[rows.targets]
    right *= rows.weights[..., None] / rows.weights.sum()
    np.testing.assert_allclose(got, right, atol=1e-6)
    assert (got[rows.weights == 0] == 0).all()
    assert (np.abs(got[rows.weights == 1]).sum(-1) > 0).all()


def test_what_stands_in_the_padding_changes_nothing() -> None:
    model = gpt2(5)
    rows = windows([("ab", "c"), ("a", "bbbb")], ABC, longest=24)
    other = np.where(rows.inputs == 0, 4, rows.inputs)
    network = predictor(LanguageTrunk(model))
    counted = rows.weights == 1
    assert (other != rows.inputs).any()
    np.testing.assert_array_equal(
        network(rows.inputs)[counted], network(other)[counted]
    )


def entropy(rows: Any) -> float:
    """The least loss that any model can have: it knows a window's own past only."""
    following: dict[tuple[int, ...], Counter[int]] = {}
    for inputs, targets, weights in zip(*rows, strict=True):
        for place in np.flatnonzero(weights):
            past = tuple(inputs[: place + 1].tolist())
            following.setdefault(past, Counter())[int(targets[place])] += 1
    total = 0.0
    for counts in following.values():
        whole = sum(counts.values())
        total -= sum(n * math.log(n / whole) for n in counts.values())
    return total / float(rows.weights.sum())


@pytest.mark.slow
def test_learns_a_periodic_text_to_its_entropy() -> None:
    """After one `a` either letter may follow, and nothing else is uncertain."""
    corpus = "aab" * 20
    rows = windows([corpus], ABC, longest=24, length=5)
    least = entropy(rows)
    # Two of three windows begin with `a`; half of them go on with another.
    assert 0.7 * math.log(2) / 5 * 2 / 3 < least < 1.3 * math.log(2) / 5 * 2 / 3 + 0.05
    model = stirred(text.gpt2(5, num_layers=1, hidden_dim=16, max_tokens=24), 0.1)
    quick: Any = {"epochs": 150, "learning_rate": 0.01, "verbose": 0}
    pretrain(model, [corpus], ABC, sequence_length=5, **quick)
    assert least - 1e-5 < loss_of(model, rows) < least + 0.02


@pytest.mark.usefixtures("one_by_one")
def test_keras_users_find_what_they_know() -> None:
    seen: list[int] = []
    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: seen.append(1))
    made = policy("abc", small())
    assert made.critic is not None
    head = [weight.numpy().copy() for weight in made.critic.head.weights]
    before = [weight.numpy().copy() for weight in made.trainable_variables]
    texts = ["".join(pair) for pair in itertools.product("abc", repeat=3)]
    rate = keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)
    history = pretrain(
        made,
        texts,
        epochs=2,
        batch_size=4,
        learning_rate=rate,
        sequence_length=8,
        validation_split=0.25,
        callbacks=[tell],
        verbose=0,
    )
    assert set(history.history) == {"loss", "val_loss"}
    assert len(history.history["loss"]) == len(seen) == 2
    after = [weight.numpy() for weight in made.trainable_variables]
    assert any((a != b).any() for a, b in zip(after, before, strict=True))
    for weight, old in zip(made.critic.head.weights, head, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.usefixtures("one_by_one")
def test_what_is_validated_is_not_learned() -> None:
    rows = windows(["abcab", "ccccc"], ABC, longest=24, length=6)
    model = small()
    want = loss_of(model, type(rows)(*(part[1:] for part in rows)))
    options: Any = {"validation_split": 0.5, "learning_rate": 1e-30, "verbose": 0}
    texts = ["abcab", "ccccc"]
    history = pretrain(model, texts, ABC, sequence_length=6, **options)
    assert history.history["val_loss"] == [pytest.approx(want, abs=1e-5)]


@pytest.mark.usefixtures("one_by_one")
def test_the_seed_orders_the_windows() -> None:
    texts = ["".join(pair) for pair in itertools.product("abc", repeat=2)][:6]

    def loss(seed: int) -> float:
        options: Any = {"sequence_length": 3, "batch_size": 2, "verbose": 0}
        history = pretrain(small(), texts, ABC, seed=seed, **options).history
        return float(history["loss"][0])

    first = loss(0)
    assert loss(0) == first
    assert loss(1) != first


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "at least one. Received"),
        ({"prompt": "a", "completion": "b"}, {}, "rows in an order.*texts=dict"),
        ([{"text": "a"}], {}, r"all be pairs.*Received: texts\[0\]=\{'text'"),
        (["a", ("a", "b")], {}, r"all be pairs.*Received: texts\[1\]"),
        ([("a", "b"), "a"], {}, r"all be pairs.*Received: texts\[1\]='a'"),
        ([("a", "b", "c")], {}, "all be pairs of strings"),
        (["a", ""], {}, r"may be empty.*texts\[1\]"),
        ([("", "a")], {}, "may be empty"),
        ([("abc" * 6, "abc" * 6)], {}, "at most 24 tokens together.*36 tokens"),
        ([("ab", "cab")], {"sequence_length": 4}, "at most 4 tokens together"),
        (["a"], {"sequence_length": 25}, "must be at most 24.*sequence_length=25"),
        (["a"], {"sequence_length": 0}, "`sequence_length` must be a whole number"),
        (["a"], {"epochs": 0}, "`epochs` must be a whole number.*epochs=0"),
        (["a"], {"batch_size": 2.0}, "`batch_size` must be a whole number"),
        (["a"], {"validation_split": 1.0}, "must be less than 1"),
        (["a"], {"validation_split": 0.5}, "windows on both sides.*1 windows"),
        (["a"], {"tokenizer": Letters("abcdef")}, "does not match the model"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    texts: Any, options: dict[str, Any], message: str
) -> None:
    arguments = {"tokenizer": ABC, "verbose": 0, **options}
    with pytest.raises(ValueError, match=message):
        pretrain(gpt2(5), texts, **arguments)


def test_a_tokenizer_or_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a `tokenizer`.*tokenizer=None"):
        pretrain(gpt2(5), ["a"])
    with pytest.raises(ValueError, match="needs a CausalLM"):
        pretrain(keras.Sequential(), ["a"], ABC)


PAIRS = [("ab", "c"), ("c", "ba"), ("abca", "")]


def small_bart(**options: Any) -> Any:
    return seq2seq.bart(5, num_layers=1, hidden_dim=8, **options)


@pytest.mark.usefixtures("one_by_one")
def test_pairs_are_learned_as_the_model_reads_them() -> None:
    made = seq2seq.policy("abc", small_bart(dropout=0.0), framing=seq2seq.FRAMING)
    rows = pairs_of(made.trunk, PAIRS, made.tokenizer, None)
    assert rows.inputs["decoder_token_ids"].shape == rows.weights.shape == (3, 4)
    np.testing.assert_array_equal(
        rows.inputs["decoder_token_ids"][0], [*seq2seq.FRAMING[2], 4, 1]
    )
    np.testing.assert_array_equal(rows.targets[0], [0, 4, 1, 0])
    np.testing.assert_array_equal(
        rows.weights, [[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0]]
    )
    losses = []
    for source, target in PAIRS:
        prompt, row = ([2 + "abc".index(x) for x in part] for part in (source, target))
        log_probs = tf.nn.log_softmax(seq2seq.read_by(made, prompt, [*row, 1]))
        losses += list(-tf.gather(log_probs, [*row, 1], batch_dims=1).numpy())
    history = pretrain(made, PAIRS, learning_rate=1e-30, verbose=0).history
    assert history["loss"] == [pytest.approx(np.mean(losses), abs=1e-5)]
    assert len(predictor(made.trunk).trainable_variables) == len(
        made.trunk.lm.trainable_variables
    )


@pytest.mark.slow
def test_learns_pairs_that_only_the_source_tells_apart() -> None:
    lm, pairs = small_bart(dropout=0.0), [("a", "bc"), ("b", "ca"), ("c", "ab")]
    quick: Any = {"epochs": 60, "learning_rate": 0.02, "verbose": 0}
    history = pretrain(lm, pairs, Letters("abc"), **quick).history
    assert history["loss"][-1] < 0.02 < history["loss"][0]
    made = seq2seq.policy("abc", lm)
    told = made.generate([source for source, _ in pairs], 4, deterministic=True)
    assert told == [target for _, target in pairs]


def test_refuses_what_are_no_pairs() -> None:
    lm = small_bart()
    with pytest.raises(ValueError, match="least one pair.*Received: texts=\\['ab'\\]"):
        pretrain(lm, ["ab"], Letters("abc"))
    with pytest.raises(ValueError, match="24 and 1 tokens"):
        pretrain(lm, [("a" * 24, "b")], Letters("abc"))
    with pytest.raises(ValueError, match="1 and 24 tokens"):
        pretrain(lm, [("b", "a" * 24)], Letters("abc"))
    with pytest.raises(ValueError, match="1 and 3 tokens"):
        pretrain(lm, [("b", "abc")], Letters("abc"), sequence_length=3)
    with pytest.raises(ValueError, match="none in|may be empty"):
        pretrain(lm, [("", "abc")], Letters("abc"))


def test_a_start_token_is_given_not_learned() -> None:
    begun = Begun()
    codec = Codec(begun, begun.start_token_id)
    rows = windows(["ab", "c"], begun, longest=24, codec=codec)
    stream = [5, *tokens("ab"), END, 5, *tokens("c"), END]
    np.testing.assert_array_equal(rows.inputs, [stream[:-1]])
    np.testing.assert_array_equal(rows.weights, [[1, 1, 1, 0, 1, 1]])
    rows = windows([("ab", "c"), ("c", "a")], begun, longest=24, codec=codec)
    np.testing.assert_array_equal(rows.inputs[0], [5, *tokens("abc")])
    np.testing.assert_array_equal(rows.weights, [[0, 0, 1, 1], [0, 1, 1, 0]])


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("options", "asked", "starts"),
    [({}, None, True), ({"add_start_token": False}, None, False), ({}, False, False)],
)
def test_pretraining_reads_as_the_policy_does(
    options: dict[str, Any], asked: bool | None, starts: bool
) -> None:
    lm = gpt2(6, num_layers=1)
    given: Any = [(CausalLMPolicy(lm, Begun(), **options), None)]
    if not options:
        given.append((lm, Begun()))
    codec = Codec(Begun(), 5 if starts else None)
    rows = windows(["abc", "cab"], Begun(), longest=24, codec=codec)
    want = loss_of(lm, rows)
    for model, tokenizer in given:
        history = pretrain(
            model,
            ["abc", "cab"],
            tokenizer,
            learning_rate=1e-9,
            add_start_token=asked,
            verbose=0,
        )
        assert history.history["loss"][0] == pytest.approx(want, rel=1e-4)
