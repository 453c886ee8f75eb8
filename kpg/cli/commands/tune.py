"""`kpg tune`: search settings, and leave the best ones, a page and a picture."""

from __future__ import annotations

import argparse
import dataclasses
import re
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kpg import imports
from kpg.cli import preset
from kpg.cli.command_result import CommandResult, usage_errors
from kpg.cli.kind import kind_of
from kpg.cli.preset import Preset
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.types import Config

if TYPE_CHECKING:
    from kpg.cli.space import Space
    from kpg.cli.trial import Trials


class Tuning:
    """A search: what stays, what is tried, and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        from kpg.cli import space

        self.options = options
        self.given = _given(options)
        self.base = kind_of(options.env).chosen_preset(options.env, self.given)
        self.space: Space = space.read(self.base.algorithm, options.space)
        self.preset_of({})
        name = re.sub(r"[^\w.-]+", "-", f"{self.base.env}-{self.base.algorithm}")
        self.directory = Path(options.output or Path("tuning") / name)
        self.storage = options.storage or str(self.directory / "study.db")
        self.seeds = range(options.seed, options.seed + options.seeds)

    def preset_of(self, settings: Config) -> Preset:
        """Returns the preset of a trial; a `ValueError` if a name is not known."""
        searched = {name: settings.get(name) for name in self.space} if settings else {}
        return kind_of(self.options.env).chosen_preset(
            self.options.env, {**self.given, **searched}
        )

    def identity(self) -> Config:
        """Returns what all processes of a study must agree on."""
        return {
            "env": self.base.env,
            "algorithm": self.base.algorithm,
            "seeds": list(self.seeds),
            "settings": dataclasses.asdict(self.base),
            "space": {k: dataclasses.asdict(own) for k, own in self.space.items()},
        }

    def started_with(self) -> Config:
        """Returns the settings that the search begins with, as far as it tries them."""
        from kpg.cli import space

        own = {**self.base.trainer, "learning_rate": self.base.learning_rate}
        return space.told(self.space, own)


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    imports.optional("optuna", "optuna", "tune", "kpg tune")
    import_tensorflow(options.debug)
    with usage_errors():
        tuning = Tuning(options)
    from kpg.cli import study as studies
    from kpg.cli import tuning_report
    from kpg.cli.recording import StopOnSignal
    from kpg.cli.trial import Trials

    found = studies.opened(tuning.storage, tuning.identity(), options.seed)
    if not found.trials:
        found.enqueue_trial(tuning.started_with(), skip_if_exists=True)
    stop, search = StopOnSignal(), None
    numbers = [name for name, own in tuning.space.items() if hasattr(own, "low")]
    trials = Trials(tuning.seeds, numbers, stop)
    try:
        with stop.listening(), studies.readable(tuning.storage):
            search = _Search(tuning, trials, found)
            search.run()
    except KeyboardInterrupt:
        if stop.received is None:
            raise
    finally:
        trials.close()
    with studies.readable(tuning.storage):
        values = tuning_report.write(tuning, found)
    code = 0 if stop.received is None else 128 + stop.received
    return CommandResult(values, tuning_report.in_words(values), code)


class _Search:
    """Runs trials until there are enough, or the time is up."""

    def __init__(self, tuning: Tuning, trials: Trials, study: Any) -> None:
        self.tuning = tuning
        self.trials = trials
        self.study = study
        minutes = tuning.options.minutes
        started = tuning.options.started
        self.deadline = None if minutes is None else started + 60.0 * minutes

    def run(self) -> None:
        """See the class."""
        from kpg.cli import study as studies

        while len(studies.finished(self.study)) < self.tuning.options.trials:
            if self._late():
                return
            self.study.optimize(self._objective, n_trials=1, callbacks=[self._tell])

    def _late(self) -> bool:
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def _objective(self, trial: Any) -> float:
        """Returns the median over the seeds of their last validated returns."""
        from optuna import TrialPruned

        from kpg.cli import space

        chosen = self.tuning.preset_of(space.drawn(self.tuning.space, trial))
        trial.set_user_attr("preset", dataclasses.asdict(chosen))
        medians: list[float] = []

        def judge(epoch: int, returns: list[float]) -> bool:
            medians.append(statistics.median(returns))
            trial.set_user_attr("returns", returns)
            trial.report(medians[-1], epoch)
            return not (trial.should_prune() or self._late())

        try:
            whole = self.trials.run(chosen, judge)
        except ValueError as error:
            trial.set_user_attr("error", " ".join(str(error).split()))
            raise TrialPruned from error
        if not whole:
            raise TrialPruned
        return medians[-1]

    def _tell(self, study: Any, trial: Any) -> None:
        """Says how a trial went, and which one is the best so far."""
        from kpg.cli import study as studies

        values = trial.intermediate_values
        told = f"return {values[max(values)]:.1f}" if values else "no return"
        if "error" in trial.user_attrs:
            told = f"refused: {trial.user_attrs['error'][:200]}"
        best = studies.ranked(study)[:1]
        leader = f"; best {best[0].value:.1f}, trial {best[0].number}" if best else ""
        state = trial.state.name.lower()
        line = f"trial {trial.number} {state}: {told}{leader}"
        print(line, file=sys.stderr, flush=True)


def _given(options: argparse.Namespace) -> Config:
    """Returns the settings on the command line, by name."""
    settings: Config = {}
    if options.config is not None:
        settings = preset.read_settings(options.config)
        env = settings.pop("env", options.env)
        if env != options.env:
            raise ValueError(
                f"The configuration is of {env}; give the same environment, or take it "
                f"out of the file. Received: {options.env}"
            )
    settings |= dict(map(preset.parse_assignment, options.assignments))
    if options.algorithm is not None:
        settings["algorithm"] = options.algorithm
    return settings
