"""Reports in a few words, by rewards: `python examples/summarisation.py`.

A tiny GPT-2 reads a short report and sums it up: what happened where, and who was hurt.
Two of the report's sentences say that; others are about something else. As in news,
most of the summaries that it is taught are just the first sentence, and so it mostly
copies that one. It is then rewarded by ROUGE-L against good summaries. What counts are
reports of events that it never saw. The exit code is 0 if, with each seed, their
ROUGE-L and the share of facts that are told are better than after the supervised start
and than those of the first sentences, and their ROUGE-L better than that of whole
reports, which tell everything. Everything works offline.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

import kpg

EVENTS = ["A fire", "A flood", "A theft", "A crash", "A strike", "A leak"]
PLACES = ["school", "station", "harbour", "museum", "market", "library", "bank", "zoo"]
TOWNS = ["Leeds", "York", "Bath", "Derby", "Ely", "Hull", "Oxford", "Ripon", "Wells"]
HURT = ["Nobody was", "One was", "Two were", "Three were", "Four were", "Many were"]
# What the other sentences name must not be taken for what happened.
OTHERS = [
    "The mayor of {town} is on holiday.",
    "It was a mild day in {town}.",
    "Buses to {town} were late.",
    "The {place} sells tea and cakes.",
    "Children from {town} like the {place}.",
    "{hurt} there by boat.",
    "{hurt} late for lunch.",
]
TAUGHT, HELD_OUT = 2000, 400
GOOD = 0.3  # of the summaries that are taught
MAX_PROMPT_TOKENS, MAX_NEW_TOKENS = 48, 14
GROUP_SIZE = 8
NUM_ENVS = 64


class Report(NamedTuple):
    """A report, its summary, and the four facts of the summary."""

    text: str
    summary: str
    facts: tuple[str, ...]

    @property
    def lead(self) -> str:
        """The first sentence."""
        return self.text.partition(".")[0] + "."


class Scores(NamedTuple):
    """Means over held-out reports, of the most likely summary of each.

    Attributes:
        rouge: ROUGE-L, in [0, 1].
        facts: Share of the facts that are told, in [0, 1].
    """

    rouge: float
    facts: float


def reports() -> tuple[list[Report], list[Report]]:
    """Returns reports of different events: taught, held out."""
    random = np.random.default_rng(0)
    known = list(itertools.product(EVENTS, PLACES, TOWNS, HURT))
    chosen = random.permutation(len(known))[: TAUGHT + HELD_OUT]
    found = [report(known[number], random) for number in chosen]
    return found[:TAUGHT], found[TAUGHT:]


def report(known: tuple[str, ...], random: np.random.Generator) -> Report:
    """Writes a report: two sentences that matter, and two or three that do not."""
    event, place, town, hurt = known
    told = [f"{event} hit the {place} in {town}.", f"{hurt} hurt."]
    number, names = random.integers(2, 4), (PLACES, TOWNS, HURT)
    for form in random.choice(OTHERS, number, replace=False):
        other, elsewhere, count = map(random.choice, names)
        sentence = form.format(place=other, town=elsewhere, hurt=count)
        told.insert(random.integers(len(told) + 1), sentence)
    what = event.split()[1]
    count = hurt.split()[0].lower()
    summary = f" {what} at the {place} in {town}, {count} hurt"
    return Report(" ".join(told), summary, (what, place, town, count))


def lessons(given: Sequence[Report], seed: int) -> list[tuple[str, str]]:
    """Returns what is taught: summaries most of which are the first sentence."""
    good = np.random.default_rng(seed).random(len(given)) < GOOD
    return [
        (one.text, one.summary if is_good else f" {one.lead}")
        for one, is_good in zip(given, good, strict=True)
    ]


def facts(
    prompts: Any, completions: Sequence[str], wanted: Sequence[Sequence[str]]
) -> list[float]:
    """Returns the share of the facts that a summary tells."""
    words = [set(re.findall(r"\w+", text.lower())) for text in completions]
    return [
        sum(fact.lower() in told for fact in true) / len(true)
        for told, true in zip(words, wanted, strict=True)
    ]


REWARDS: list[kpg.rewards.RewardFunction] = [kpg.rewards.RougeL(), facts]


def make_policy(given: Sequence[Report], seed: int) -> kpg.models.CausalLMPolicy:
    """Makes a GPT-2 with random weights and its policy."""
    texts = [text for one in given for text in (one.text, one.summary, f" {one.lead}")]
    tokenizer = kpg.text.WordTokenizer.from_texts(texts)
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(),
        num_heads=4,
        hidden_dim=64,
        max_tokens=MAX_PROMPT_TOKENS + MAX_NEW_TOKENS,
        seed=seed,
    )
    return kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)


def make_env(given: Sequence[Report], seed: int) -> kpg.environments.TextGeneration:
    """Returns the task of summing up reports; ROUGE-L alone is rewarded."""
    return kpg.environments.TextGeneration(
        [one.text for one in given],
        [one.summary for one in given],
        rewards=REWARDS,
        reward_weights=[1.0, 0.0],
        columns={"wanted": [one.facts for one in given]},
        max_prompt_tokens=MAX_PROMPT_TOKENS,
        max_new_tokens=MAX_NEW_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=NUM_ENVS,
        seed=seed,
    )


def measure(policy: kpg.models.CausalLMPolicy, given: Sequence[Report]) -> Scores:
    """Sums up reports and compares the result with good summaries."""
    texts = [one.text for one in given]
    written = policy.generate(texts, MAX_NEW_TOKENS, deterministic=True)
    return compared(written, given)


def compared(written: list[str], given: Sequence[Report]) -> Scores:
    """Returns the mean scores of summaries."""
    columns: dict[str, list[Any]] = {
        "references": [one.summary for one in given],
        "wanted": [one.facts for one in given],
    }
    prompts = [one.text for one in given]
    found = kpg.rewards.evaluate(REWARDS, None, prompts, written, columns).means()
    return Scores(found["rougeL"], found["facts"])


def train(seed: int, epochs: int, iterations: int) -> bool:
    """Gives a model its supervised start and its rewards; returns whether they help."""
    start = time.monotonic()
    taught, new = reports()
    whole = compared([one.text for one in new], new)
    lead = compared([one.lead for one in new], new)
    show(f"seed {seed}, whole report", whole, start)
    show("first sentence", lead, start)
    policy = make_policy(taught, seed)
    kpg.models.pretrain(
        policy,
        lessons(taught, seed),
        epochs=epochs,
        batch_size=32,
        learning_rate=2e-3,
        seed=seed,
        verbose=2,
    )
    supervised = measure(policy, new)
    show("supervised start", supervised, start)
    trainer = kpg.trainers.recipes.grpo(policy, seed=seed, max_grad_norm=1.0)
    trainer.compile(keras.optimizers.Adam(5e-4), jit_compile=False)
    env, rewarded = make_env(taught, seed), supervised
    for done in range(0, iterations, 20):
        count = min(20, iterations - done)
        trainer.fit(env, steps_per_epoch=count, verbose=0)
        rewarded = measure(policy, new)
        show(f"{done + count} iterations", rewarded, start)
    others = (supervised, lead, Scores(whole.rouge, 0.0))
    return all(
        new > old for other in others for new, old in zip(rewarded, other, strict=True)
    )


def show(name: str, scores: Scores, start: float) -> None:
    """Prints a line of the table."""
    line = f"{name:<24} ROUGE-L{scores.rouge:>8.4f}  facts{scores.facts:>8.1%}"
    print(f"{line}{time.monotonic() - start:>6.0f} s", flush=True)


def main(seeds: Sequence[int] = (0,), epochs: int = 12, iterations: int = 60) -> int:
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
