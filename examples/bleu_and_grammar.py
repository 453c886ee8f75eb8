"""REINFORCE on BLEU + λ · Grammar, corrected: `python examples/bleu_and_grammar.py`.

An article on policy gradients for language models samples five texts per prompt from
GPT-2, computes a reward for each, and then calls `backward()` on the cross-entropy of
the texts: the reward is never used, and the model learns to repeat whatever it wrote.
Here the loss is −A · log π of the sampled tokens. The advantage A is the reward minus
the mean reward of the other four texts of the same prompt. So no critic is needed, and
good and bad texts push in opposite directions. The GPT-2 is a tiny one that learns from
Python's own help texts. The exit code is 0 if the reward rose. It needs
`pip install "kpg[text]"`.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pydoc_data.topics import topics
from typing import NamedTuple

import keras
import numpy as np

import kpg

GROUP_SIZE = 5  # texts of a prompt, as in the article
NUM_ENVS = 60
MAX_NEW_TOKENS = 20
HELD_OUT = 100
PROMPT_WORDS = 4


class Sentences(NamedTuple):
    """Beginnings of sentences and how they go on.

    Attributes:
        prompts: The first four words of each.
        references: What follows.
    """

    prompts: list[str]
    references: list[str]


def sentences() -> Sentences:
    """Extracts the plain sentences of 8 to 20 words from the help texts."""
    text = " ".join("\n".join(topics[name] for name in sorted(topics)).split())
    found = re.findall(r"(?<=[.:!] )[A-Z][\w,;'\"* ]{20,150}\.(?= )", text)
    chosen = sorted({s for s in found if 8 <= len(s.split()) <= 20})
    starts = [" ".join(s.split()[:PROMPT_WORDS]) for s in chosen]
    return Sentences(starts, [s[len(p) :] for s, p in zip(chosen, starts, strict=True)])


def make_policy(given: Sentences, seed: int, epochs: int) -> kpg.models.CausalLMPolicy:
    """Makes a GPT-2 that has read the sentences."""
    tokenizer = kpg.text.WordTokenizer.from_texts(
        [*given.prompts, *given.references], 1024
    )
    lm = kpg.text.gpt2(
        tokenizer.vocabulary_size(), num_heads=4, hidden_dim=64, seed=seed
    )
    policy = kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)
    pairs = list(zip(*given, strict=True))
    losses = kpg.models.pretrain(
        policy, pairs, epochs=epochs, learning_rate=3e-3, seed=seed, verbose=0
    ).history["loss"]
    print(f"Supervised start: {losses[0]:.2f} → {losses[-1]:.2f} nats a token.")
    return policy


def make_env(
    given: Sentences, coefficient: float, seed: int
) -> kpg.environments.TextGeneration:
    """Returns the beginnings, completed five times each, and the rewards.

    A completion continues a sentence, so it need not begin with a capital.
    """
    grammar = kpg.rewards.Grammar(
        [rule for rule in kpg.rewards.Grammar().rules if rule != "capital"]
    )
    return kpg.environments.TextGeneration(
        given.prompts,
        given.references,
        rewards=[kpg.rewards.Bleu(), grammar],
        reward_weights=[1.0, coefficient],
        max_prompt_tokens=64,
        max_new_tokens=MAX_NEW_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=NUM_ENVS,
        seed=seed,
    )


def make_trainer(
    policy: kpg.models.CausalLMPolicy, seed: int
) -> kpg.trainers.REINFORCE:
    """Makes a REINFORCE with the group as baseline and a low price on drift."""
    trainer = kpg.trainers.REINFORCE(
        policy,
        seed=seed,
        num_steps=MAX_NEW_TOKENS,
        gamma=1.0,
        returns="total",
        baseline="leave_one_out",
        normalize_advantages=False,
        reference_kl_coef=0.01,
        max_grad_norm=1.0,
    )
    trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    return trainer


def measure(
    trainer: kpg.trainers.REINFORCE, env: kpg.environments.TextGeneration, name: str
) -> float:
    """Samples a text per prompt, prints the mean rewards and returns their sum."""
    found = trainer.evaluate(env, len(env.prompts), deterministic=False)
    names = ("reward/bleu", "reward/grammar", "return")
    figures = [float(found[key]) for key in names]
    print(f"{name:<14}", *(f"{figure:>7.3f}" for figure in figures))
    return figures[-1]


def main(
    seed: int = 0, iterations: int = 100, epochs: int = 10, coefficient: float = 0.5
) -> int:
    """Learns from texts, then from rewards; returns the exit code."""
    given = sentences()
    order = np.random.default_rng(seed).permutation(len(given.prompts))
    known, new = (
        Sentences(*([part[i] for i in chosen] for part in given))
        for chosen in (order[HELD_OUT:], order[:HELD_OUT])
    )
    policy = make_policy(known, seed, epochs)
    trainer, env = make_trainer(policy, seed), make_env(known, coefficient, seed)
    unseen = make_env(new, coefficient, seed)
    print(f"{'':<14}", *(f"{name:>7}" for name in ("bleu", "grammar", "sum")))
    before = measure(trainer, env, "known, before")
    measure(trainer, unseen, "new, before")
    start = time.monotonic()
    trainer.fit(env, steps_per_epoch=iterations, verbose=0)
    seconds = time.monotonic() - start
    after = measure(trainer, env, "known, after")
    measure(trainer, unseen, "new, after")
    texts = policy.generate(new.prompts[:4], MAX_NEW_TOKENS, seed)
    print(*map("  {}|{}".format, new.prompts, texts), sep="\n")
    print(f"{iterations} iterations in {seconds:.0f} s.")
    return 0 if after > before else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    parser.add_argument("--iterations", type=int, default=100, help="of REINFORCE")
    parser.add_argument("--coefficient", type=float, default=0.5, help="λ")
    options = parser.parse_args()
    sys.exit(main(options.seed, options.iterations, coefficient=options.coefficient))
