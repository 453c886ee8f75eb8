"""Trains and measures presets over many seeds, and writes docs/results.md.

    python benchmarks/results.py --env CartPole-v1 --algorithm PPO --seeds 10
    python benchmarks/results.py --table

A run is one `kpg train`, whose last and best models then play new episodes. Where the
environment is in the graph, all seeds but the first take turns in one process. A run
becomes a line of results.jsonl, with the preset that made it. Runs
that are there are skipped; several processes may add theirs at once. `--table` drops
those of an earlier preset.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pictures import draw_curves, draw_scores

from kpg.cli import algorithms
from kpg.cli.algorithms import KNOWN
from kpg.cli.environments import Environments
from kpg.cli.preset import Preset
from kpg.cli.runs import Run, to_json
from kpg.environments.registry import IN_GRAPH
from kpg.graph import caching
from kpg.results import Scores, margin
from kpg.version import __version__

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.jsonl"
REFERENCES = HERE / "references.json"
PAGE = HERE.parent / "docs" / "results.md"
IMAGES = HERE.parent / "docs" / "images"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
CURVE_POINTS = 50
# Seeds of the episodes are far from those of the trainings.
FIRST_EPISODE_SEED = 10_000
# Where they take no time, as many that a mean is not a matter of luck.
GRAPH_EPISODES, HOST_EPISODES = 1000, 100
PRESETS = Environments()

Result = dict[str, Any]
Group = tuple[str, str]


def main() -> None:
    options = _options()
    known = current(read(RESULTS))
    if options.table:
        write(RESULTS, known)
        write_page(PAGE, groups(known))
        return
    done = {
        (run["env"], run["algorithm"], run["seed"])
        for run in known
        if "last_mean" in run
    }
    caching.cache_compilations()
    wanted = range(options.first_seed, options.first_seed + options.seeds)
    for env in options.env or PRESETS.ids():
        for algorithm in options.algorithm or PRESETS.entries(env):
            todo = [s for s in wanted if (env, algorithm, s) not in done]
            for seeds in turns(env, todo):
                add(measured(env, algorithm, seeds))


def turns(env: str, seeds: list[int]) -> list[list[int]]:
    """Returns the seeds of each process: the first alone, which tells its CPU time.

    The others take turns in one program, if the environment is in the graph and they
    follow each other.
    """
    together = seeds[1:]
    follow = together == list(range(seeds[1], seeds[-1] + 1)) if together else False
    if env in IN_GRAPH and follow:
        return [seeds[:1], together]
    return [[seed] for seed in seeds]


def add(found: list[Result]) -> None:
    """Appends results to the file."""
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write("".join(to_json(result) + "\n" for result in found))
    for result in found:
        shown = {k: result[k] for k in ("env", "algorithm", "seed", "last_mean")}
        print(shown, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--env", action="append", help="repeatable; default: all")
    parser.add_argument("--algorithm", action="append", choices=KNOWN)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--table", action="store_true", help="write the page from what was measured"
    )
    return parser.parse_args()


def measured(env: str, algorithm: str, seeds: list[int]) -> list[Result]:
    """Trains in one process, and measures each seed's last model and its best."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "run"
        before = _cpu_seconds()
        _kpg(
            ["train", env, "--algorithm", algorithm, "--seed", str(seeds[0])]
            + ["--seeds", str(len(seeds)), "--output", str(output)]
        )
        if len(seeds) == 1:
            of_one = {"cpu_seconds": _cpu_seconds() - before}
            return [_judged(Run(output), seeds[0]) | of_one]
        return [_judged(Run(output / str(seed)), seed) for seed in seeds]


def _judged(run: Run, seed: int) -> Result:
    """Returns what a run has come to, by new episodes."""
    trained, preset = run.result(), run.settings()["preset"]
    episodes = GRAPH_EPISODES if preset["env"] in IN_GRAPH else HOST_EPISODES
    last, best = (
        PRESETS.measure(
            algorithms.load(run, model), preset, episodes, FIRST_EPISODE_SEED + seed
        )
        for model in ("last", "best")
    )
    validated = [
        (logs["env_steps"], logs["val_return"])
        for logs in run.metrics()
        if logs.get("val_return") is not None
    ]
    return {
        "env": preset["env"],
        "algorithm": preset["algorithm"],
        "seed": seed,
        "last_mean": last["return_mean"],
        "return_mean": best["return_mean"],
        "return_std": best["return_std"],
        "episodes": episodes,
        "env_steps": trained["env_steps"],
        "wall_seconds": trained["wall_seconds"],
        "train_seconds": trained["train_seconds"],
        "kpg": __version__,
        "settings": preset,
        "curve": thinned(validated),
    }


def _cpu_seconds() -> float:
    """Returns what the processes that have ended were using."""
    times = os.times()
    return times.children_user + times.children_system


def _kpg(arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "kpg", *arguments],
        stdout=subprocess.DEVNULL,
        check=True,
    )


def thinned(
    curve: list[tuple[int, float]], points: int = CURVE_POINTS
) -> list[tuple[int, float]]:
    """Keeps at most `points` of a curve, evenly, with its first and its last."""
    if len(curve) <= points:
        return curve
    kept = np.linspace(0, len(curve) - 1, points).round().astype(int)
    return [curve[index] for index in kept]


