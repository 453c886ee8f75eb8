"""Measures what a step on texts needs, and computes what other models would.

    python benchmarks/memory.py --size 12 768 12 50257    # blocks, width, heads, words
    python benchmarks/memory.py

A size is measured with the other settings of the work `grpo_gpt2`, as the most memory
that the process held. Without one, the table of what models need is printed, by the
estimate with which `fit` refuses what does not fit.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from compare import measure
from work import CONTENDERS, WORKS

# Weights, blocks, width, inner width, heads, words, and the weights of adapters of rank
# 8 of queries and values.
MODELS = {
    "GPT-2 124M": (124_400_000, 12, 768, 3072, 12, 50257, 295_000),
    "SmolLM2 135M": (134_500_000, 30, 576, 1536, 9, 49152, 461_000),
    "Llama 3.2 1B": (1_235_800_000, 16, 2048, 8192, 32, 128256, 852_000),
}
TEXTS, LENGTH, NEW = 32, 1024, 512


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, nargs=4)
    parser.add_argument("--at-a-time", type=int, default=4)
    options = parser.parse_args()
    if options.size:
        print(f"{peak(options.size, options.at_a_time):,.0f} MB")
        return
    print("\n".join(computed()))


def peak(size: list[int], at_a_time: int) -> float:
    """Returns the peak in MB of two steps of a model of a size."""
    names = ("num_layers", "hidden_dim", "num_heads", "vocabulary_size")
    changed: dict[str, int] = dict(zip(names, size, strict=True))
    changed |= {"micro_batch_size": at_a_time, "chunks": 2}
    settings = dataclasses.asdict(WORKS["grpo_gpt2"].settings) | changed
    run = {"settings": settings, "repetition": 0}
    return float(measure(CONTENDERS["kpg_texts"], run, Path(), 1)["peak_mb"])


def computed() -> list[str]:
    """Returns a line for each model, with all weights and with adapters."""
    from kpg.trainers.language.room import Update

    lines = []
    for name, (weights, *sizes, few) in MODELS.items():
        for kind, learned in (("all weights", weights), ("adapters", few)):
            # Weights, the reference's copy of those that learn, their two moments.
            held = 4 * (weights + 3 * learned)
            needs = [
                held + Update(learned, *sizes, TEXTS, n, LENGTH, NEW, remat).bytes
                for n, remat in ((TEXTS, False), (4, False), (4, True))
            ]
            cells = [name, kind, *(f"{need / 1e9:.1f}" for need in (held, *needs))]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
