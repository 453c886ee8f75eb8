"""What a shell is told so that Tab completes the commands and flags of `kpg`."""

from __future__ import annotations

import argparse

import shtab

from kpg.cli.kind import kinds


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the script of bash, zsh or fish for a parser with all its flags.

    Ids with a preset are completed where an environment is wanted, files and folders
    where these are.
    """
    ids = " ".join(id for kind in reversed(kinds()) for id in kind.ids())
    wanted = {
        "ENV": shtab.cmd(f"printf '%s\\n' {ids}"),
        "TARGET": shtab.DIRECTORY,
        "RUN": shtab.DIRECTORY,
        "DIR": shtab.DIRECTORY,
        "FILE": shtab.FILE,
    }
    parsers = [parser]
    while parsers:
        for action in parsers.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif action.metavar in wanted:
                vars(action)["complete"] = wanted[str(action.metavar)]
    return shtab.complete(parser, shell=shell)
