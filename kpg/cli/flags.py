"""The flags of the command line; TensorFlow is not imported."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from typing_extensions import override

from kpg import checks
from kpg.cli import (
    client_flags,
    serving_flags,
    setting_flags,
    terminal,
    tuning_flags,
)
from kpg.version import __version__


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and which flag a misspelt one may be.

    Attributes:
        fill: Adds the flags of a command, once it is typed: there are many.
    """

    fill: Callable[[argparse.ArgumentParser], None] | None = None

    def filled(self) -> None:
        """Adds the flags that are still to be added."""
        if self.fill is not None:
            self.fill(self)
        self.fill = None

    @override
    def parse_known_args(  # type: ignore[override]  # which has overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        self.filled()
        options, extra = super().parse_known_args(args, namespace)
        flag = next((word for word in extra if word.startswith("-")), None)
        if flag is not None:
            name = flag.lstrip("-").partition("=")[0].replace("-", "_")
            known = {
                own.lstrip("-").replace("-", "_"): own
                for own in self._option_string_actions
            }
            close = [known[own] for own in checks.close(name, known)]
            meant = f" Did you mean {' or '.join(close)}?" if close else ""
            self.error(f"there is no flag {flag.partition('=')[0]}.{meant}")
        if extra:
            self.error(f"this is one too many: {extra[0]}")
        return options, extra

    @override
    def error(self, message: str) -> NoReturn:
        text = f"{self.prog}: {message} (`{self.prog} --help` shows more)\n"
        self.exit(2, terminal.fitted(text, sys.stderr))


class _Completion(argparse.Action):
    """Prints the script of a shell, and ends as `--help` does."""

    commands: Mapping[str, _Parser]

    @override
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        from kpg.cli import completion

        for command in self.commands.values():
            command.filled()
        print(completion.script(parser, str(values)))
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = _Parser(
        prog="kpg", description="Train, evaluate, export and serve policies."
    )
    parser.add_argument("--version", action="version", version=f"kpg {__version__}")
    completion = parser.add_argument(
        "--completion",
        choices=("bash", "zsh", "fish"),
        action=_Completion,
        help='print what makes Tab complete: eval "$(kpg --completion bash)"',
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (does, fill) in _COMMANDS.items():
        # Abbreviated flags would change their meaning when a flag is added.
        command = commands.add_parser(
            name, help=does, description=f"{does.capitalize()}.", allow_abbrev=False
        )
        command.fill = fill
        text = "print the result as one JSON object on the last line"
        command.add_argument("--json", action="store_true", help=text)
        text = "show logs and tracebacks in full"
        command.add_argument("--debug", action="store_true", help=text)
    vars(completion)["commands"] = commands.choices
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    parser.usage = "kpg train ENV [flags]"
    text = "Gymnasium id: MountainCar-v0; module:Id-v0; or text:letters"
    parser.add_argument("env", metavar="ENV", nargs="?", help=text)
    text = "go on with a run whose training broke off; without RUN the newest in runs/"
    parser.add_argument("--resume", metavar="RUN", nargs="?", const="", help=text)
    text = "minutes between checkpoints to go on from; default: %(default)s"
    parser.add_argument("--checkpoint-minutes", type=_minutes, default=1.0, help=text)
    parser.add_argument("--seed", type=_seed, help="seed of everything; default: 0")
    text = "train a run for each of N seeds, from --seed on; default: %(default)s"
    parser.add_argument("--seeds", metavar="N", type=_positive, default=1, help=text)
    text = "override a setting by its name in Python, such as gamma=0.99, also one of "
    text += "a trainer of your own; repeatable"
    _add_repeatable(parser, "--set", "assignments", "KEY=VALUE", text)
    text = "a JSON or YAML file of settings by name, or a run's settings.json; --set "
    text += "and the flags of settings go over it"
    parser.add_argument("--config", metavar="FILE", help=text)
    text = "the run directory; default: runs/ENV/ and the next free number"
    parser.add_argument("--output", metavar="DIR", help=text)
    text = "write events for TensorBoard; without DIR beside the run's other files"
    parser.add_argument("--tensorboard", metavar="DIR", nargs="?", const="", help=text)
    text = (
        "threads of one operation of TensorFlow; default: TF_NUM_INTRAOP_THREADS, or "
    )
    text += "one for small networks inside the graph, else TensorFlow's own choice"
    parser.add_argument("--threads", metavar="N", type=_positive, help=text)
    text = "mirrored: all GPUs, or CPUs, of this machine; multiworker: what the "
    text += "environment variable TF_CONFIG names, see `kpg launch`; default: none"
    names = ("mirrored", "multiworker")
    parser.add_argument("--strategy", choices=names, help=text)
    text = "seconds that workers wait for each other; default: %(default)s"
    parser.add_argument(
        "--worker-deadline", metavar="SECONDS", type=_positive, default=60, help=text
    )
    setting_flags.add_to(parser)


def _launch(parser: argparse.ArgumentParser) -> None:
    text = "number of processes, each with a TF_CONFIG of its own"
    parser.add_argument(
        "--workers", metavar="N", type=_positive, required=True, help=text
    )
    text = "`train ENV …`, as for `kpg`, or a Python file and its arguments"
    parser.add_argument(
        "arguments", metavar="train ENV …", nargs=argparse.REMAINDER, help=text
    )


def _of_run(parser: argparse.ArgumentParser, episodes: int) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory")
    _add_model(parser)
    _add_episodes(parser, episodes)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _of_run(parser, 100)


def _watch(parser: argparse.ArgumentParser) -> None:
    _of_run(parser, 3)


def _film(parser: argparse.ArgumentParser) -> None:
    _of_run(parser, 1)
    text = "the film, a .gif or (with kpg[film]) an .mp4"
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help=text)
    text = "pixels from left to right; default: %(default)s"
    parser.add_argument("--width", type=_positive, default=400, help=text)
    text = "frames a second; default: the environment's"
    parser.add_argument("--fps", type=_positive, help=text)


def _doctor(parser: argparse.ArgumentParser) -> None:
    text = "Gymnasium id, a run, or the directory of a SavedModel or of its versions"
    parser.add_argument("target", metavar="TARGET", help=text)


def _tune(parser: argparse.ArgumentParser) -> None:
    tuning_flags.add_to(parser, _positive, _seed, _minutes)


def _compare(parser: argparse.ArgumentParser) -> None:
    text = "run directories of one environment, such as runs/CartPole-v1/*"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=text)


