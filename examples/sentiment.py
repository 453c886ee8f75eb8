"""PPO that stays near where it began: `python examples/sentiment.py`.

A tiny GPT-2 learns to write made-up reviews, and a lexicon then rewards it for kind
words. To keep it writing reviews, each nat of drift from where it began costs β, and β
adapts until the drift meets its target: the recipe of Ziegler et al., "Fine-tuning
language models from human preferences" (2019). Without it (`--free`) the same training
ends up repeating the kindest words. What counts are reviews of things that were never
rewarded. The exit code is 0 if, with each seed, they are kinder than after the
supervised start and than the reviews that it learned from, and the drift over the last
fifth of the training was within 20 % of its target. It needs `pip install "kpg[text]"`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

import kpg

PARTS = [
    ["The film", "The book", "This song", "My day", "Our trip", "The meal"],
    [" was", " is"],
    ["", " very", " quite", " not"],
    [" good", " great", " lovely", " fun", " long", " new", " short", " loud"]
    + [" bad", " awful", " dull", " sad"],
    ["", " and good", " and bad", " and long", " and loud"],
    [".", " to me.", " again."],
]
HELD_OUT = ["Our trip", "The meal"]
MAX_NEW_TOKENS = 9
NUM_ENVS = 64
TARGET = 0.15  # nats a token, about one nat a text
TOLERANCE = 0.2


class Figures(NamedTuple):
    """The outcome of a training.

    Attributes:
        reviews: Mean sentiment of the held-out reviews that there are, in [−1, 1].
        before: That of held-out texts after the supervised start.
        after: The same after the training.
        drift: Mean KL(π ‖ π_ref) over the last fifth, in nats a token.
        seconds: Of the training.
    """

    reviews: float
    before: float
    after: float
    drift: float
    seconds: float

    @property
    def kinder(self) -> bool:
        """Whether the texts are kinder than both."""
        return self.after > max(self.reviews, self.before)

    @property
    def settled(self) -> bool:
        """Whether the drift meets its target."""
        return abs(self.drift / TARGET - 1.0) <= TOLERANCE


def reviews() -> list[tuple[str, str]]:
    """Returns what a review is about, and how it goes on."""
    return [(about, rest) for about in PARTS[0] for rest in kpg.text.phrases(PARTS[1:])]


def make_policy(seed: int, epochs: int) -> kpg.models.CausalLMPolicy:
    """Makes a language model that writes kind and unkind reviews."""
    pairs = reviews()
    tokenizer = kpg.text.WordTokenizer.from_texts(
        [about + rest for about, rest in pairs]
    )
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(), hidden_dim=64, max_tokens=16, seed=seed
    )
    policy = kpg.models.CausalLMPolicy(lm, tokenizer)
    kpg.models.pretrain(
        policy, pairs, epochs=epochs, learning_rate=3e-3, seed=seed, verbose=0
    )
    return policy


def make_env(about: Sequence[str], seed: int) -> kpg.environments.TextGeneration:
    """Returns beginnings of reviews, completed 64 at a time."""
    return kpg.environments.TextGeneration(
        about,
        rewards=[kpg.rewards.Sentiment()],
        max_prompt_tokens=4,
        max_new_tokens=MAX_NEW_TOKENS,
        num_envs=NUM_ENVS,
        seed=seed,
    )


def make_trainer(
    policy: kpg.models.CausalLMPolicy, seed: int, free: bool
) -> kpg.trainers.PPO:
    """Makes a PPO with the settings of the paper's code, scaled to a tiny model."""
    drift: dict[str, Any] = {
        "reference_kl_coef": 0.25,
        "reference_kl_target": TARGET,
        "reference_kl_horizon": 1000,
    }
    settings: dict[str, Any] = {} if free else drift
    trainer = kpg.trainers.PPO(
        policy,
        policy.critic,
        seed=seed,
        num_steps=MAX_NEW_TOKENS,
        num_epochs=4,
        minibatch_size=NUM_ENVS * MAX_NEW_TOKENS,
        gamma=1.0,
        gae_lambda=0.95,
        vf_coef=0.1,
        **settings,
    )
    trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    return trainer


