"""Measures what a step on texts needs, and computes what larger models would.

    python benchmarks/memory.py --sizes small medium large
    python benchmarks/memory.py --computed

Each size is GRPO in a process of its own: 32 texts of 32 + 64 tokens in groups of 8, a
reference, AdamW, 8 texts at a time. The peak is what the process held at most, without
what it held when TensorFlow and kpg were imported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXTS, PROMPT, NEW, GROUP = 32, 32, 64, 8
# Blocks, width, heads, vocabulary.
SIZES = {
    "small": (4, 256, 4, 8192),
    "medium": (6, 512, 8, 32000),
    "large": (12, 768, 12, 50257),
}
# Weights, blocks, width, inner, heads, vocabulary, and those that adapters of rank 8 of
# queries and values train.
MODELS = {
    "GPT-2 124M": (124_400_000, 12, 768, 3072, 12, 50257, 295_000),
    "SmolLM2 135M": (134_500_000, 30, 576, 1536, 9, 49152, 461_000),
    "Llama 3.2 1B": (1_235_800_000, 16, 2048, 8192, 32, 128256, 852_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=[])
    parser.add_argument("--computed", action="store_true")
    parser.add_argument("--at-a-time", type=int, default=8)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--one", choices=list(SIZES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.at_a_time, options.remat)))
    for name in options.sizes:
        print(row(name, options.at_a_time, options.remat), flush=True)
    if options.computed:
        print("\n".join(computed()))


def row(name: str, at_a_time: int, remat: bool) -> str:
    """Measures a size in a process of its own; returns a line of the table."""
    command = [sys.executable, __file__, "--one", name, "--at-a-time", str(at_a_time)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *(["--remat"] if remat else [])],
        env={**environment, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    layers, width, _, vocabulary = SIZES[name]
    cells = [
        f"{layers} × {width}, {vocabulary:,}",
        f"{found['weights'] / 1e6:.1f} M",
        f"{at_a_time}{', remat' if remat else ''}",
        *(f"{found[key] / 1e9:.2f}" for key in ("peak", "models", "update", "logits")),
    ]
    return f"| {' | '.join(cells)} |"


def measured(name: str, at_a_time: int, remat: bool) -> dict[str, float]:
    """Trains an iteration; returns bytes."""
    sys.path.insert(0, str(ROOT / "benchmarks" / "peers"))
    import keras
    from measuring import peak_megabytes

    import kpg
    from kpg.trainers.language.room import update_of

    before = peak_megabytes() * 1e6
    layers, width, heads, vocabulary = SIZES[name]
    room = PROMPT + NEW
    lm = kpg.text.gpt2(vocabulary, layers, heads, width, max_tokens=room, seed=0)
    policy = kpg.models.CausalLMPolicy(
        lm, kpg.text.ByteTokenizer(), value_head=False, remat=remat
    )
    task = kpg.environments.TextGeneration(
        [chr(97 + n) * PROMPT for n in range(TEXTS // GROUP)],
        rewards=[lambda prompts, completions: [len(set(t)) for t in completions]],
        max_prompt_tokens=PROMPT,
        max_new_tokens=NEW,
        group_size=GROUP,
        num_envs=TEXTS,
    )
    trainer = kpg.trainers.REINFORCE(
        policy,
        gamma=1.0,
        returns="total",
        baseline=kpg.advantages.GroupNormalized(),
        normalize_advantages=False,
        reference=kpg.trainers.KL(0.05, inside="loss"),
        micro_batch_size=None if at_a_time == TEXTS else at_a_time,
        seed=0,
    )
    trainer.compile(keras.optimizers.AdamW(1e-4), jit_compile=True)
    trainer.fit(task, steps_per_epoch=1, verbose=0)
    update = update_of(trainer.training_on(TEXTS, group_size=GROUP), PROMPT)
    if update is None:
        raise ValueError(f"GPT-2 tells its sizes. Received: {lm.backbone}")
    return {
        "weights": update.weights,
        "peak": peak_megabytes() * 1e6 - before,
        "models": 4.0 * 4 * update.weights,  # weights, reference, two moments
        "update": update.bytes,
        "logits": 4.0 * TEXTS * NEW * vocabulary,
    }


def computed() -> list[str]:
    """Returns lines of what models need on a GPU, by the same estimate."""
    from kpg.trainers.language.room import Update

    lines = []
    for name, (weights, layers, width, inner, heads, words, few) in MODELS.items():
        for kind in ("all weights", "adapters"):
            learned = weights if kind == "all weights" else few
            sizes = (learned, layers, width, inner, heads, words, TEXTS)
            # Weights, what is copied for the reference, two moments.
            held = 4 * (weights + 3 * learned)
            needs = [
                (held + Update(*sizes, n, 1024, 512, remat).bytes) / 1e9
                for n, remat in ((32, False), (4, False), (4, True))
            ]
            cells = [name, kind, f"{held / 1e9:.1f}", *(f"{n:.1f}" for n in needs)]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
