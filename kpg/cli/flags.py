"""The flags of the command line.

TensorFlow is not imported here: `kpg --help` answers at once.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kpg.cli import algorithms
from kpg.version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="kpg", description="Train, evaluate, export and serve policies."
    )
    parser.add_argument("--version", action="version", version=f"kpg {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_evaluate, _add_export, _add_serve, _add_play):
        add(commands)
    _add_doctor(commands)
    _add(commands, "list", "show the tuned presets and the in-graph environments")
    return parser


def _add(commands: Commands, name: str, does: str) -> argparse.ArgumentParser:
    # Abbreviated flags would change their meaning when a flag is added.
    parser = commands.add_parser(
        name, help=does, description=does.capitalize() + ".", allow_abbrev=False
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result as one JSON object on the last line",
    )
    parser.add_argument(
        "--debug", action="store_true", help="show logs and tracebacks in full"
    )
    return parser


def _add_train(commands: Commands) -> None:
    parser = _add(commands, "train", "train a policy and write a run directory")
    parser.add_argument(
        "env",
        metavar="ENV",
        help="Gymnasium id: MountainCar-v0; module:Id-v0; or text:letters",
    )
    parser.add_argument(
        "--algorithm",
        metavar="NAME",
        help=f"{', '.join(algorithms.KNOWN)}, or module:Name of a trainer of your own, "
        "looked for in the current folder too; default: the preset's",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="seed of everything; default: %(default)s",
    )
    parser.add_argument(
        "--num-envs",
        type=_positive,
        help="environments stepped together; default: the preset's",
    )
    parser.add_argument(
        "--total-steps",
        type=_positive,
        help="budget of environment steps; default: the preset's",
    )
    parser.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting by its name in Python, such as gamma=0.99; repeatable",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="the run directory; default: runs/ENV/ and the next free number",
    )


def _add_evaluate(commands: Commands) -> None:
    parser = _add(commands, "evaluate", "measure a run's best model on new episodes")
    parser.add_argument("run", metavar="RUN", help="a run directory")
    _add_episodes(parser, 100)


def _add_export(commands: Commands) -> None:
    parser = _add(commands, "export", "export a run's best model as a SavedModel")
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument(
        "directory", metavar="DIR", help="where the versions of the model are"
    )
    parser.add_argument(
        "--version",
        type=_positive,
        help="number of the version; default: the next free one",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=_positive,
        help="of texts: tokens of a completion at most; default: as in training",
    )


def _add_serve(commands: Commands) -> None:
    parser = _add(commands, "serve", "serve an exported model over gRPC")
    parser.add_argument("directory", metavar="DIR", help="what `kpg export` wrote")
    parser.add_argument(
        "--port",
        type=_port,
        default=8500,
        help="port for gRPC, 0 for any free one; default: %(default)s",
    )
    parser.add_argument(
        "--rest_api_port", type=_port, help="port for REST; not supported yet"
    )
    parser.add_argument(
        "--model_name",
        help="name that requests ask for; default: %(default)s",
        default="default",
    )


def _add_play(commands: Commands) -> None:
    parser = _add(
        commands, "play", "drive an environment, or complete prompts, by a policy"
    )
    parser.add_argument(
        "env",
        metavar="ENV",
        help="Gymnasium id: MountainCar-v0; or text:letters; or a run of a text task",
    )
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        type=_address,
        help="where `kpg serve` or TensorFlow Serving listens; only a run of a text "
        "task is played without one",
    )
    parser.add_argument(
        "--model_name",
        help="name of the served model; default: %(default)s",
        default="default",
    )
    _add_episodes(parser, 10)
    _add_completion(parser)


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompt",
        dest="prompts",
        action="append",
        default=[],
        metavar="TEXT",
        help="what a text policy completes; repeatable",
    )
    parser.add_argument(
        "--max-new-tokens",
        type=_positive,
        help="tokens of a completion at most; default: as exported, or as trained",
    )
    parser.add_argument("--temperature", type=float, help="default: that of the policy")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="write the most likely tokens in place of drawn ones",
    )


def _add_doctor(commands: Commands) -> None:
    parser = _add(commands, "doctor", "say what is wrong with an environment or a run")
    parser.add_argument(
        "target", metavar="ENV_OR_RUN", help="Gymnasium id, or a run directory"
    )


def _add_episodes(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--episodes",
        type=_positive,
        default=default,
        help="number of episodes; default: %(default)s",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="seed of the episodes; default: %(default)s",
    )


def _whole_number(text: str, low: int, high: int) -> int:
    try:
        number = float(text)  # so that 3e6 is three million
    except ValueError:
        number = float("nan")
    if not low <= number <= high or number != int(number):
        raise argparse.ArgumentTypeError(
            f"a whole number from {low} to {high} is wanted, not {text!r}"
        )
    return int(number)


def _positive(text: str) -> int:
    return _whole_number(text, 1, 2**53)


def _seed(text: str) -> int:
    return _whole_number(text, 0, 2**31 - 1)


def _port(text: str) -> int:
    return _whole_number(text, 0, 2**16 - 1)


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not host or not colon:
        raise argparse.ArgumentTypeError(
            f"an address such as 127.0.0.1:8500 is wanted, not {text!r}"
        )
    _port(port)
    return text
