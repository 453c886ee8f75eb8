"""Dates in French, by rewards: `python examples/translation.py`.

A tiny BART reads a date in English, in one of several forms, and writes it in French:
"Saturday, the 1st of March 2025" becomes "samedi 1er mars 2025". Most of the
translations that it is taught leave out the day of the week, "le 1er mars 2025", and so
does it. It is then rewarded for how well its own translations agree with whole ones.
What counts are dates that it never saw. The exit code is 0 if, with each seed, their
ROUGE-L and the share of right ones are better than after the supervised start, and than
those of the English dates as they are. Everything works offline.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import keras_nlp
import numpy as np

import kpg

DAYS = ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"]
MONTHS = ["janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août"]
MONTHS += ["septembre", "octobre", "novembre", "décembre"]
YEARS = (1990, 2030)
TAUGHT, HELD_OUT = 2000, 400
WHOLE = 0.3  # of the translations that are taught
MAX_TOKENS = 12
GROUP_SIZE = 4
NUM_ENVS = 64

Pair = tuple[str, str]


class Scores(NamedTuple):
    """Means over the held-out dates, of the most likely translation of each.

    Attributes:
        rouge: ROUGE-L, in [0, 1].
        right: Share of those that are right to the letter.
    """

    rouge: float
    right: float


def dates() -> tuple[list[Pair], list[Pair]]:
    """Returns dates in English and in French: taught, held out."""
    first = datetime.date(YEARS[0], 1, 1)
    count = (datetime.date(YEARS[1], 1, 1) - first).days
    random = np.random.default_rng(0)
    chosen = random.permutation(count)[: TAUGHT + HELD_OUT].tolist()
    days = [first + datetime.timedelta(days=number) for number in chosen]
    forms = random.integers(4, size=len(days))
    pairs = [
        (in_english(*pair), in_french(pair[0]))
        for pair in zip(days, forms, strict=True)
    ]
    return pairs[:TAUGHT], pairs[TAUGHT:]


def in_english(date: datetime.date, form: int) -> str:
    """Returns a date in one of four forms."""
    ends = {1: "st", 2: "nd", 3: "rd"}
    teen = 10 < date.day < 20
    nth = f"{date.day}{'th' if teen else ends.get(date.day % 10, 'th')}"
    return [
        f"{date:%A}, {date:%B} {date.day}, {date.year}",
        f"{date:%A}, the {nth} of {date:%B} {date.year}",
        f"{date:%a} {date.day} {date:%b} {date.year}",
        f"{date:%B} {nth}, {date.year} ({date:%A})",
    ][form]


def in_french(date: datetime.date) -> str:
    """Returns a date as it is written in French."""
    number = "1er" if date.day == 1 else date.day
    return f"{DAYS[date.weekday()]} {number} {MONTHS[date.month - 1]} {date.year}"


def lessons(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Returns what is taught: translations most of which leave something out."""
    whole = np.random.default_rng(seed).random(len(pairs)) < WHOLE
    return [
        (english, french if all_of_it else f"le {french.partition(' ')[2]}")
        for (english, french), all_of_it in zip(pairs, whole, strict=True)
    ]


def right(
    prompts: Any, completions: Sequence[str], references: Sequence[str]
) -> list[float]:
    """Returns 1 for a translation that is right to the letter."""
    pairs = zip(completions, references, strict=True)
    return [float(text == reference) for text, reference in pairs]


REWARDS: list[kpg.rewards.RewardFunction] = [kpg.rewards.RougeL(), right]


def make_policy(pairs: Sequence[Pair], seed: int) -> kpg.models.Seq2SeqLMPolicy:
    """Makes a BART with random weights and its policy."""
    keras.utils.set_random_seed(seed)
    texts = [text for pair in pairs for text in pair]
    tokenizer = kpg.text.WordTokenizer.from_texts(texts)
    backbone = keras_nlp.models.BartBackbone(
        tokenizer.vocabulary_size(),
        num_layers=1,
        num_heads=4,
        hidden_dim=64,
        intermediate_dim=128,
        dropout=0.0,
        max_sequence_length=2 * MAX_TOKENS,
    )
    lm = keras_nlp.models.BartSeq2SeqLM(backbone=backbone)
    return kpg.models.Seq2SeqLMPolicy(lm, tokenizer, value_head=False)


def make_env(pairs: Sequence[Pair], seed: int) -> kpg.environments.TextGeneration:
    """Returns the task of translating dates."""
    english, french = map(list, zip(*pairs, strict=True))
    return kpg.environments.TextGeneration(
        english,
        french,
        rewards=REWARDS,
        max_prompt_tokens=MAX_TOKENS,
        max_new_tokens=MAX_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=NUM_ENVS,
        seed=seed,
    )


def measure(policy: kpg.models.Seq2SeqLMPolicy, pairs: Sequence[Pair]) -> Scores:
    """Translates dates and compares the result with the right one."""
    english = [pair[0] for pair in pairs]
    return compared(policy.generate(english, MAX_TOKENS, deterministic=True), pairs)


def compared(written: list[str], pairs: Sequence[Pair]) -> Scores:
    """Returns the mean scores of texts."""
    english, french = map(list, zip(*pairs, strict=True))
    columns = {"references": french}
    found = kpg.rewards.evaluate(REWARDS, None, english, written, columns).means()
    return Scores(found["rougeL"], found["right"])


def train(seed: int, epochs: int, iterations: int) -> bool:
    """Gives a model its supervised start and its rewards; returns whether they help."""
    start = time.monotonic()
    taught, new = dates()
    nothing = compared([english for english, _ in new], new)
    show(f"seed {seed}, as it is", nothing, start)
    given = lessons(taught, seed)
    policy = make_policy(given, seed)
    kpg.models.pretrain(
        policy, given, epochs=epochs, learning_rate=2e-3, seed=seed, verbose=2
    )
    supervised = measure(policy, new)
    show("supervised start", supervised, start)
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
    env, rewarded = make_env(taught, seed), supervised
    for done in range(0, iterations, 20):
        count = min(20, iterations - done)
        trainer.fit(env, steps_per_epoch=count, verbose=0)
        rewarded = measure(policy, new)
        show(f"{done + count} iterations", rewarded, start)
    others = (supervised, nothing)
    return all(
        new > old for other in others for new, old in zip(rewarded, other, strict=True)
    )


def show(name: str, scores: Scores, start: float) -> None:
    """Prints a line of the table."""
    line = f"{name:<20} ROUGE-L{scores.rouge:>8.4f}  right{scores.right:>8.1%}"
    print(f"{line}{time.monotonic() - start:>6.0f} s", flush=True)


def main(seeds: Sequence[int] = (0,), epochs: int = 6, iterations: int = 60) -> int:
    """Trains a model for each seed; returns the exit code."""
    better = [train(seed, epochs, iterations) for seed in seeds]
    print(f"Both scores rose with {sum(better)} of {len(better)} seeds.")
    return 0 if all(better) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="0 alone")
    parser.add_argument("--iterations", type=int, default=60, help="of rewards")
    options = parser.parse_args()
    sys.exit(main(options.seeds, iterations=options.iterations))
