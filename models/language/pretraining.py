"""A supervised start: next-token prediction by Keras's own `fit`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from kpg import checks
from kpg.language.rows import rows_of
from kpg.language.tokenizers.codec import Codec, Tokens, check_tokenizer, padded
from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk, framing_of
from kpg.models.language.text_model import TextModel
from kpg.models.language.text_trunk import TextTrunk
from kpg.models.language.tokenizing import (
    adds_start_token,
    chosen_tokenizer,
    codec_of,
)
from kpg.types import Array, Nest

_LONGEST_WINDOW = 512

_NAMES = ("prompt", "completion")
Text: TypeAlias = str | tuple[str, str]


class Windows(NamedTuple):
    """What a language model is shown and what it is to predict; all `[N, L]`.

    int32 tokens, 0 behind the last (for a Seq2SeqLM, its backbone's inputs by name,
    those of the encoder `[N, S]`); int32, the token after each; and float32, 1 where
    that counts, 0 for padding and prompts.
    """

    inputs: Nest
    targets: Array
    weights: Array


def pretrain(
    lm: keras.Model,
    texts: Iterable[Any],
    tokenizer: Tokenizer | None = None,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-3,
    sequence_length: int | None = None,
    validation_split: float = 0.0,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    jit_compile: bool | str = False,
    verbose: int | str = "auto",
    add_start_token: bool | None = None,
) -> keras.callbacks.History:
    """Trains a language model to predict the next token.

    Texts, each between start token (if any) and end token, are joined and cut into
    windows. A pair of a prompt and its completion has a window of its own, of which
    only the completion and its end are learned; a Seq2SeqLM learns pairs only. The loss
    is the mean of −log p in nats over the tokens that count, without temperature; Adam
    follows its gradient, whose norm is clipped to 1. Frozen weights and a policy's
    value head stay.

    Args:
        lm: A `CausalLM` or a `Seq2SeqLM` of keras_nlp, or a policy of one.
        texts: Strings; or pairs `(prompt, completion)`, or rows `{"prompt": …,
            "completion": …}`. A list, a generator or a finite `tf.data.Dataset`.
        tokenizer: Defaults to that of the policy, or of the model's preprocessor.
        epochs: Passes over the windows, ≥ 1. Defaults to 1.
        batch_size: Windows of a step, ≥ 1. Defaults to 32.
        learning_rate: Adam's: a number > 0, or a Keras schedule. Defaults to 0.001.
        sequence_length: L, tokens of a window, ≥ 1; for a Seq2SeqLM, of its decoder.
            Defaults to what the texts need, at most 512 and what the model reads.
        validation_split: Share of the windows, the last ones, that are measured after
            every epoch and not learned, in [0, 1). Defaults to 0.
        seed: Seed of the order of the windows. Defaults to 0.
        callbacks: Keras callbacks, on a model made for this call from the layers of
            `lm`. Defaults to none.
        jit_compile: Whether XLA compiles the step, as in `keras.Model.compile`.
            Defaults to `False`: a small model gains less than compiling takes.
        verbose: See `keras.Model.fit`. Defaults to "auto".
        add_start_token: Whether texts and prompts begin with the start token, which is
            never learned. Defaults to what a policy of the model does, see
            `kpg.models.CausalLMPolicy`. A Seq2SeqLM has its own.

    Returns:
        Keras's `History`: `loss`, and `val_loss` with a validation split.

    Raises:
        ValueError: If a text is missing, empty or too long, strings and pairs are
            mixed, or a number is out of range.
    """
    epochs = checks.whole_number("epochs", epochs)
    batch_size = checks.whole_number("batch_size", batch_size)
    if sequence_length is not None:
        checks.whole_number("sequence_length", sequence_length)
    if checks.fraction("validation_split", validation_split) == 1.0:
        checks.refuse("validation_split", "must be less than 1", validation_split)
    trunk, codec = _read(lm, tokenizer, add_start_token)
    check_tokenizer(codec.tokenizer, trunk.vocabulary_size, codec)
    if isinstance(trunk, Seq2SeqTrunk):
        rows = pairs_of(trunk, texts, codec.tokenizer, sequence_length, codec)
    else:
        longest = _longest(trunk, sequence_length)
        rows = windows(texts, codec.tokenizer, longest, sequence_length, codec)
    first = _learned_windows(len(rows.weights), validation_split)
    data = tf.data.Dataset.from_tensor_slices(tuple(rows))
    learned, measured = data.take(first), data.skip(first)
    model = predictor(trunk)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        ),
        jit_compile=jit_compile,
    )
    # A step that makes the optimizer's variables would be traced twice.
    model.optimizer.build(model.trainable_variables)
    return model.fit(
        learned.shuffle(first, seed=seed).batch(batch_size),
        epochs=epochs,
        validation_data=measured.batch(batch_size) if validation_split else None,
        callbacks=list(callbacks or ()),
        shuffle=False,  # the data set does, by the seed
        verbose=verbose,
    )


def _learned_windows(count: int, validation_split: float) -> int:
    """Returns how many windows are learned; those behind them are for validation."""
    held_out = int(count * validation_split)
    if validation_split and not 0 < held_out < count:
        raise ValueError(
            "`validation_split` must leave windows on both sides; give more texts. "
            f"Received: validation_split={validation_split}, {count} windows"
        )
    return count - held_out


def _read(
    lm: keras.Model, tokenizer: Tokenizer | None, add_start_token: bool | None
) -> tuple[TextTrunk, Codec]:
    """Returns what reads texts, and their codec."""
    found = chosen_tokenizer(tokenizer or getattr(lm, "tokenizer", None), lm)
    special: Sequence[str] = ()
    if isinstance(lm, TextModel):
        trunk = lm.trunk
        if found is getattr(lm, "tokenizer", None):
            special = lm.special_tokens
            if add_start_token is None:
                add_start_token = lm.add_start_token
    elif callable(getattr(lm, Seq2SeqTrunk.reader, None)):
        check_tokenizer(found, int(lm.backbone.vocabulary_size))
        trunk = Seq2SeqTrunk(lm, framing_of(lm, found))
    else:
        trunk = LanguageTrunk(lm)
    if isinstance(trunk, Seq2SeqTrunk):
        if add_start_token:
            wanted = "is of CausalLMs; a Seq2SeqLM has its `framing`; omit it"
            checks.refuse("add_start_token", wanted, add_start_token)
        return trunk, codec_of(found, False, special)
    adds = adds_start_token(trunk.lm, found, add_start_token)
    return trunk, codec_of(found, adds, special)


def predictor(trunk: TextTrunk) -> keras.Model:
    """Returns a plain model from tokens `[N, L]`, padded behind, to logits."""
    backbone: keras.Model = trunk.lm.backbone
    if isinstance(trunk, Seq2SeqTrunk):
        inputs = backbone.input
        features = backbone.output["decoder_sequence_output"]
    else:
        inputs = keras.Input([None], dtype="int32", name="tokens")
        mask = keras.ops.ones_like(inputs)
        features = backbone({"token_ids": inputs, "padding_mask": mask})
    return keras.Model(inputs, keras.ops.cast(trunk.project(features), "float32"))


def windows(
    texts: Iterable[Any],
    tokenizer: Tokenizer,
    longest: int,
    length: int | None = None,
    codec: Codec | None = None,
) -> Windows:
    """Packs texts, or pairs of a prompt and its completion, into windows.

    L is `length`, or, if that is `None`, what the texts need, at most `longest`. The
    codec is by default that of the tokenizer alone.
    """
    codec = codec or Codec(tokenizer)
    texts = [texts] if isinstance(texts, str) else rows_of("texts", texts)
    end, pairs = int(tokenizer.end_token_id), not isinstance(texts[0], str)
    rows, *rest = _encoded(texts, codec, 2 if pairs else 1)
    if pairs:
        return _of_pairs(texts, rows, rest[0], end, length or longest, length)
    stream = np.concatenate([np.append(row, np.int32(end)) for row in rows])
    size = length or min(longest, len(stream) - 1)
    count = -(-(len(stream) - 1) // size)
    room = np.zeros(count * size + 1, np.int32)
    room[: len(stream)] = stream
    known = np.arange(1, len(room)) < len(stream)
    if codec.start is not None:
        # A start token is given, not predicted from the text before it.
        starts = np.cumsum([len(row) + 1 for row in rows])[:-1]
        known[starts - 1] = False
    return _table(room[:-1], room[1:], known, (count, size))


def pairs_of(
    trunk: Seq2SeqTrunk,
    texts: Iterable[Any],
    tokenizer: Tokenizer,
    length: int | None,
    codec: Codec | None = None,
) -> Windows:
    """Makes windows of pairs of a source and its target, with the model's framing.

    L is `length`, or what the targets need if that is `None`.
    """
    texts = rows_of("texts", texts)
    if isinstance(texts[0], str):
        raise ValueError(
            "A Seq2SeqLM needs at least one pair `(source, target)`. Received: "
            f"texts={texts[:1]}"
        )
    sources, targets = _encoded(texts, codec or Codec(tokenizer), 2)
    limit, start = _longest(trunk, length), trunk.framing.start
    longest = length or limit
    for text, source, target in zip(texts, sources, targets, strict=True):
        fits = trunk.has_room(len(source), len(target))
        if not fits or len(start) + len(target) > longest:
            raise ValueError(
                "A source and its target must fit into what encoder and decoder read; "
                "shorten them or raise `sequence_length`. Received: "
                f"{len(source)} and {len(target)} tokens of {text!r}"
            )
    end = int(tokenizer.end_token_id)
    starts = [np.array(start, np.int32)] * len(texts)
    rows = _of_pairs(texts, starts, targets, end, longest, length)
    source, mask = trunk.framed(*map(tf.constant, padded(sources)))
    inputs = {
        "encoder_token_ids": source.numpy(),
        "encoder_padding_mask": mask.numpy(),
        "decoder_token_ids": rows.inputs,
        "decoder_padding_mask": np.ones_like(rows.inputs),
    }
    return rows._replace(inputs=inputs)


def _of_pairs(
    texts: Sequence[Text],
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    end: int,
    longest: int,
    length: int | None,
) -> Windows:
    """Gives each pair a window of its own."""
    rows = [[*p, *c, end] for p, c in zip(prompts, completions, strict=True)]
    lengths = [len(row) - 1 for row in rows]
    worst = int(np.argmax(lengths))
    if lengths[worst] > longest:
        raise ValueError(
            f"A prompt and its completion must have at most {longest} tokens together; "
            "shorten them or raise `sequence_length`. Received: "
            f"{lengths[worst]} tokens of {texts[worst]!r}"
        )
    size = length or lengths[worst]
    room = np.zeros((len(rows), size + 1), np.int32)
    known = np.zeros((len(rows), size), bool)
    for index, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        room[index, : len(row)] = row
        known[index, len(prompt) - 1 : len(row) - 1] = True
    return _table(room[:, :-1], room[:, 1:], known, known.shape)


def _table(
    inputs: Array, targets: Array, known: Array, shape: tuple[int, int]
) -> Windows:
    """Gives the parts their shape; what does not count is 0."""
    weights = known.astype(np.float32)
    parts = (inputs, np.where(known, targets, 0), weights)
    return Windows(*(part.reshape(shape) for part in parts))


def _longest(trunk: TextTrunk, length: int | None) -> int:
    """Returns the most tokens of a window."""
    limit = trunk.max_tokens
    if length is not None and limit is not None and length > limit:
        raise ValueError(
            f"`sequence_length` must be at most {limit}, the longest text that the "
            f"model reads. Received: sequence_length={length}"
        )
    return _LONGEST_WINDOW if limit is None else min(limit, _LONGEST_WINDOW)


def _parts_of(text: object, parts: int) -> list[object]:
    """Returns a text alone, or the parts of a pair as far as there are some."""
    if isinstance(text, Mapping):
        return [*map(text.get, _NAMES)] if set(text) == set(_NAMES) else []
    return list(text) if parts == 2 and isinstance(text, (list, tuple)) else [text]


def _encoded(texts: Sequence[Text], codec: Codec, parts: int) -> list[list[Tokens]]:
    """Returns the tokens of each part of texts that have one or two of them."""
    rows = []
    for index, text in enumerate(texts):
        row = _parts_of(text, parts)
        if len(row) != parts or not all(isinstance(part, str) for part in row):
            raise ValueError(
                "`texts` must all be strings, or all be pairs of strings or rows "
                '{"prompt": …, "completion": …}. '
                f"Received: texts[{index}]={text!r}"
            )
        if not row[0]:
            raise ValueError(
                "Neither a text nor the prompt of a pair may be empty: the first token "
                f"is given, not learned. Received: texts[{index}]={text!r}"
            )
        rows.append(row)
    first, *rest = zip(*rows, strict=True)
    tokens = [codec.encode(first, prompts=True), *map(codec.encode, rest)]
    for text, known in zip(texts, tokens[0], strict=True):
        if not len(known):
            raise ValueError(
                "The tokenizer must find at least one token in each text and prompt. "
                f"Received: none in {text!r}"
            )
    return tokens
