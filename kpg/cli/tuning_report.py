"""What `kpg tune` leaves: the best settings, a page, and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kpg import files
from kpg.cli import plots, runs
from kpg.cli import study as studies
from kpg.cli.episode_statistics import written
from kpg.cli.tuning import Tuning
from kpg.types import Config

_BEST = 10


def write(tuning: Tuning, study: Any) -> Config:
    """Writes `best.json`, `report.md` and `study.png`; returns the result."""
    ended, best = studies.finished(study), studies.ranked(study)
    directory = tuning.directory
    directory.mkdir(parents=True, exist_ok=True)
    values: Config = {
        "env": tuning.base.env,
        "algorithm": tuning.base.algorithm,
        "seeds": len(tuning.seeds),
        "trials": len(ended),
        "complete": len(best),
        "pruned": len(ended) - len(best),
        "best_return": best[0].value if best else None,
        "best_trial": best[0].number if best else None,
        "best": _settings(tuning, best[0].user_attrs["preset"]) if best else {},
        "output": str(directory),
        "storage": tuning.storage,
    }
    if best:
        chosen = best[0].user_attrs["preset"]
        runs.write_json(
            directory / "best.json", {k: v for k, v in chosen.items() if v is not None}
        )
        title = f"{tuning.base.env}, {tuning.base.algorithm}"
        rows = [_settings(tuning, trial.user_attrs["preset"]) for trial in best]
        returns = [trial.value for trial in best]
        numbers = [trial.number for trial in best]
        files.write_aside(
            directory / "study.png",
            lambda aside: plots.search(aside, numbers, returns, rows, title=title),
        )
    page = "\n".join(_page(tuning, values, best))
    (directory / "report.md").write_text(page, encoding="utf-8")
    return values


def in_words(values: Config) -> str:
    """Returns what the command prints."""
    lines = [
        f"{values['env']}: {values['trials']} trials of {values['seeds']} seeds with "
        f"{values['algorithm']}, {values['pruned']} of them cut short"
    ]
    if values["best_trial"] is None:
        lines += ["No trial has come to its end; the same command goes on."]
    else:
        lines += [
            f"Best: trial {values['best_trial']}, return "
            f"{written(values['best_return'])} (median of the seeds)",
            *(f"  {name} = {_word(own)}" for name, own in values["best"].items()),
            f"Train with it: {_command(values)}",
        ]
    return "\n".join([*lines, f"Report: {values['output']}/report.md"])


def _command(values: Config) -> str:
    return f"kpg train {values['env']} --config {values['output']}/best.json"


def _settings(tuning: Tuning, preset: Mapping[str, Any]) -> Config:
    """Returns what was tried in a trial, by name."""
    flat = {**preset, **preset["policy"], **preset["trainer"]}
    return {name: flat[name] for name in tuning.space}


def _page(tuning: Tuning, values: Config, best: list[Any]) -> list[str]:
    lines = [
        f"# Tuning {values['env']} with {values['algorithm']}",
        "",
        f"{values['trials']} trials, {values['pruned']} of them cut short because they "
        "were worse than half of the others at the same time. A trial trains "
        f"{values['seeds']} seeds; its return is the median of theirs after the last "
        "epoch.",
        "",
    ]
    if not best:
        return [*lines, "No trial has come to its end."]
    heads = ["trial", "return", "of each seed", *tuning.space]
    lines += [f"    {_command(values)}", "", "![Returns by setting](study.png)", ""]
    lines += [_row(heads), _row(["---"] * len(heads))]
    for trial in best[:_BEST]:
        own = _settings(tuning, trial.user_attrs["preset"])
        seeds = ", ".join(map(written, trial.user_attrs["returns"]))
        cells = [str(trial.number), written(trial.value), seeds]
        lines.append(_row([*cells, *map(_word, own.values())]))
    return [*lines, ""]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _word(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
