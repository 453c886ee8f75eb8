"""Counts the kernels of kpg's programs on a GPU and its peers'; writes the page.

    make benchmark-gpu
    make benchmark-gpu RUN="--only cart_pole_4096"
    make benchmark-gpu RUN="--device python3"

No GPU is needed: programs are compiled for an H100 by its description. Where there is
one, `--device` names a Python whose JAX uses it, and the programs are timed there, too.
Counts are kept in counts.jsonl, timings in figures.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

# These stand in the folder above, which must be on the path first.
from installations import python_of  # noqa: E402
from page import PAGE, put_between, table  # noqa: E402
from works import BUILD, WORKS, Control  # noqa: E402

COUNTS, FIGURES = HERE / "counts.jsonl", HERE / "figures.jsonl"
BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
# The version before its programs were made for GPUs; it is not counted again.
BEFORE, AFTER = "kpg before", "kpg"
CONTENDERS = (BEFORE, AFTER, "rejax", "compact PPO")
COUNTED = (
    "cart_pole_4096",
    "mountain_car_4096",
    "cart_pole_4096_wide",
    "cart_pole_65536",
    "text_write",
    "text_update",
)

Line = dict[str, Any]


def main() -> None:
    """Does what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--only", action="append", choices=list(WORKS))
    parser.add_argument("--out", type=Path, default=BUILD, help="folder of programs")
    parser.add_argument("--label", default=AFTER, help="what kpg is called")
    parser.add_argument("--device", help="a Python whose JAX has a GPU")
    parser.add_argument("--table", action="store_true", help="only write the page")
    options = parser.parse_args()
    if not options.table:
        names = options.only or COUNTED
        python = python_of("gpu", options.peers)
        export(names, options.out, python)
        keep(count(names, options, python))
        if options.device:
            time(names, options)
    put_between(PAGE, BEGIN, END, lines(read(COUNTS), read(FIGURES)))


def export(names: Sequence[str], out: Path, python: Path) -> None:
    """Writes kpg's programs, and packs them for JAX."""
    only = [part for name in names for part in ("--only", name)]
    command = [sys.executable, str(HERE / "export.py"), "--out", str(out), *only]
    path = {"PYTHONPATH": str(ROOT), "KPG_CACHE_DIR": ""}
    subprocess.run(command, check=True, env={**os.environ, **path})
    subprocess.run([python, HERE / "pack.py", "--out", out], check=True)


def count(
    names: Sequence[str], options: argparse.Namespace, python: Path
) -> list[Line]:
    """Returns what `count.py` prints, and shows it."""
    command = [str(python), str(HERE / "count.py")]
    command += ["--program", f"{options.label}={options.out}"]
    command += [part for name in names for part in ("--only", name)]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout or ():
            print(text, end="", flush=True)
            if text.startswith("{"):
                found.append(json.loads(text))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return found


def time(names: Sequence[str], options: argparse.Namespace) -> None:
    """Times the programs where JAX has a GPU; the figures are added to the file."""
    command = [options.device, HERE / "run.py", "--out", FIGURES]
    command += ["--program", f"{options.label}={options.out}"]
    command += [part for name in names for part in ("--only", name)]
    subprocess.run(command, check=True)


def read(path: Path) -> list[Line]:
    """Returns the lines of a file, if there is one."""
    text = path.read_text("utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines()]


def keep(found: Sequence[Line]) -> None:
    """Puts counts in the place of earlier ones."""
    known = {(line["work"], line["who"]): line for line in [*read(COUNTS), *found]}
    order = list(WORKS)
    inside = sorted(known.values(), key=lambda line: order.index(line["work"]))
    COUNTS.write_text("".join(json.dumps(line) + "\n" for line in inside), "utf-8")


def lines(counts: Sequence[Line], figures: Sequence[Line]) -> list[str]:
    """Returns the tables in Markdown."""
    found = ["### What an H100 would do", "", *count_table(counts), ""]
    measured = [line for line in figures if "steps_per_second" in line]
    if not measured:
        return [*found, "No GPU was at hand to run these programs on."]
    for card in dict.fromkeys(line["device"] for line in measured):
        own = [line for line in measured if line["device"] == card]
        found += [f"### Measured on {card}", "", *figure_table(own), "", told(own), ""]
    return found[:-1]


def count_table(counts: Sequence[Line]) -> list[str]:
    """Returns the lines of the table of counts; the columns are those who work."""
    found = {(line["work"], line["who"]): line for line in counts}
    names = [name for name in WORKS if any(name == work for work, _ in found)]
    cells = []
    for name in names:
        row = [WORKS[name].title]
        for who in CONTENDERS:
            line = found.get((name, who))
            row.append("" if line is None else _counts(line))
        cells.append(row)
    return table("|".join(["an iteration of", *CONTENDERS]), cells)


def _counts(line: Line) -> str:
    return f"{line['kernels']:,} ({line['waits']}; {line['temporary_mb']:,.0f} MB)"


def figure_table(figures: Sequence[Line]) -> list[str]:
    """Returns the lines of the table of speeds; a later figure replaces an earlier."""
    found = {(line["work"], line["who"]): line for line in figures}
    those = [who for who in CONTENDERS if any(who == one for _, one in found)]
    cells = []
    for name in WORKS:
        row = [WORKS[name].title]
        for who in those:
            line = found.get((name, who))
            row.append("" if line is None else _speed(line))
        ours = found.get((name, AFTER)) or found.get((name, BEFORE))
        theirs = found.get((name, "rejax"))
        if ours and theirs and isinstance(WORKS[name], Control):
            ratio = ours["steps_per_second"] / theirs["steps_per_second"]
            row.append(f"{ratio:.2f}")
        else:
            row.append("")
        if any(row[1:]):
            cells.append(row)
    return table("|".join(["work", *those, "kpg : rejax"]), cells)


def _speed(line: Line) -> str:
    low, high = line["low"], line["high"]
    return f"{_short(line['steps_per_second'])} ({_short(low)}–{_short(high)})"


def _short(number: float) -> str:
    if number >= 1e6:
        return f"{number / 1e6:.1f} M"
    return f"{number / 1e3:.1f} k" if number >= 1e3 else f"{number:.0f}"


def told(figures: Sequence[Line]) -> str:
    """Returns a sentence with the versions."""
    line = figures[-1]
    versions = {k: v for k, v in line["versions"].items() if k != "jaxlib"}
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Steps, or tokens, per second: the median of {line['repetitions']} turns of "
        f"about half a second each, the slowest and the fastest. With {names}."
    )


if __name__ == "__main__":
    main()