def train(
    policy: kpg.models.CausalLMPolicy, seed: int, iterations: int, free: bool = False
) -> Figures:
    """Trains the policy, and prints ten lines meanwhile."""
    rewarded = [about for about in PARTS[0] if about not in HELD_OUT]
    trainer, env = make_trainer(policy, seed, free), make_env(rewarded, seed)
    unseen = make_env(HELD_OUT, seed)
    known = [rest for about, rest in reviews() if about in HELD_OUT]
    there = kpg.rewards.evaluate([kpg.rewards.Sentiment()], None, known, known)
    options: dict[str, Any] = {"episodes": 4 * NUM_ENVS, "deterministic": False}
    before = trainer.evaluate(unseen, **options)["return"]
    start, table = time.monotonic(), Table(iterations)
    print("texts  sentiment  drift  price")
    trainer.fit(env, epochs=iterations, steps_per_epoch=1, callbacks=[table], verbose=0)
    seconds = time.monotonic() - start
    after = trainer.evaluate(unseen, **options)["return"]
    drift = np.mean(np.array(table.rows)[-max(iterations // 5, 1) :, 1])
    reviewed = there.means()["sentiment"]
    return Figures(reviewed, before, after, float(drift), seconds)


class Table(keras.callbacks.Callback):
    """Prints ten lines about a training while it runs."""

    def __init__(self, iterations: int) -> None:
        super().__init__()
        parts = np.array_split(np.arange(iterations), min(10, iterations))
        self.ends = {int(part[-1]): len(part) for part in parts}
        self.rows: list[tuple[float, float, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Prints the means since the last line."""
        found = logs or {}
        drift = found.get("reference_kl", np.nan)
        price = found.get("reference_kl_coef", 0.0)
        self.rows.append((found["return"], drift, price))
        if epoch in self.ends:
            means = np.mean(self.rows[-self.ends[epoch] :], axis=0)
            print(
                f"{NUM_ENVS * (epoch + 1):>5}  {means[0]:>9.2f}  {means[1]:>5.3f}  "
                f"{means[2]:>5.3f}",
                flush=True,
            )


def show(policy: kpg.models.CausalLMPolicy, seed: int) -> None:
    """Prints a few texts."""
    prompts = 2 * HELD_OUT
    texts = policy.generate(prompts, MAX_NEW_TOKENS, seed)
    print(*map("  {}{}".format, prompts, texts), sep="\n")


def run(seed: int, iterations: int, epochs: int, free: bool) -> bool:
    """Teaches reviews, then kindness; returns whether all went well."""
    policy = make_policy(seed, epochs)
    print("Before:")
    show(policy, seed)
    figures = train(policy, seed, iterations, free)
    print("After:")
    show(policy, seed)
    line = f"Seed {seed}: sentiment {figures.before:.2f} → {figures.after:.2f}"
    line += f" in {figures.seconds:.0f} s, that of reviews is {figures.reviews:.2f}"
    if not free:
        line += f"; drift {figures.drift:.3f} nats a token"
        line += f", {figures.drift / TARGET:.0%} of its target"
    print(f"{line}.", flush=True)
    return figures.kinder and (free or figures.settled)


def main(
    seeds: Sequence[int] = (0,),
    iterations: int = 200,
    epochs: int = 3,
    free: bool = False,
) -> int:
    """Trains a model for each seed; returns the exit code."""
    well = [run(seed, iterations, epochs, free) for seed in seeds]
    near = "" if free else ", and near where they began,"
    print(f"Texts are kinder{near} with {sum(well)} of {len(well)} seeds.")
    return 0 if all(well) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="0 alone")
    parser.add_argument("--iterations", type=int, default=200, help="of PPO")
    parser.add_argument("--free", action="store_true", help="let it drift")
    options = parser.parse_args()
    sys.exit(main(options.seeds, options.iterations, free=options.free))
