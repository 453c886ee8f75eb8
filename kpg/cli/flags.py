"""The flags of the command line; TensorFlow is not imported."""

from __future__ import annotations

import argparse
import functools
from typing import TYPE_CHECKING

from kpg.cli import algorithms, client_flags, serving_flags, tuning_flags
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
    _add_of_run(commands, "watch", "play a run's episodes in a window", 3)
    _add_film(commands)
    doctor = _add(
        commands,
        "doctor",
        "say what is wrong with an environment, a run or a SavedModel",
    )
    text = "Gymnasium id, a run, or the directory of a SavedModel or of its versions"
    doctor.add_argument("target", metavar="TARGET", help=text)
    _add_launch(commands)
    does = "search settings with which an environment is learned"
    tune = _add(commands, "tune", does)
    tuning_flags.add_to(tune, _positive, _seed, _minutes)
    does = "a table of runs; those that differ only in their seeds are one row"
    _add_runs(_add(commands, "compare", does))
    plot = _add(commands, "plot", "draw the learning curves of runs, as in compare")
    _add_runs(plot)
    text = "the picture, a .png"
    plot.add_argument("-o", "--output", metavar="FILE", required=True, help=text)
    _add(commands, "list", "show the tuned presets and the in-graph environments")
    return parser


def _add(commands: Commands, name: str, does: str) -> argparse.ArgumentParser:
    # Abbreviated flags would change their meaning when a flag is added.
    parser = commands.add_parser(
        name, help=does, description=does.capitalize() + ".", allow_abbrev=False
    )
    text = "print the result as one JSON object on the last line"
    parser.add_argument("--json", action="store_true", help=text)
    text = "show logs and tracebacks in full"
    parser.add_argument("--debug", action="store_true", help=text)
    return parser


def _add_train(commands: Commands) -> None:
    parser = _add(commands, "train", "train a policy and write a run directory")
    text = "Gymnasium id: MountainCar-v0; module:Id-v0; or text:letters"
    parser.add_argument("env", metavar="ENV", nargs="?", help=text)
    text = "go on with a run whose training broke off; without RUN the newest in runs/"
    parser.add_argument("--resume", metavar="RUN", nargs="?", const="", help=text)
    text = "minutes between checkpoints to go on from; default: %(default)s"
    parser.add_argument("--checkpoint-minutes", type=_minutes, default=1.0, help=text)
    text = f"{', '.join(algorithms.KNOWN)}, or module:Name of a trainer of your own, "
    text += "looked for in the current folder too; default: the preset's"
    parser.add_argument("--algorithm", metavar="NAME", help=text)
    parser.add_argument("--seed", type=_seed, help="seed of everything; default: 0")
    text = "train a run for each of N seeds, from --seed on; default: %(default)s"
    parser.add_argument("--seeds", metavar="N", type=_positive, default=1, help=text)
    text = "environments stepped together; default: the preset's"
    parser.add_argument("--num-envs", type=_positive, help=text)
    text = "the most environment steps to take; default: the preset's"
    parser.add_argument("--total-steps", type=_positive, help=text)
    text = "override a setting by its name in Python, such as gamma=0.99; repeatable"
    _add_repeatable(parser, "--set", "assignments", "KEY=VALUE", text)
    text = (
        "a JSON file of settings by name, or a run's settings.json; --set goes over it"
    )
    parser.add_argument("--config", metavar="FILE", help=text)
    text = "the run directory; default: runs/ENV/ and the next free number"
    parser.add_argument("--output", metavar="DIR", help=text)
    text = "mirrored: all GPUs, or CPUs, of this machine; multiworker: what the "
    text += "environment variable TF_CONFIG names, see `kpg launch`; default: none"
    names = ("mirrored", "multiworker")
    parser.add_argument("--strategy", choices=names, help=text)
    text = "seconds that workers wait for each other; default: %(default)s"
    parser.add_argument(
        "--worker-deadline", metavar="SECONDS", type=_positive, default=60, help=text
    )


def _add_launch(commands: Commands) -> None:
    does = "try out several workers on this machine"
    parser = _add(commands, "launch", does)
    text = "number of processes, each with a TF_CONFIG of its own"
    parser.add_argument(
        "--workers", metavar="N", type=_positive, required=True, help=text
    )
    text = "`train ENV …`, as for `kpg`, or a Python file and its arguments"
    parser.add_argument(
        "arguments", metavar="train ENV …", nargs=argparse.REMAINDER, help=text
    )


def _add_of_run(
    commands: Commands, name: str, does: str, episodes: int
) -> argparse.ArgumentParser:
    parser = _add(commands, name, does)
    parser.add_argument("run", metavar="RUN", help="a run directory")
    _add_model(parser)
    _add_episodes(parser, episodes)
    return parser


def _add_evaluate(commands: Commands) -> None:
    _add_of_run(commands, "evaluate", "measure a run's model on new episodes", 100)


