"""Byte-pair encoding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.language.tokenizers.bpe_splitting import SPLITTINGS, words_of
from kpg.language.tokenizers.tokenizer import GraphTokenizer, bytes_of
from kpg.types import Array, Config, Tensor


@keras.saving.register_keras_serializable(package="kpg")
class BPETokenizer(GraphTokenizer):
    """Joins the bytes of each word in pairs, in the order in which pairs were learned.

    References: Sennrich et al., "Neural machine translation of rare words with subword
    units" (2016), https://arxiv.org/abs/1508.07909; for bytes, see `byte_symbols`.

    Args:
        vocabulary: V tokens, from token 0 on, with bytes as `byte_symbols`: "Ġ" is a
            space. Bytes that it lacks are left out of every text.
        merges: Pairs of tokens with a space between them, in the order of joining.
        end_token: The token that ends a text, `end_token_id`.
        pad_token: The token that pads, `pad_token_id`.
        special_tokens: Tokens that stand for themselves wherever they are written, as
            `end_token` does. Defaults to none.
        splitting: How texts are split into words: "gpt-2" (the default), "llama-bpe",
            "qwen2" or "smollm".
        start_token: The token that begins a text, `start_token_id`. Defaults to none.
        add_start_token: Whether a policy writes it before its prompts unless told
            otherwise. Defaults to `False`.
        chat_template: How a policy makes a prompt of messages, in Jinja. Defaults to
            `None`: it cannot.

    Raises:
        ValueError: If a token is missing or occurs twice, or the splitting is unknown.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[str],
        end_token: str,
        pad_token: str,
        special_tokens: Sequence[str] = (),
        splitting: str = "gpt-2",
        start_token: str | None = None,
        add_start_token: bool = False,
        chat_template: str | None = None,
    ) -> None:
        checks.choice("splitting", splitting, SPLITTINGS)
        self._config: Config = {
            "vocabulary": list(vocabulary),
            "merges": list(merges),
            "end_token": end_token,
            "pad_token": pad_token,
            "special_tokens": list(special_tokens),
            "splitting": splitting,
            "start_token": start_token,
            "add_start_token": add_start_token,
            "chat_template": chat_template,
        }
        ids = {token: index for index, token in enumerate(vocabulary)}
        if len(ids) < len(vocabulary):
            raise ValueError(
                "`vocabulary` must have each token once. Received: "
                f"{len(vocabulary)} tokens, {len(ids)} different ones"
            )
        self._splitting = SPLITTINGS[splitting]
        self._special = sorted({end_token, *special_tokens})
        self._special_ids = _known(ids, self._special)
        self.end_token_id, self.pad_token_id = _known(ids, [end_token, pad_token])
        self.start_token_id = start_token and _known(ids, [start_token])[0]
        self.add_start_token = add_start_token
        self.start_token, self.end_token = start_token, end_token
        self.chat_template = chat_template
        # One more number stands for a byte that has no token, and for no byte.
        self._none = len(ids)
        symbols = byte_symbols()
        self._byte_ids = np.array([ids.get(s, self._none) for s in symbols], np.int32)
        self._keys, self._ranks, self._joined = _merge_table(ids, merges)
        codes = {symbol: bytes([byte]) for byte, symbol in enumerate(symbols)}
        special = {*self._special}
        super().__init__([_text(token, codes, special) for token in vocabulary])

    @override
    def tokenize(self, texts: Tensor) -> tf.RaggedTensor:
        words = words_of(
            tf.convert_to_tensor(texts, tf.string), self._splitting, self._special
        )
        different, places = tf.unique(words.flat_values)
        tokens = tf.gather(self._tokens(different), places)
        tokens = words.with_flat_values(tokens).merge_dims(1, 2)
        return tf.ragged.boolean_mask(tokens, tokens != self._none)

    @override
    def get_config(self) -> Config:
        return dict(self._config)

    def _tokens(self, words: Tensor) -> Tensor:
        """Returns the tokens `[W, L]` of words `[W]`, filled up with `_none`."""
        tokens = tf.gather(self._byte_ids, bytes_of(words)).to_tensor(self._none)
        tokens = tf.pad(tokens, [[0, 0], [0, 2]], constant_values=self._none)
        which = words[:, tf.newaxis] == tf.constant(self._special)
        own = tf.gather(self._special_ids, tf.argmax(which, axis=1))
        first = tf.range(tf.shape(tokens)[1]) == 0
        alone = tf.where(first, own[:, tf.newaxis], self._none)
        tokens = tf.where(tf.reduce_any(which, axis=1)[:, tf.newaxis], alone, tokens)
        rows, table = tf.range(tf.shape(tokens)[0]), tf.TensorShape([None, None])
        merged, _, _ = tf.while_loop(
            lambda tokens, rows, ranks: tf.size(rows) > 0,
            self._merge,
            (tokens, *self._unfinished(rows, tokens)),
            shape_invariants=(table, tf.TensorShape([None]), table),
        )
        return merged

    def _merge(self, tokens: Tensor, rows: Tensor, ranks: Tensor) -> tuple[Tensor, ...]:
        """Joins one pair in each unfinished row: the leftmost of the first merge."""
        old = tf.gather(tokens, rows)
        place = tf.argmin(ranks, axis=1, output_type=tf.int32)[:, tf.newaxis]
        whole = tf.gather(self._joined, tf.gather(ranks, place, batch_dims=1))
        columns = tf.range(tf.shape(tokens)[1])
        behind = tf.concat([old[:, 1:], tf.fill(tf.shape(place), self._none)], axis=1)
        new = tf.where(columns < place, old, behind)
        new = tf.where(columns == place, whole, new)
        tokens = tf.tensor_scatter_nd_update(tokens, rows[:, tf.newaxis], new)
        return tokens, *self._unfinished(rows, new)

    def _unfinished(self, rows: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the rows with a pair to join, and the ranks of their pairs."""
        wide, no_merge = tf.cast(tokens, tf.int64), len(self._ranks) - 1
        keys = wide[:, :-1] * (self._none + 1) + wide[:, 1:]
        flat = tf.reshape(keys, [-1])
        places = tf.searchsorted(self._keys, flat)
        found = tf.gather(self._keys, places) == flat
        ranks = tf.where(found, tf.gather(self._ranks, places), no_merge)
        ranks = tf.reshape(ranks, tf.shape(keys))
        left = tf.reduce_any(ranks < no_merge, axis=1)
        return tf.boolean_mask(rows, left), tf.boolean_mask(ranks, left)


def byte_symbols() -> list[str]:
    """Returns the 256 visible characters that stand for the bytes 0 … 255.

    Visible characters of Latin-1 stand for themselves, the others count from U+0100 on:
    Radford et al., "Language models are unsupervised multitask learners" (2019).
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return [chr(byte if byte in visible else next(others)) for byte in range(256)]


def _known(ids: dict[str, int], tokens: Sequence[str]) -> list[int]:
    """Returns the ids of tokens; refuses one that is not in the vocabulary."""
    if missing := [token for token in tokens if token not in ids]:
        raise ValueError(
            "Special tokens, and the parts and wholes of `merges`, must be in the "
            f"vocabulary. Received: {missing[0]!r}, which is not"
        )
    return [ids[token] for token in tokens]


def _merge_table(ids: dict[str, int], merges: Sequence[str]) -> tuple[Array, ...]:
    """Returns sorted int64 keys of pairs, ranks, results by rank; the last is none."""
    keys, joined = [], []
    for merge in merges:
        left, _, right = merge.partition(" ")
        first, second, whole = _known(ids, [left, right, left + right])
        keys.append(first * (len(ids) + 1) + second)
        joined.append(whole)
    keys.append(np.iinfo(np.int64).max)
    joined.append(len(ids))
    order = np.argsort(keys, kind="stable")
    sorted_keys = np.array(keys, np.int64)[order]
    return sorted_keys, order.astype(np.int32), np.array(joined, np.int32)


def _text(token: str, codes: dict[str, bytes], special: set[str]) -> bytes:
    if token in special or any(symbol not in codes for symbol in token):
        return token.encode()
    return b"".join(codes[symbol] for symbol in token)
