"""What `kpg tune` keeps between trials: an Optuna study in a database."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from kpg.types import Config

_NAME = "kpg"
# Seconds that a process waits for others that write to the same file.
PATIENCE = 60.0


def opened(storage: str, identity: Config, seed: int) -> optuna.Study:
    """Opens a study, or begins one, in an SQLite file or at a URL of SQLAlchemy's.

    Args:
        storage: The file or the URL.
        identity: What all processes must agree on, in plain values by name.
        seed: Of the search; each process of a study draws its own from it.

    Raises:
        ValueError: If it cannot be opened, or is of another `identity`.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    file = "://" not in storage
    if file:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{Path(storage).resolve()}" if file else storage
    wait = {"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else {}
    with readable(storage):
        kept = optuna.storages.RDBStorage(url, engine_kwargs=wait)
        study = optuna.create_study(
            storage=kept, study_name=_NAME, direction="maximize", load_if_exists=True
        )
        known = study.user_attrs.get("identity")
        if known is None:
            study.set_user_attr("identity", identity)
        else:
            _refuse_other(known, json.loads(json.dumps(identity)), storage)
        earlier = int(study.user_attrs.get("processes", 0))
        study.set_user_attr("processes", earlier + 1)
    own = int(np.random.SeedSequence([seed, earlier]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=own)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=5)
    return study


@contextlib.contextmanager
def readable(storage: str) -> Iterator[None]:
    """Turns errors of a database into a `ValueError` that names it."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        raise ValueError(
            "The study must be a database that can be read and written, and that no "
            "other program holds for long: wait for it, or choose another --output or "
            f"--storage. Received: {storage} ({str(cause).splitlines()[0]})"
        ) from error


def _refuse_other(known: Config, identity: Config, storage: str) -> None:
    other = [name for name in identity if known.get(name) != identity[name]]
    if other:
        told = "; ".join(
            f"{name} {identity[name]}, but there {known.get(name)}" for name in other
        )
        raise ValueError(
            "A study goes on with what it began with: type the command as before, or "
            f"choose another --output or --storage. Received: {told}, in {storage}"
        )


def finished(study: optuna.Study) -> list[Any]:
    """Returns the trials that have ended, pruned ones included, in order."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    found: list[Any] = study.get_trials(deepcopy=False, states=states)
    return found


def ranked(study: optuna.Study) -> list[Any]:
    """Returns the trials that came to their end, the best first.

    Of equals the one that was better on its way is better.
    """
    found = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def worth(trial: Any) -> tuple[float, float]:
        return trial.value, statistics.fmean(trial.intermediate_values.values())

    ordered: list[Any] = sorted(found, key=worth, reverse=True)
    return ordered
