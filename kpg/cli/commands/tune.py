"""`kpg tune`: search settings, and leave the best ones, a page and a picture."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from kpg import imports
from kpg.cli import space
from kpg.cli.command_result import CommandResult, usage_errors
from kpg.cli.episode_statistics import written
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.tuning import Tuning

if TYPE_CHECKING:
    from kpg.cli.trial import Trials


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
    stop = StopOnSignal()
    trials = Trials(tuning.seeds, tuning.numbers(), stop)
    try:
        with stop.listening(), studies.readable(tuning.storage):
            _Search(tuning, trials, found).run()
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

        chosen = self.tuning.preset_of(space.drawn(self.tuning.space, trial))
        trial.set_user_attr("preset", dataclasses.asdict(chosen))
        medians: list[float] = []

        def judge(epoch: int, returns: list[float]) -> bool:
            medians.append(statistics.median(returns))
            trial.set_user_attr("returns", returns)
            trial.report(medians[-1], epoch)
            return not trial.should_prune()

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
        told = f"return {written(values[max(values)])}" if values else "no return"
        if "error" in trial.user_attrs:
            told = f"refused: {trial.user_attrs['error'][:200]}"
        best = studies.ranked(study)[:1]
        leader = (
            f"; best {written(best[0].value)}, trial {best[0].number}" if best else ""
        )
        state = trial.state.name.lower()
        line = f"trial {trial.number} {state}: {told}{leader}"
        print(line, file=sys.stderr, flush=True)