def read(path: Path) -> list[Result]:
    """Reads all runs; `[]` if there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def write(path: Path, results: list[Result]) -> None:
    """Writes all runs anew."""
    path.write_text("".join(to_json(run) + "\n" for run in results), "utf-8")


def current(results: list[Result]) -> list[Result]:
    """Keeps the runs that the present presets made, and that measured the last model.

    A row without such a run keeps its earlier ones.
    """
    kept = [run for run in results if _is_current(run)]
    new = {(run["env"], run["algorithm"]) for run in kept if "last_mean" in run}
    return [
        run
        for run in kept
        if "last_mean" in run or (run["env"], run["algorithm"]) not in new
    ]


def _is_current(run: Result) -> bool:
    """Whether a run has today's settings; those that came up since have defaults."""
    env, algorithm = run["env"], run["algorithm"]
    if env not in PRESETS.ids() or algorithm not in PRESETS.entries(env):
        return False
    try:
        return Preset(**run["settings"]) == PRESETS.load(env, algorithm)
    except TypeError:  # a setting that there is no more
        return False


def groups(results: list[Result]) -> dict[Group, list[Result]]:
    """Sorts the runs by environment and algorithm, in the order of the references."""
    order = [(env, algorithm) for env in references() for algorithm in KNOWN]
    found = {
        group: [run for run in results if (run["env"], run["algorithm"]) == group]
        for group in order
    }
    return {group: runs for group, runs in found.items() if runs}


def references() -> dict[str, Any]:
    """Reads the figures that the results are held to."""
    values: dict[str, Any] = json.loads(REFERENCES.read_text("utf-8"))
    return values


def bar(env: str, algorithm: str) -> float:
    """Returns the mean return that a row is to reach."""
    value = references()[env]["bar"]
    return float(value[algorithm] if isinstance(value, dict) else value)


def best(runs: list[Result]) -> Scores:
    """Returns the `[seeds]` mean returns of the best models of a row's runs."""
    return np.array([run["return_mean"] for run in runs], np.float64)


def last(runs: list[Result]) -> Scores:
    """Returns the `[seeds]` mean returns of the last models of a row's runs.

    Earlier runs tell them by the validation after their last epoch.
    """
    values = [run.get("last_mean", run["curve"][-1][1]) for run in runs]
    return np.array(values, np.float64)


def table(rows: dict[Group, list[Result]]) -> list[str]:
    """Returns the lines of the table in Markdown."""
    titles = (
        "environment, algorithm, last [95 %], worst, best [95 %], worst, bar, "
        "reached by, seeds, steps, CPU time, rl-zoo3, CleanRL, command"
    ).split(", ")
    lines = [titles, ["---"] * len(titles)]
    lines += [_row(env, algorithm, runs) for (env, algorithm), runs in rows.items()]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _row(env: str, algorithm: str, runs: list[Result]) -> list[str]:
    known, goal = references()[env], bar(env, algorithm)
    reached = verdict(last(runs), best(runs), goal)
    flag = f" --algorithm {algorithm}" * (next(iter(PRESETS.entries(env))) != algorithm)
    return [
        env,
        algorithm,
        *_columns(last(runs)),
        *_columns(best(runs)),
        number(goal),
        reached,
        str(len(runs)) + " †" * (not all("last_mean" in run for run in runs)),
        f"{runs[0]['env_steps']:,}",
        _cpu_time(runs),
        known["rl_zoo3"].get(algorithm, "–"),
        known["cleanrl"].get(algorithm, "–"),
        f"`kpg train {env}{flag} --seed N`",
    ]


def _cpu_time(runs: list[Result]) -> str:
    """Returns the mean of the runs that tell it."""
    known = [run["cpu_seconds"] for run in runs if "cpu_seconds" in run]
    return f"{np.mean(known):,.0f} s" if known else "–"


def _columns(scores: Scores) -> list[str]:
    mean = number(scores.mean())
    if len(scores) > 1:
        mean += f" ± {number(margin(scores.tolist()))}"
    return [mean, number(scores.min())]


def verdict(last: Scores, best: Scores, goal: float) -> str:
    """Says which models reach a bar: those of every seed, in the mean, or neither."""
    if last.min() >= goal:
        return "every last model"
    if last.mean() >= goal:
        return "the last, in the mean"
    return "**only the best**" if best.mean() >= goal else "**none**"


def number(value: float) -> str:
    """Writes a return with as many digits as it is good for."""
    digits = 0 if abs(value) >= 1000 or value == round(value) else 1
    # Adding 0 makes of −0 the 0 that people write.
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def normalized(env: str, scores: Scores) -> Scores:
    """Scales returns so that 0 is a random policy and 1 PPO's bar."""
    low = references()[env]["random"]
    return (scores - low) / (bar(env, "PPO") - low)


def write_page(page: Path, rows: dict[Group, list[Result]]) -> None:
    """Puts the table between the page's markers, and draws its pictures.

    Raises:
        ValueError: If the page has no markers.
    """
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} must hold {BEGIN} and {END}. Received: it does not")
    middle = "\n".join(["", "", *table(rows), "", ""])
    page.write_text(before + begin + middle + end + after, "utf-8")
    IMAGES.mkdir(parents=True, exist_ok=True)
    scores = {group: last(runs) for group, runs in rows.items()}
    curves = {group: _curves(runs) for group, runs in rows.items()}
    shared = [
        env
        for env, algorithm in rows
        if algorithm == "PPO" and (env, "ActorCritic") in rows
    ]
    scaled = {
        algorithm: [normalized(env, scores[env, algorithm]) for env in shared]
        for algorithm in ("PPO", "ActorCritic")
    }
    bars = {env: bar(env, "PPO") for env, _ in rows}
    draw_scores(IMAGES / "scores.png", scores, bars, scaled)
    draw_curves(IMAGES / "learning_curves.png", curves, bars)


def _curves(runs: list[Result]) -> tuple[Scores, Scores]:
    """Returns `[points]` steps and `[seeds, points]` returns."""
    points = min(len(run["curve"]) for run in runs)
    curves = np.array([run["curve"][:points] for run in runs], np.float64)
    return curves[0, :, 0], curves[:, :, 1]


if __name__ == "__main__":
    main()