def _plot(parser: argparse.ArgumentParser) -> None:
    _compare(parser)
    text = "the picture, a .png"
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help=text)


def _add_model(parser: argparse.ArgumentParser) -> None:
    text = "the best one of validation, or the last one; default: %(default)s"
    parser.add_argument("--model", choices=("best", "last"), default="best", help=text)


def _export(parser: argparse.ArgumentParser) -> None:
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


def _serve(parser: argparse.ArgumentParser) -> None:
    text = "what `kpg export` wrote; or say --model_base_path or --model_config_file"
    parser.add_argument("directory", metavar="DIR", nargs="?", help=text)
    serving_flags.add_to(parser)


def _play(parser: argparse.ArgumentParser) -> None:
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


# What each command does, and its flags.
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None] | None]] = {
    "train": ("train a policy and write a run directory", _train),
    "evaluate": ("measure a run's model on new episodes", _evaluate),
    "export": ("export a run's best model as a SavedModel", _export),
    "serve": ("serve exported models over gRPC and REST", _serve),
    "play": ("drive an environment, or complete prompts, by a policy", _play),
    "watch": ("play a run's episodes in a window", _watch),
    "film": ("write a film of a run's episodes, without a window", _film),
    "doctor": (
        "say what is wrong with an environment, a run or a SavedModel",
        _doctor,
    ),
    "launch": ("try out several workers on this machine", _launch),
    "tune": ("search settings with which an environment is learned", _tune),
    "compare": (
        "a table of runs; those that differ only in their seeds are one row",
        _compare,
    ),
    "plot": ("draw the learning curves of runs, as in compare", _plot),
    "list": ("show the tuned presets and the in-graph environments", None),
}
