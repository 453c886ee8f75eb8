"""Reading a text token by token, with a separate cache for each layer."""

from __future__ import annotations

import copy
import functools
import itertools
import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, TypeAlias

import keras
import tensorflow as tf
from keras.layers import Layer
from typing_extensions import Self, override

from kpg.graph.gradients import recomputed
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.decoder import Decoder, Read
from kpg.models.language.decoding.dense import applied, projected
from kpg.models.language.decoding.tables import Put, put, sizes, widened
from kpg.types import Nest, Tensor

# More stages read less, but each is compiled anew.
MOST_STAGES, LEAST_TOKENS = 3, 32

Projections: TypeAlias = tuple[Tensor, Tensor, Tensor]


class LayerCache(NamedTuple):
    """What attention needs of the past; `slot` is where the next token goes.

    Keys and values are, for each layer, `[B, K, S, D]`: S slots, first those of the
    prompts with their padding, then one for each step. `places`, `[B, S]` int32, says
    which token of its row a slot holds, counted from 1; 0 for none.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    slot: Tensor
    places: Tensor


class LayeredDecoder(Decoder[LanguageTrunk], ABC):
    """Decodes a transformer by the weights of its KerasHub layers.

    KerasHub keeps one cache for all layers, which XLA copies several times for each
    token; here each layer has one, which XLA updates in place by `write`. Each row has
    its own place in its text, so that none waits for a longer prompt.

    The layers' parts are private to KerasHub: `decoder_for` drops a decoder whose
    features differ from the model's. `norm` names the part before attention.
    """

    norm: ClassVar[str]

    def __init__(self, trunk: LanguageTrunk, write: Put = put) -> None:
        super().__init__(trunk)
        self.write = write
        self.backbone: keras.Model = trunk.causal_lm.backbone
        self._joint: dict[Layer, tuple[Tensor, Tensor | None]] = {}

    @override
    def ready(self) -> Self:
        """One product of a layer gives its queries, keys and values."""
        parts = self.backbone._flatten_layers()
        if any(getattr(part, "quantization_mode", None) for part in parts):
            return self  # its kernels are not what it multiplies by
        own = copy.copy(self)
        own._joint = {
            layer: _joint(layer) for layer in self.backbone.transformer_layers
        }
        return own

    @abstractmethod
    def embedded(self, tokens: Tensor, places: Tensor) -> tuple[Tensor, Nest]:
        """Returns features `[B, L, F]` of tokens, and what `projections` needs.

        Tokens are `[B, L]`; their places in the text, from 0 on, `[B, L]` or `[1, L]`.
        """

    def projections(self, layer: Layer, hidden: Tensor, turned: Nest) -> Projections:
        """Returns queries `[B, H, L, D]`, keys and values `[B, K, L, D]` of a layer.

        K divides H: H / K consecutive queries share each key.
        """
        denses, inputs = _denses(layer), getattr(layer, self.norm)(hidden)
        if layer in self._joint:
            kernel, bias = self._joint[layer]
            whole = projected(inputs, kernel)
            whole = whole if bias is None else whole + bias
            heads = [dense.kernel.shape[1] for dense in denses]
            shape = [*sizes(whole)[:2], sum(heads), denses[0].kernel.shape[2]]
            given = tf.split(tf.reshape(whole, shape), heads, axis=2)
        else:
            given = [applied(dense, inputs) for dense in denses]
        q, k, v = (tf.transpose(part, [0, 2, 1, 3]) for part in given)
        return q, k, v

    @abstractmethod
    def merged(self, layer: Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """Returns a layer's output `[B, L, F]`; `mixed` is `[B, L, H, D]`."""

    def window(self, layer: Layer) -> int | None:
        """Returns how many tokens a layer sees, itself included; `None` for all."""
        return None

    @override
    def start(self, prompts: Tensor, lengths: Tensor, new_tokens: int) -> Read:
        room = sizes(prompts)[1]
        places = tf.range(room)[tf.newaxis]
        own = tf.where(places < lengths[:, tf.newaxis], places + 1, 0)
        hidden, keys, values = self._through(prompts, places, own)
        last = tf.gather(hidden, lengths - 1, batch_dims=1)
        cache = LayerCache(keys, values, tf.convert_to_tensor(room), own)
        return self.backbone.layer_norm(last), self.grown(cache, new_tokens)

    @override
    def stages(self, new_tokens: int | Tensor) -> list[int | Tensor]:
        """Attention takes as long as reading the cache, of which half would be empty.

        So long texts get their slots in stages, where XLA compiles.
        """
        if self.write is not put or not isinstance(new_tokens, int):
            return [new_tokens]
        count = max(1, min(MOST_STAGES, new_tokens // LEAST_TOKENS))
        bounds = [new_tokens * stage // count for stage in range(count + 1)]
        return [last - first for first, last in itertools.pairwise(bounds)]

    @override
    def grown(self, cache: LayerCache, new_tokens: int | Tensor) -> LayerCache:
        return cache._replace(
            keys=tuple(widened(part, new_tokens, axis=2) for part in cache.keys),
            values=tuple(widened(part, new_tokens, axis=2) for part in cache.values),
            places=widened(cache.places, new_tokens, axis=1),
        )

    @override
    def advance(
        self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: LayerCache
    ) -> Read:
        cache = LayerCache(*cache)
        place = (lengths + step)[:, tf.newaxis]
        new_slot = tf.range(sizes(cache.places)[1]) == cache.slot
        places = tf.where(new_slot, place + 1, cache.places)
        fed = tokens[:, tf.newaxis]
        hidden, keys, values = self._through(fed, place, places, cache)
        features = self.backbone.layer_norm(hidden[:, 0])
        return features, LayerCache(keys, values, cache.slot + 1, places)

    def continued(
        self,
        prompts: Tensor,
        lengths: Tensor,
        tokens: Tensor,
        copies: int,
        remat: bool = False,
    ) -> Tensor:
        """Returns features `[B, L, F]` behind tokens `[B, L]` that go on with prompts.

        Each of the prompts, `[B / copies, P]` of `[B / copies]` tokens, is read once
        for as many neighbouring rows. With `remat`, a layer's gradient computes the
        layer again.
        """
        room = tf.range(sizes(prompts)[1])[tf.newaxis]
        known = tf.where(room < lengths[:, tf.newaxis], room + 1, 0)
        _, *read = self._through(prompts, room, known, remat=remat)
        keys, values, known, lengths = tf.nest.map_structure(
            lambda part: tf.repeat(part, copies, axis=0), (*read, known, lengths)
        )
        own = lengths[:, tf.newaxis] + tf.range(sizes(tokens)[1])
        cache = LayerCache(keys, values, tf.constant(0), known)
        places = tf.concat([known, own + 1], axis=1)
        behind = copy.copy(self)
        behind.write = lambda table, update, slot, axis: tf.concat(
            [table, update], axis
        )
        hidden, *_ = behind._through(tokens, own, places, cache, remat)
        return self.backbone.layer_norm(hidden)

    def _through(
        self,
        tokens: Tensor,
        own: Tensor,
        places: Tensor,
        cache: LayerCache | None = None,
        remat: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Takes tokens at their own places through all layers.

        Returns features `[B, L, F]`, and each layer's keys and values with the cached.
        """
        hidden, turned = self.embedded(tokens, own)
        caches: list[tuple[Tensor, Tensor]] = []
        for index, layer in enumerate(self.backbone.transformer_layers):
            past = () if cache is None else (cache.keys[index], cache.values[index])
            slot = None if cache is None else cache.slot
            read = functools.partial(
                self._layer, layer, turned, self._seen(layer, own + 1, places), slot
            )
            if remat:
                hidden, *pair = recomputed(read, [hidden, *past], layer.variables)
            else:
                hidden, *pair = read(hidden, *past)
            caches.append((pair[0], pair[1]))
        all_keys, all_values = zip(*caches, strict=True)
        return hidden, all_keys, all_values

    def _layer(
        self,
        layer: Layer,
        turned: Nest,
        seen: Tensor,
        slot: Tensor | None,
        hidden: Tensor,
        *past: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns a layer's features, and its keys and values behind those before."""
        queries, keys, values = self.projections(layer, hidden, turned)
        if past and slot is not None:
            keys = self.write(past[0], keys, slot, 2)
            values = self.write(past[1], values, slot, 2)
        mixed = _mixed(queries, keys, values, seen)
        return self.merged(layer, hidden, mixed), keys, values

    def _seen(self, layer: Layer, own: Tensor, places: Tensor) -> Tensor:
        """Returns bool `[B, L, S]`: the slots that tokens at their own places see."""
        own, places = own[:, :, tf.newaxis], places[:, tf.newaxis]
        seen = (places > 0) & (places <= own)
        window = self.window(layer)
        return seen if window is None else seen & (places > own - window)


def _mixed(queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor) -> Tensor:
    """Returns `[B, L, H, D]`: queries attend to the slots in `seen`, bool `[B, L, S]`.

    Queries are `[B, H, L, D]`, keys and values `[B, K, S, D]`.
    """
    batch_size, heads, length, size = sizes(queries)
    _, groups, slots, _ = sizes(keys)
    # The queries of a key follow each other, as if they were one query's tokens.
    together = [batch_size, groups, heads // groups * length, size]
    scaled = tf.reshape(queries / math.sqrt(size), together)
    scores = tf.matmul(scaled, keys, transpose_b=True)
    apart = [batch_size, groups, heads // groups, length, slots]
    seen = seen[:, tf.newaxis, tf.newaxis]
    scores = tf.where(seen, tf.reshape(scores, apart), scores.dtype.min)
    weights = tf.reshape(tf.nn.softmax(scores), [*together[:3], slots])
    mixed = tf.reshape(tf.matmul(weights, values), [batch_size, heads, length, size])
    return tf.transpose(mixed, [0, 2, 1, 3])


def _denses(layer: Layer) -> tuple[Layer, Layer, Layer]:
    attention = layer._self_attention_layer
    return attention._query_dense, attention._key_dense, attention._value_dense


def _joint(layer: Layer) -> tuple[Tensor, Tensor | None]:
    """Returns a layer's kernel `[F, (H + 2 K) D]`, and its bias if there is one."""
    denses = _denses(layer)

    def cast(weight: Tensor, shape: list[int]) -> Tensor:
        return tf.reshape(tf.cast(weight, denses[0].compute_dtype), shape)

    rows = denses[0].kernel.shape[0]
    kernel = tf.concat([cast(d.kernel, [rows, -1]) for d in denses], axis=-1)
    if denses[0].bias is None:
        return kernel, None
    return kernel, tf.concat([cast(d.bias, [-1]) for d in denses], axis=-1)
