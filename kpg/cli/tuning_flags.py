"""The flags of `kpg tune`; TensorFlow and Optuna are not imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_to(
    parser: argparse.ArgumentParser,
    count: Callable[[str], int],
    seed: Callable[[str], int],
    minutes: Callable[[str], float],
) -> None:
    """Adds them, given what reads numbers."""
    text = "Gymnasium id, such as CartPole-v1, or module:Id-v0"
    parser.add_argument("env", metavar="ENV", help=text)
    text = "PPO, ActorCritic, REINFORCE, or module:Name; default: the preset's"
    parser.add_argument("--algorithm", metavar="NAME", help=text)
    text = "trials of the study in all, of all processes; default: %(default)s"
    parser.add_argument("--trials", metavar="N", type=count, default=100, help=text)
    text = "seeds of each trial; default: %(default)s"
    parser.add_argument("--seeds", metavar="N", type=count, default=3, help=text)
    text = "minutes after which no trial begins; default: as long as there are trials"
    parser.add_argument("--minutes", metavar="N", type=minutes, help=text)
    text = "seed of the search, and the first of the trials'; default: %(default)s"
    parser.add_argument("--seed", type=seed, default=0, help=text)
    text = "a setting that stays, or that the search begins with; repeatable"
    parser.add_argument(
        "--set", dest="assignments", metavar="KEY=VALUE", action="append", default=[],
        help=text,
    )  # fmt: skip
    text = "a file of such settings, as of `kpg train`"
    parser.add_argument("--config", metavar="FILE", help=text)
    text = "a JSON file of what to try, by algorithm; default: kpg's own"
    parser.add_argument("--space", metavar="FILE", help=text)
    text = "where the study is, and its results; one that is there goes on; default: "
    text += "tuning/ENV-ALGORITHM"
    parser.add_argument("--output", metavar="DIR", help=text)
    text = "an SQLite file, or a URL of SQLAlchemy's; default: study.db in DIR"
    parser.add_argument("--storage", metavar="FILE", help=text)
