"""How speed, memory and compiling grow with the size of the work; one process each.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --dtype mixed_bfloat16 --page none

PPO on the in-graph CartPole-v1, four epochs of eight minibatches. From 64 environments,
64 steps and two hidden layers of 64 units one number at a time goes through its values.
The page `docs/scaling.md` and its picture are written anew.
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
IMAGE = HERE.parent / "docs" / "images" / "scaling.png"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
BASE = {"num_envs": 64, "num_steps": 64, "width": 64}
VALUES = {
    "num_envs": [4**exponent for exponent in range(9)],
    "width": [2**exponent for exponent in range(5, 11)],
    "num_steps": [8, 32, 128, 512],
}
# What a timed call should at least take, so that a clock's tick does not count.
SECONDS, CALLS = 1.0, 3

Measured = dict[str, Any]


def main() -> None:
    """Runs all sizes, or one of them in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", default="float32", help="Keras's dtype policy")
    parser.add_argument("--page", default=str(PAGE), help='"none" only prints')
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(json.loads(options.one), options.dtype)))
        return
    found: dict[str, list[Measured]] = {name: [] for name in VALUES}
    for name, values in VALUES.items():
        for value in values:
            found[name].append(_in_process({**BASE, name: value}, options.dtype))
            print(name, found[name][-1], flush=True)
    if options.page != "none":
        write(Path(options.page), found)


def _in_process(size: dict[str, int], dtype: str) -> Measured:
    command = [sys.executable, __file__, "--one", json.dumps(size), "--dtype", dtype]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    values: Measured = json.loads(output.stdout.splitlines()[-1])
    return values


def measured(size: dict[str, int], dtype: str) -> Measured:
    """Trains with one size; returns it with steps/s, seconds and megabytes."""
    import keras
    import tensorflow as tf

    import kpg

    sys.path.insert(0, str(HERE / "peers"))
    from measuring import peak_megabytes

    keras.config.set_dtype_policy(dtype)
    env: Any = kpg.make("CartPole-v1", num_envs=size["num_envs"], seed=0)
    layers: dict[str, Any] = {"hidden_units": (size["width"],) * 2, "seed": 0}
    policy = kpg.models.Policy(env.observation_space, env.action_space, **layers)
    critic = kpg.models.Critic(env.observation_space, **layers)
    rows = size["num_envs"] * size["num_steps"]
    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=0,
        num_steps=size["num_steps"],
        num_epochs=4,
        minibatch_size=rows // 8,
    )
    trainer.compile(steps_per_execution=1_000_000, jit_compile=True)

    def seconds(iterations: int) -> float:
        start = time.perf_counter()
        trainer.fit(env, steps_per_epoch=iterations, verbose=0)
        return time.perf_counter() - start

    first, once = seconds(1), seconds(1)
    iterations = max(1, int(SECONDS / once))
    call = statistics.median(seconds(iterations) for _ in range(CALLS))
    devices = tf.config.list_physical_devices("GPU")
    on_device = {}
    if devices:
        peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
        on_device = {"gpu_mb": peak / 1e6}
    return {
        **size,
        "steps_per_second": rows * iterations / call,
        "compile_seconds": first - once,
        "peak_mb": peak_megabytes(),
        **on_device,
    }


def write(page: Path, found: dict[str, list[Measured]]) -> None:
    """Puts the tables between the markers of a page, and draws the picture."""
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    tables = "\n\n".join(table(name, rows) for name, rows in found.items())
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}", "utf-8")
    draw(IMAGE, found)


def table(name: str, rows: list[Measured]) -> str:
    """Returns a table in Markdown."""
    lines = [
        f"| {name} | steps/s | compiling, s | peak memory, MB |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        speed, seconds = row["steps_per_second"], row["compile_seconds"]
        lines.append(
            f"| {row[name]:,} | {speed:,.0f} | {seconds:.1f} | {row['peak_mb']:,.0f} |"
        )
    return "\n".join(lines)


def draw(path: Path, found: dict[str, list[Measured]]) -> None:
    """Draws speed and memory over each size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(found), squeeze=False, sharey="row")
    measures = {"steps_per_second": "steps/s", "peak_mb": "peak memory, MB"}
    for column, (name, rows) in enumerate(found.items()):
        for line, (key, title) in enumerate(measures.items()):
            axes = grid[line][column]
            axes.loglog([row[name] for row in rows], [row[key] for row in rows], "o-")
            axes.set_xlabel(name)
            axes.set_ylabel(title if column == 0 else "")
            axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=80)


if __name__ == "__main__":
    main()
