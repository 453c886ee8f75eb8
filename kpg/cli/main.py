"""The command line: dispatch and exit codes.

Exit codes: 0 only if the command did what it says, 2 for bad usage, 1 for a failure,
128 plus the signal's number. No TensorFlow here: `kpg --help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence

from kpg.cli.command_result import INTERRUPTED, CommandResult, UsageError
from kpg.cli.runs import to_json
from kpg.cli.terminal import fitted
from kpg.graph import caching

# Errors whose text is written for the user; of others the class is told too.
_READABLE = (ValueError, OSError, ImportError, RuntimeError)
_LONGEST_MESSAGE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `kpg` with the given arguments, or the process's; returns the exit code."""
    started, name, debug = time.perf_counter(), "kpg", False
    try:
        from kpg.cli import flags  # here, so that Ctrl-C is a line from the start

        options = flags.parser().parse_args(arguments)
        options.started = started
        name, debug = f"kpg {options.command}", options.debug
        _quiet_libraries(debug)
        if "" not in sys.path:
            sys.path.insert(0, "")  # modules in the current folder, as `python -m` does
        caching.cache_compilations()
        module = importlib.import_module(f"kpg.cli.commands.{options.command}")
        result: CommandResult = module.run(options)
        if options.json and result.values:
            return _print(to_json(result.values)) or result.exit_code
        return _print(fitted(result.text, sys.stdout)) or result.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # one readable line, whatever it was
        if debug:
            traceback.print_exc()
        print(fitted(f"{name}: {_one_line(error)}", sys.stderr), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1


def _print(text: str) -> int:
    """Prints a result; returns the exit code of SIGPIPE if nobody reads on, else 0."""
    try:
        if text:
            print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if len(text) > _LONGEST_MESSAGE:
        text = f"{text[:_LONGEST_MESSAGE]} …"
    if isinstance(error, _READABLE) and text:
        return text
    return f"{type(error).__name__}: {text} (--debug shows the traceback)"


def _quiet_libraries(debug: bool) -> None:
    """Keeps the libraries' own logs out of the way, before they are imported."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)
