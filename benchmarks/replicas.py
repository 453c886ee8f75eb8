"""What several replicas and workers cost on one machine, beside one replica with XLA.

    python benchmarks/replicas.py
    python benchmarks/replicas.py --page none

PPO on the in-graph CartPole-v1, as in `benchmarks/scaling.py`, with the same rows in
all: 64 environments, 64 steps, four epochs of eight minibatches. Each line runs in
processes of its own, in turn, and the whole round is repeated. The table in
`docs/scaling.md` is written anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "scaling.md"
BEGIN, END = "<!-- replicas: begin -->", "<!-- replicas: end -->"
SETUPS = ("1 replica, XLA", "1 replica", "2 replicas, mirrored", "2 workers")
WIDTHS = (64, 512)
ENVS, STEPS, EPOCHS, MINIBATCHES = 64, 64, 4, 8
SECONDS, ROUNDS = 2.0, 3


def main() -> None:
    """Measures all lines, or one of them in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", default=str(PAGE), help='"none" only prints')
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        setup, width = options.one
        print(json.dumps(measured(setup, int(width))), flush=True)
        return
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for width in WIDTHS:
            for setup in SETUPS:
                rate = _in_processes(setup, width)
                found.setdefault((setup, width), []).append(rate)
                print(setup, width, f"{rate:.1f} updates/s", flush=True)
    medians = {key: statistics.median(rates) for key, rates in found.items()}
    print(table(medians))
    if options.page != "none":
        page = Path(options.page)
        before, rest = page.read_text("utf-8").split(BEGIN)
        text = f"{before}{BEGIN}\n\n{table(medians)}\n\n{END}{rest.split(END)[1]}"
        page.write_text(text, "utf-8")


def _in_processes(setup: str, width: int) -> float:
    command = [sys.executable]
    if setup == "2 workers":
        command += ["-m", "kpg", "launch", "--workers", "2"]
    command += [__file__, "--one", setup, str(width)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(output.stdout.splitlines()[-1].rpartition(" ")[2])


def measured(setup: str, width: int) -> float:
    """Returns updates, which are gradient steps on all replicas' rows, per second."""
    import tensorflow as tf

    import kpg

    strategy: Any = tf.distribute.get_strategy()
    if setup == "2 workers":
        strategy = kpg.trainers.make_strategy("multiworker")
    elif "mirrored" in setup:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    env: Any = kpg.make("CartPole-v1", num_envs=ENVS, seed=0)
    layers: dict[str, Any] = {"hidden_units": (width,) * 2, "seed": 0}
    settings = {"num_epochs": EPOCHS, "minibatch_size": ENVS * STEPS // MINIBATCHES}
    with strategy.scope():
        policy = kpg.models.Policy(env.observation_space, env.action_space, **layers)
        critic = kpg.models.Critic(env.observation_space, **layers)
        trainer = kpg.trainers.PPO(policy, critic, seed=0, num_steps=STEPS, **settings)
        trainer.compile(steps_per_execution=4, jit_compile=setup.endswith("XLA"))
    trainer.fit(env, steps_per_epoch=8, verbose=0)  # compiles
    # Workers have clocks of their own, and must do alike.
    seconds = 4.0 if setup == "2 workers" else trainer.train_seconds
    steps = 4 * max(1, round(SECONDS * 8 / seconds / 4))
    started = time.perf_counter()
    trainer.fit(env, steps_per_epoch=steps, verbose=0)
    return steps * EPOCHS * MINIBATCHES / (time.perf_counter() - started)


def table(rates: dict[tuple[str, int], float]) -> str:
    """Returns a table in Markdown."""
    lines = [
        "| | " + " | ".join(f"width {width}, updates/s" for width in WIDTHS) + " |"
    ]
    lines.append("| --- | " + " | ".join("---" for _ in WIDTHS) + " |")
    for setup in SETUPS:
        cells = [
            f"{rates[setup, w]:,.0f} ({rates[setup, w] / rates[SETUPS[0], w]:.2f} ×)"
            for w in WIDTHS
        ]
        lines.append(f"| {setup} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
