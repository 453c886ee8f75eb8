"""Writing texts: one loop that gives tokens, log-probabilities and values."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import tensorflow as tf

from kpg.graph import random
from kpg.models.language.decoding.decoder import Decoder, Read
from kpg.models.language.decoding.head import turned, with_turned
from kpg.models.language.decoding.repetition import penalized, seen_until
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import Put, put, sizes
from kpg.models.language.text_model import TextModel
from kpg.models.language.text_trunk import TextTrunk
from kpg.types import Nest, Tensor


class Completions(NamedTuple):
    """What follows B prompts; all `[T, B]`, time first, and 0 or padding after the end.

    int32 tokens; their float32 log-probabilities in nats; the critic's float32 values
    of the text before each token, 0 without a critic; bool, whether the text had not
    ended before: the token that ends it counts.
    """

    tokens: Tensor
    log_probs: Tensor
    values: Tensor
    valid: Tensor


class _Loop(NamedTuple):
    """What a step carries to the next."""

    step: Tensor
    features: Tensor
    cache: Nest
    ending: Nest
    seen: Nest
    writing: Tensor
    tables: Completions


class Sampler:
    """Writes completions of prompts until every text has ended.

    `new_tokens`, T ≥ 1, `deterministic` and a `temperature` in place of the policy's
    may be scalars. By default the fastest decoder with the model's own logits reads. A
    prompt that `alike` neighbouring rows have is read once for all of them.
    """

    def __init__(
        self,
        policy: TextModel,
        new_tokens: int | Tensor,
        deterministic: bool | Tensor = False,
        decoder: Decoder[TextTrunk] | None = None,
        temperature: Tensor | None = None,
        write: Put = put,
        alike: int = 1,
    ) -> None:
        self.policy = policy
        self.new_tokens = new_tokens
        self.deterministic = deterministic
        self.decoder = decoder_for(policy.trunk) if decoder is None else decoder
        self.temperature = temperature
        self.write = write
        self.alike = alike
        self._penalty = policy.writing.repetition_penalty
        self._pad = int(getattr(policy.tokenizer, "pad_token_id", None) or 0)

    def __call__(self, prompts: Tensor, lengths: Tensor, seed: Tensor) -> Completions:
        """Builds graph: completes prompts `[B, P]` int32, of `[B]` tokens in 1 … P.

        The seed is a stateless one, `[2]` int32. Under XLA, B and P are known.
        """
        batch_size, room = sizes(prompts)
        decoder = self.decoder.ready() if self.write is put else self.decoder
        steps = decoder.num_steps(room, self.new_tokens)
        offsets = decoder.offsets(lengths)
        seeds = random.seeds([steps], seed)

        zeros = tf.zeros([steps, batch_size])
        pads = tf.fill([steps, batch_size], self._pad)
        first, *later = decoder.stages(self.new_tokens)
        loop = _Loop(
            tf.constant(0),
            *self._read(decoder, prompts, lengths, first),
            self.policy.ending.start(batch_size),
            self._seen(prompts, lengths),
            tf.ones([batch_size], tf.bool),
            Completions(pads, zeros, zeros, tf.cast(zeros, tf.bool)),
        )
        bound = steps - sum(later)
        # Without XLA it would not pay.
        head = turned(self.policy.trunk) if self.write is put else None
        given = (decoder, prompts, lengths, offsets, seeds, head)
        loop = self._written(loop, bound, *given)
        for more in later:
            loop = loop._replace(cache=decoder.grown(loop.cache, more))
            bound += more
            loop = self._written(loop, bound, *given)
        return self._aligned(loop.tables, offsets)

    def _read(
        self,
        decoder: Decoder[TextTrunk],
        prompts: Tensor,
        lengths: Tensor,
        new_tokens: int | Tensor,
    ) -> Read:
        """Returns the features behind all prompts, and the cache of all rows."""
        copies = self.alike
        read = decoder.start(prompts[::copies], lengths[::copies], new_tokens)
        if copies == 1:
            return read
        repeated: Read = tf.nest.map_structure(
            # What all rows share, such as a place, is a scalar.
            lambda part: tf.repeat(part, copies, axis=0) if part.shape.rank else part,
            read,
        )
        return repeated

    def _written(self, loop: _Loop, bound: int | Tensor, *given: Any) -> _Loop:
        """Takes steps until every text has ended, at most up to a bound."""
        (last,) = tf.while_loop(
            lambda loop: (loop.step < bound) & tf.reduce_any(loop.writing),
            lambda loop: (self._step(loop, *given),),
            (loop,),
        )
        written: _Loop = last
        return written

    def _step(
        self,
        loop: _Loop,
        decoder: Decoder[TextTrunk],
        prompts: Tensor,
        lengths: Tensor,
        offsets: Tensor,
        seeds: Tensor,
        head: Tensor | None,
    ) -> _Loop:
        """Chooses a token where the prompt has been read, and reads one in each row."""
        policy, step, turns = self.policy, loop.step, loop.step - offsets
        with with_turned(policy.trunk, head):
            if self.temperature is None:
                parameters = policy.outputs(loop.features)
            else:
                parameters = policy.trunk.logits(loop.features) / self.temperature
        if self._penalty != 1.0:
            parameters = penalized(parameters, loop.seen, self._penalty)
        chosen = self._chosen(parameters, seeds[step])
        log_probs = policy.family.log_prob(parameters, chosen)
        values = tf.zeros_like(log_probs)
        if policy.critic is not None:
            values = policy.critic.outputs(loop.features)
        valid = loop.writing & (turns >= 0)
        places = tf.clip_by_value(lengths + turns, 0, sizes(prompts)[1] - 1)
        given = tf.gather(prompts, places, batch_dims=1)
        tokens = tf.where(valid, chosen, self._pad)
        ending, last = policy.ending.after(loop.ending, chosen)
        ending = tf.nest.map_structure(partial(tf.where, valid), ending, loop.ending)
        ended = valid & (last | (turns == self.new_tokens - 1))
        features, cache = decoder.advance(
            tf.where(turns < 0, given, tokens), step, lengths, loop.cache
        )
        log_probs, values = (tf.where(valid, part, 0.0) for part in (log_probs, values))
        rows = zip(loop.tables, (tokens, log_probs, values, valid), strict=True)
        written = (self.write(table, row[tf.newaxis], step, 0) for table, row in rows)
        writing = loop.writing & ~ended
        seen = self._seen_then(loop.seen, chosen, valid)
        tables = Completions(*written)
        return _Loop(step + 1, features, cache, ending, seen, writing, tables)

    def _seen(self, prompts: Tensor, lengths: Tensor) -> Nest:
        """Returns which tokens the texts have before any is chosen, `[B, V]` bool."""
        if self._penalty == 1.0:
            return ()
        trunk = self.policy.trunk
        texts, lengths = trunk.continued(prompts, lengths)
        return seen_until(texts, lengths[tf.newaxis], trunk.vocabulary_size)[0]

    def _seen_then(self, seen: Nest, chosen: Tensor, valid: Tensor) -> Nest:
        """Returns which tokens the texts have with those `[B]` that are valid."""
        if self._penalty == 1.0:
            return seen
        new = tf.one_hot(chosen, seen.shape[1], True, False)
        return seen | (valid[:, tf.newaxis] & new)

    def _chosen(self, parameters: Tensor, seed: Tensor) -> Tensor:
        """Returns the tokens `[B]` of a step."""
        family = self.policy.family
        if self.deterministic is True:
            return family.mode(parameters)
        drawn = family.sample(parameters, seed)
        if self.deterministic is False:
            return drawn
        return tf.where(self.deterministic, family.mode(parameters), drawn)

    def _aligned(self, tables: Completions, offsets: Tensor) -> Completions:
        """Moves every row up to its first own token."""
        room, known = tables.tokens.shape[0], isinstance(self.new_tokens, int)
        if known and room == self.new_tokens:
            return tables
        steps = offsets[:, tf.newaxis] + tf.range(self.new_tokens)
        moved = (
            tf.gather(tf.transpose(table), steps, batch_dims=1) for table in tables
        )
        return Completions(*map(tf.transpose, moved))
