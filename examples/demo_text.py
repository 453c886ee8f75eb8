"""The whole path of a text policy: train, export, serve, complete over gRPC, judge.

`make demo-text` runs it. A tiny language model first learns made-up words and is then
rewarded for writing vowels. It is served in a separate process, tokenizer included, and
completes prompts over gRPC. The exit code is 0 if nine out of ten letters that come
back are vowels and the same seed gives the same texts again.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

TASK = "text:letters"
SERVABLE = "servables/letters"
PROMPTS = ("bast", "dond", "gurk")
THRESHOLD = 0.9


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a kpg command that prints its result as JSON."""
    print(f"\n$ kpg {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "kpg", *arguments, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kpg(*arguments: str) -> dict[str, Any]:
    """Runs a kpg command and returns its result, or exits with its exit code."""
    process = start(*arguments)
    output, _ = process.communicate()
    if process.returncode:
        sys.exit(process.returncode)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


@contextlib.contextmanager
def server(directory: str) -> Iterator[str]:
    """Serves a directory on a free port; yields its address."""
    process = start("serve", directory, "--port", "0")
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:  # standard error has the reason
            sys.exit(process.wait() or 1)
        yield json.loads(line)["address"]
    finally:
        process.terminate()
        process.wait()


def complete(address: str) -> list[str]:
    """Has the server complete the prompts."""
    flags = [flag for prompt in PROMPTS for flag in ("--prompt", prompt)]
    played = kpg("play", TASK, "--server", address, *flags, "--seed", "3")
    return [row["completion"] for row in played["completions"]]


def share_of_vowels(texts: list[str]) -> float:
    """Returns the share of vowels among all letters."""
    letters = "".join(texts)
    return sum(letter in "aeiou" for letter in letters) / max(len(letters), 1)


def main() -> int:
    """Runs all steps; returns the exit code."""
    trained = kpg("train", TASK)
    print(f"reward {trained['return_mean']:.2f} after {trained['wall_seconds']:.0f} s")
    exported = kpg("export", trained["run"], SERVABLE)
    print(f"version {exported['version']} in {exported['path']}")
    with server(SERVABLE) as address:
        print(f"serving at {address}")
        texts, again = complete(address), complete(address)
    for prompt, text in zip(PROMPTS, texts, strict=True):
        print(f"{prompt!r} → {text!r}")
    share = share_of_vowels(texts)
    learned = share >= THRESHOLD and texts == again
    print(f"\n{'Learned' if learned else 'Not learned'}: {share:.0%} are vowels.")
    return 0 if learned else 1


if __name__ == "__main__":
    sys.exit(main())
