"""A policy steers a frozen language model: `python examples/controlled_generation.py`.

A tiny GPT-2 over bytes, the executor, learns to write from Python's own help texts and
is then frozen. Before each byte, a policy of a few thousand weights gives it an
instruction: continue, stop, sharpen, or boost one of two classes of words. The reward
counts the distinct words of one class in a text; the policy is not told which. The exit
code is 0 if the reward rose in every training.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import keras
import numpy as np

import kpg

WORDS = {
    "data": [" value", " object", " list", " name", " type"],
    "code": [" class", " method", " function", " module", " import"],
}
WANTED = "code"
PROMPTS = ["The", "If a", "An", "This", "When the", "It is"]
MAX_NEW_TOKENS = 32
INTERACTIONS = ("one_way", "two_way")


class Row(NamedTuple):
    """The outcome of one training; returns are means over new texts.

    Attributes:
        interaction: "one_way" or "two_way".
        seed: Of the models, the executor's samples and the training.
        before: Return of the new policy.
        after: Return of the trained one.
        seconds: Of the training.
        text: The longest of the texts measured last, after its prompt.
    """

    interaction: str
    seed: int
    before: float
    after: float
    seconds: float
    text: str


def wanted_words(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Counts the distinct words of the wanted class in each completion."""
    return [float(sum(word in text for word in WORDS[WANTED])) for text in completions]


def make_executor(epochs: int, characters: int) -> kpg.models.CausalLMPolicy:
    """Trains a byte-level GPT-2 on help texts, by an ordinary `fit`."""
    tokenizer = kpg.text.ByteTokenizer()
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(), num_heads=4, hidden_dim=64, max_tokens=64, seed=0
    )
    corpus = "\n".join(topics[name] for name in sorted(topics))[:characters]
    text = " ".join(corpus.split())
    losses = kpg.models.pretrain(
        lm, [text], tokenizer, epochs=epochs, learning_rate=3e-3, verbose=2
    ).history["loss"]
    print(f"The executor's loss: {losses[0]:.2f} → {losses[-1]:.2f} nats a byte.")
    return kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)


def make_env(
    executor: kpg.models.CausalLMPolicy, interaction: str, seed: int
) -> kpg.environments.ControlledGeneration:
    """Returns the texts that a policy steers, 32 at a time."""
    return kpg.environments.ControlledGeneration(
        executor,
        PROMPTS,
        rewards=[wanted_words],
        control="instructions",
        interaction=interaction,
        word_classes=WORDS,
        max_new_tokens=MAX_NEW_TOKENS,
        seed=seed,
        jit_compile=False,  # compiling costs more than so small an executor gains
    )


def train(
    executor: kpg.models.CausalLMPolicy,
    interaction: str,
    seed: int,
    iterations: int,
    episodes: int,
) -> Row:
    """Trains a policy with PPO and measures it before and after."""
    env = make_env(executor, interaction, seed)
    spaces = (env.single_observation_space, env.single_action_space)
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(*spaces, hidden_units=(32,), seed=seed),
        kpg.models.Critic(spaces[0], hidden_units=(32,), seed=seed + 1),
        seed=seed,
        num_steps=MAX_NEW_TOKENS,
        num_epochs=4,
        minibatch_size=256,
        gamma=1.0,
        ent_coef=0.01,
        normalize_observations=True,
    )
    trainer.compile(keras.optimizers.Adam(5e-3), jit_compile=False)
    unseen = make_env(executor, interaction, seed + 1000)
    options: dict[str, Any] = {"episodes": episodes, "deterministic": False}
    before = trainer.evaluate(unseen, **options)["return"]
    start = time.monotonic()
    epochs = min(4, iterations)
    progress = keras.callbacks.LambdaCallback(on_epoch_end=show_progress)
    trainer.fit(
        env,
        epochs=epochs,
        steps_per_epoch=iterations // epochs,
        callbacks=[progress],
        verbose=0,
    )
    seconds = time.monotonic() - start
    after = trainer.evaluate(unseen, **options)["return"]
    last = unseen.completed
    written = zip(last.prompts, last.completions, strict=True) if last else ()
    text = max(("|".join(pair) for pair in written), key=len)
    return Row(interaction, seed, before, after, seconds, text)


def show_progress(epoch: int, logs: dict[str, Any]) -> None:
    """Prints a line about an epoch of a training."""
    print(f"  epoch {epoch + 1}: return {logs['return']:.2f}", flush=True)


def main(
    seeds: int = 1,
    iterations: int = 60,
    epochs: int = 6,
    characters: int = 120_000,
    episodes: int = 256,
    interactions: Sequence[str] = INTERACTIONS,
) -> int:
    """Trains one-way and two-way policies; returns the exit code."""
    executor = make_executor(epochs, characters)
    weights = [weight.numpy().tobytes() for weight in executor.trunk.weights]
    rows = []
    print("interaction  seed  before  after  seconds  a text")
    for interaction in interactions:
        for seed in range(seeds):
            row = train(executor, interaction, seed, iterations, episodes)
            rows.append(row)
            print(
                f"{row.interaction:<11}  {row.seed:>4}  {row.before:>6.2f}  "
                f"{row.after:>5.2f}  {row.seconds:>7.0f}  {row.text!r}"
            )
    for interaction in interactions:
        after = [row.after for row in rows if row.interaction == interaction]
        print(f"{interaction}: {np.mean(after):.2f} ± {np.std(after):.2f}")
    same = [weight.numpy().tobytes() for weight in executor.trunk.weights] == weights
    rose = sum(row.after > row.before for row in rows)
    print(f"The reward rose in {rose} of {len(rows)} trainings.")
    print(f"The executor's weights are {'as they were' if same else 'NOT the same'}.")
    return 0 if same and rose == len(rows) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind")
    parser.add_argument("--iterations", type=int, default=60, help="of PPO")
    arguments = parser.parse_args()
    sys.exit(main(arguments.seeds, arguments.iterations))
