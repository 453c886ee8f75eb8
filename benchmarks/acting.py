"""Measures acting by hand: one observation of CartPole-v1, or a batch of them.

    python benchmarks/acting.py --peers .venv-peers

kpg and Stable-Baselines3, both with their networks of 64-64 units, take turns in
processes of their own. A cell is the median over the rounds of a call's microseconds of
CPU, without start-up and compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from installations import python_of
from page import table

HERE = Path(__file__).resolve().parent
SCRIPTS = {"kpg": "act_kpg.py", "Stable-Baselines3": "act_stable_baselines3.py"}


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    peer = python_of("stable_baselines3", options.peers)
    pythons: dict[str, Any] = {"kpg": sys.executable, "Stable-Baselines3": peer}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SCRIPTS}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parent)}
    for _ in range(options.rounds):
        for name, script in SCRIPTS.items():
            command = [pythons[name], HERE / "peers" / script]
            said = subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, **quiet},
            ).stdout
            found[name].append(json.loads(said.splitlines()[-1]))
    rows = []
    for case in found["kpg"][0]:
        own, other = (
            [turn[case] for turn in turns if case in turn] for turns in found.values()
        )
        medians = [
            statistics.median(turns) if turns else None for turns in (own, other)
        ]
        ratio = medians[1] / medians[0] if medians[1] else None
        rows.append([case, *(f"{m:.0f}" if m else "–" for m in medians)])
        rows[-1].append(f"{ratio:.2f}" if ratio else "–")
    print("\n".join(table("|".join(["a call of", *SCRIPTS, "ratio"]), rows)))


if __name__ == "__main__":
    main()