def _add_film(commands: Commands) -> None:
    does = "write a film of a run's episodes, without a window"
    parser = _add_of_run(commands, "film", does, 1)
    text = "the film, a .gif or (with kpg[film]) an .mp4"
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help=text)
    text = "pixels from left to right; default: %(default)s"
    parser.add_argument("--width", type=_positive, default=400, help=text)
    text = "frames a second; default: the environment's"
    parser.add_argument("--fps", type=_positive, help=text)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    text = "run directories of one environment, such as runs/CartPole-v1/*"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)


def _add_model(parser: argparse.ArgumentParser) -> None:
    text = "the best one of validation, or the last one; default: %(default)s"
    parser.add_argument("--model", choices=("best", "last"), default="best", help=text)


def _add_export(commands: Commands) -> None:
    parser = _add(commands, "export", "export a run's best model as a SavedModel")
    parser.add_argument("run", metavar="RUN", help="a run directory")
    text = "where the versions of the model are"
    parser.add_argument("directory", metavar="DIR", nargs="?", help=text)
    text = "number of the version; default: the next free one"
    parser.add_argument("--version", type=_positive, help=text)
    text = "of texts: tokens of a completion at most; default: as in training"
    parser.add_argument("--max-new-tokens", type=_positive, help=text)
    formats, text = (
        ("saved_model", "litert", "onnx"),
        "what to write; default: %(default)s",
    )
    parser.add_argument("--format", choices=formats, default=formats[0], help=text)
    text = "remove all but the N newest versions, and those with a label; default: none"
    parser.add_argument("--keep", type=_positive, metavar="N", help=text)
    text = "write the model into a --model_config_file of TensorFlow Serving"
    parser.add_argument("--models-config", metavar="FILE", help=text)
    text = "what the file calls the version, such as stable; repeatable"
    _add_repeatable(parser, "--label", "labels", "NAME", text)


def _add_serve(commands: Commands) -> None:
    parser = _add(commands, "serve", "serve exported models over gRPC and REST")
    text = "what `kpg export` wrote; or say --model_base_path or --model_config_file"
    parser.add_argument("directory", metavar="DIR", nargs="?", help=text)
    serving_flags.add_to(parser)


def _add_play(commands: Commands) -> None:
    does = "drive an environment, or complete prompts, by a policy"
    parser = _add(commands, "play", does)
    text = "Gymnasium id: MountainCar-v0; or text:letters; or a run"
    parser.add_argument("env", metavar="ENV", help=text)
    text = "where `kpg serve` or TensorFlow Serving listens; only a run is played "
    text += "without one"
    parser.add_argument("--server", metavar="HOST:PORT", type=_address, help=text)
    text = "name of the served model; default: %(default)s"
    parser.add_argument("--model_name", default="default", help=text)
    client_flags.add_to(parser)
    _add_model(parser)
    _add_episodes(parser, 10)
    text = "what a text policy completes; repeatable"
    _add_repeatable(parser, "--prompt", "prompts", "TEXT", text)
    text = "tokens of a completion at most; default: as exported, or as trained"
    parser.add_argument("--max-new-tokens", type=_positive, help=text)
    parser.add_argument("--temperature", type=float, help="default: the policy's")
    text = "write the most likely tokens instead of drawn ones"
    parser.add_argument("--deterministic", action="store_true", help=text)


def _add_repeatable(
    parser: argparse.ArgumentParser, flag: str, dest: str, metavar: str, text: str
) -> None:
    parser.add_argument(
        flag, dest=dest, metavar=metavar, action="append", default=[], help=text
    )


def _add_episodes(parser: argparse.ArgumentParser, default: int) -> None:
    text = "number of episodes; default: %(default)s"
    parser.add_argument("--episodes", type=_positive, default=default, help=text)
    text = "seed of the episodes; default: %(default)s"
    parser.add_argument("--seed", type=_seed, default=0, help=text)
    text = "steps after which an episode is cut; default: its time limit, else 10,000"
    parser.add_argument("--max-steps", type=_positive, help=text)


def _whole_number(text: str, low: int, high: int) -> int:
    try:
        number = float(text)  # so that 3e6 is three million
    except ValueError:
        number = float("nan")
    if not low <= number <= high or number != int(number):
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {low} to {high}. Received: {text!r}"
        )
    return int(number)


_positive = functools.partial(_whole_number, low=1, high=2**53)
_seed = functools.partial(_whole_number, low=0, high=2**31 - 1)
_port = functools.partial(_whole_number, low=0, high=2**16 - 1)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = float("nan")
    if not 0.0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0. Received: {text!r}")
    return minutes


def _address(text: str) -> str:
    if text.startswith("unix:"):
        return text
    host, colon, port = text.rpartition(":")
    if not host or not colon:
        raise argparse.ArgumentTypeError(
            f"must be an address such as 127.0.0.1:8500. Received: {text!r}"
        )
    _port(port)
    return text
