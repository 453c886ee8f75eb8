"""A language model learns to call a tool: `python examples/calculator.py`.

A tiny GPT-2 multiplies numbers of two digits. In what it was taught, some products are
answered from memory, and others by a call: `12*34=[mul(12,34)].` is answered by `408`,
which is then repeated. It cannot multiply, and what it answers from memory is mostly
wrong. It is rewarded for right answers alone; nothing tells it to call. What counts are
products that it never saw. The exit code is 0 if, with each seed, more of them are
right than after the supervised start. Everything works offline.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import kpg

SIGNS = "0123456789*=[](),mul"
CALLS = 0.6  # of what is taught
TAUGHT = 4000
GROUP_SIZE = 8
NUM_ENVS = 64

Pair = tuple[str, str]


class Signs:
    """A token for each sign: 0 pads, and 1, the full stop, ends a turn."""

    pad_token_id, end_token_id = 0, 1

    def __init__(self) -> None:
        self._signs = tf.constant(["", ".", *SIGNS])

    def vocabulary_size(self) -> int:
        """Returns the number of tokens."""
        return len(self._signs)

    def tokenize(self, texts: Any) -> tf.RaggedTensor:
        """Returns the tokens of each text."""
        signs = tf.strings.bytes_split(texts)
        found = signs.flat_values[:, tf.newaxis] == self._signs[1:]
        tokens = tf.argmax(found, axis=-1, output_type=tf.int32) + 1
        return signs.with_flat_values(tokens)

    def detokenize(self, tokens: Any) -> tf.Tensor:
        """Returns the text of each row of tokens."""
        return tf.strings.reduce_join(tf.gather(self._signs, tokens), axis=-1)


class Score(NamedTuple):
    """Means over new products, sampled.

    Attributes:
        right: Share of right answers.
        called: Share of conversations with a call.
    """

    right: float
    called: float


def mul(a: int, b: int) -> int:
    """The tool."""
    return a * b


def products() -> tuple[list[Pair], list[Pair]]:
    """Returns products with their answers: those that are taught, and new ones."""
    numbers = range(10, 100)
    pairs = [(f"{a}*{b}=", str(a * b)) for a in numbers for b in numbers]
    order = np.random.default_rng(0).permutation(len(pairs))
    shuffled = [pairs[place] for place in order]
    return shuffled[:TAUGHT], shuffled[TAUGHT:]


def lessons(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Returns what is taught: answers from memory, and calls with what follows them."""
    calls, taught = np.random.default_rng(seed).random(len(pairs)) < CALLS, []
    for (prompt, answer), calling in zip(pairs, calls, strict=True):
        if calling:
            call = f"[mul({prompt[:2]},{prompt[3:5]})]"
            taught += [(prompt, call), (f"{prompt}{call}.{answer}", answer)]
        else:
            taught.append((prompt, answer))
    return taught


def right(prompts: Any, completions: Any, turns: Any, references: Any) -> list[float]:
    """Returns 1 where the last turn is the answer."""
    pairs = zip(turns, references, strict=True)
    return [float(said[-1] == answer) for said, answer in pairs]


def called(prompts: Any, completions: Any, turns: Any) -> list[float]:
    """Returns 1 where the tool was called."""
    return [float(len(said) > 1) for said in turns]


def make_env(pairs: Sequence[Pair], seed: int) -> kpg.environments.Conversation:
    """Returns conversations about products."""
    prompts, answers = map(list, zip(*pairs, strict=True))
    return kpg.environments.Conversation(
        prompts,
        tools=kpg.environments.Tools([mul], "[", "]", answer="{}", error="{}"),
        references=answers,
        rewards=[right, called],
        reward_weights=[1.0, 0.0],
        max_turns=2,
        max_turn_tokens=13,
        max_reply_tokens=4,
        max_prompt_tokens=6,
        group_size=GROUP_SIZE,
        num_envs=NUM_ENVS,
        seed=seed,
    )


def measure(trainer: kpg.trainers.REINFORCE, env: Any) -> Score:
    """Returns the means over new products."""
    found = trainer.evaluate(env, episodes=256, deterministic=False)
    return Score(found["reward/right"], found["reward/called"])


def train(seed: int, epochs: int, iterations: int) -> tuple[Score, Score]:
    """Gives a model its supervised start and then its rewards."""
    start, tokenizer = time.monotonic(), Signs()
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(),
        num_heads=4,
        hidden_dim=64,
        max_tokens=40,
        seed=seed,
    )
    policy = kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)
    known, new = products()
    kpg.models.pretrain(
        policy,
        lessons(known, seed),
        epochs=epochs,
        batch_size=64,
        learning_rate=3e-3,
        seed=seed,
        verbose=2,
    )
    trainer = kpg.trainers.REINFORCE(
        policy,
        seed=seed,
        gamma=1.0,
        returns="total",
        baseline="leave_one_out",
        normalize_advantages=False,
        max_grad_norm=1.0,
    )
    trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    env, unseen = make_env(known, seed), make_env(new, seed)
    before = measure(trainer, unseen)
    show(f"seed {seed}, taught", before, start)
    after = before
    for done in range(0, iterations, 20):
        count = min(20, iterations - done)
        trainer.fit(env, steps_per_epoch=count, verbose=0)
        after = measure(trainer, unseen)
        show(f"{done + count} iterations", after, start)
    return before, after


def show(name: str, score: Score, start: float) -> None:
    """Prints a line of the table."""
    seconds = time.monotonic() - start
    line = f"{name:<24}{score.right:>8.1%} right{score.called:>8.1%} called"
    print(f"{line}{seconds:>6.0f} s", flush=True)


def main(seeds: Sequence[int] = (0,), epochs: int = 8, iterations: int = 60) -> int:
    """Trains a model for each seed; returns the exit code."""
    scores = [train(seed, epochs, iterations) for seed in seeds]
    better = sum(after.right > before.right for before, after in scores)
    print(f"More products were right with {better} of {len(scores)} seeds.")
    return 0 if better == len(scores) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="0 alone")
    parser.add_argument("--iterations", type=int, default=60, help="of rewards")
    options = parser.parse_args()
    sys.exit(main(options.seeds, iterations=options.iterations))
