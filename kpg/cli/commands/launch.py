"""`kpg launch`: several workers on one machine, to try out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

from kpg.cli.command_result import CommandResult, UsageError

# Seconds in which the others notice that a worker failed, and say so.
_NOTICE = 30.0


def run(options: argparse.Namespace) -> CommandResult:
    """Carries out the command."""
    command = _command(options.arguments)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(options.workers)]
    workers: list[subprocess.Popen[str]] = []
    with _passing_on(workers):
        for index in range(len(addresses)):
            task = {"type": "worker", "index": index}
            config = json.dumps({"cluster": {"worker": addresses}, "task": task})
            workers.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, "TF_CONFIG": config, "PYTHONUNBUFFERED": "1"},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # so that Ctrl-C comes once, from here
                )
            )
        code = _wait(workers)
    return CommandResult({"workers": len(workers), "exit_code": code}, "", code)


def free_ports(count: int) -> list[int]:
    """Returns ports of this machine that were free just now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _command(arguments: Sequence[str]) -> list[str]:
    first = arguments[0] if arguments else ""
    if first.endswith(".py"):
        return [sys.executable, *arguments]
    if first != "train":
        raise UsageError(
            "Type `kpg launch --workers 2 train ENV …`, or give instead a Python "
            f"file and its arguments. Received: {' '.join(arguments)!r}"
        )
    if not any(word.partition("=")[0] == "--strategy" for word in arguments):
        arguments = [*arguments, "--strategy", "multiworker"]
    return [sys.executable, "-m", "kpg", *arguments]


def _wait(workers: Sequence[subprocess.Popen[str]]) -> int:
    """Shows what the workers write until all have ended; returns the exit code.

    It is that of the first one that fails. The others then have a while to end.
    """
    lock = threading.Lock()
    readers = [
        threading.Thread(target=_show, args=(*pair, lock))
        for pair in enumerate(workers)
    ]
    for reader in readers:
        reader.start()
    code, last = 0, float("inf")
    while None in [worker.poll() for worker in workers]:
        failed = [worker.returncode for worker in workers if worker.returncode]
        if failed and not code:
            code, last = failed[0], time.monotonic() + _NOTICE
        if time.monotonic() > last:
            for worker in workers:
                worker.kill()
        time.sleep(0.05)
    for reader in readers:
        reader.join()
    code = code or next((w.returncode for w in workers if w.returncode), 0)
    return code if code >= 0 else 128 - code


def _show(index: int, worker: subprocess.Popen[str], lock: threading.Lock) -> None:
    if worker.stdout is not None:
        with worker.stdout as lines:
            for line in lines:
                with lock:  # `print` writes the end of a line by itself
                    print(f"[worker {index}] {line.rstrip()}", flush=True)


@contextlib.contextmanager
def _passing_on(workers: Sequence[subprocess.Popen[str]]) -> Iterator[None]:
    """Passes Ctrl-C and SIGTERM on to all workers, and kills them in the end."""

    def receive(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, receive) for n in numbers if main}
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)
