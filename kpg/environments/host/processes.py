"""The processes of asynchronous environments: which of them crashed, or hangs."""

from __future__ import annotations

import functools
import signal
import time
import weakref
from collections.abc import Iterable
from typing import Any

from gymnasium.vector import AsyncVectorEnv, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from kpg import checks

# What the pipe to a process that is gone raises.
GONE = (EOFError, BrokenPipeError, ConnectionResetError)
# Seconds in which the system reports the end of a process whose pipe is closed.
_PATIENCE = 5.0


class Processes:
    """Watches the processes of an `AsyncVectorEnv`.

    What one raises is raised with its traceback, and so is the end of one, and a
    timeout, with the index of the copy. Then nothing can go on, and all are ended.

    Args:
        vector_env: The vector environment, without wrappers.
        name: What messages call it.
        timeout: Seconds that a `reset` or `step` of all copies may take; `None` waits
            without end.
    """

    def __init__(
        self, vector_env: AsyncVectorEnv, name: str, timeout: float | None
    ) -> None:
        self.vector_env = weakref.proxy(vector_env)  # its owner's to keep
        self.name = name
        watched: dict[str, Any] = vars(vector_env)
        watched["_raise_if_errors"] = self._raise_if_errors
        if timeout is not None:
            watched["_poll_pipe_envs"] = functools.partial(self._wait, timeout)

    def gone(self) -> RuntimeError:
        """Returns the error about a process that ended without a word."""
        limit, ended = time.monotonic() + _PATIENCE, ""
        processes = list(enumerate(self.vector_env.processes))
        while not ended and time.monotonic() < limit:
            for index, process in processes:
                if process.exitcode is not None:
                    ended = f"copy {index} ended with {_reason(process.exitcode)}"
            time.sleep(0.01)
        self._end()
        return RuntimeError(
            f"A process of {self.name} is gone, so that its copies cannot go on; make "
            "the environment anew. A process that ends without a traceback was killed, "
            "often for its memory, or crashed in native code, which `python -X "
            f"faulthandler` shows. Received: {ended or 'a closed pipe'}"
        )

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Takes the place of Gymnasium's method, which only logs the traceback."""
        failures = list(successes).count(False)
        if not failures:
            return
        queue = self.vector_env.error_queue
        index, _, error, trace = min(
            (queue.get() for _ in range(failures)), key=lambda failure: failure[0]
        )
        self._end()
        cause = error if isinstance(error, Exception) else None
        raise RuntimeError(
            f"Copy {index} of {self.name} raised {type(error).__name__}: {error}\n"
            f"In its process:\n{trace}"
        ) from cause

    def _wait(self, seconds: float, timeout: float | None = None) -> bool:
        """Takes the place of Gymnasium's method, which tells no index."""
        env = self.vector_env
        poll = AsyncVectorEnv._poll_pipe_envs
        if timeout is not None:
            return poll(env, timeout)
        if poll(env, seconds):
            return True
        pipes = enumerate(env.parent_pipes)
        late = [index for index, pipe in pipes if pipe and not pipe.poll(0)]
        self._end()
        raise TimeoutError(
            f"Copies of {self.name} did not answer within env_timeout={seconds:g} "
            "seconds; all processes were ended. Raise `env_timeout`, or mend what "
            f"hangs. Received: no answer of copies {late}"
        )

    def _end(self) -> None:
        """Kills all processes: some may not even react to a signal that asks."""
        for process in self.vector_env.processes:
            process.kill()
        self.vector_env._state = AsyncState.DEFAULT  # nothing is waited for
        self.vector_env.close(terminate=True)


NEEDS_PROCESSES = (
    "needs a `gymnasium.vector.AsyncVectorEnv`: nothing can end a step in this process "
    "(`SyncVectorEnv`), in EnvPool's threads or in the graph; omit it"
)


def watched(
    vector_env: VectorEnv[Any, Any, Any], name: str, timeout: float | None
) -> Processes | None:
    """Returns what watches the processes of a vector environment, if it has any."""
    inner = getattr(vector_env, "unwrapped", vector_env)
    if isinstance(inner, AsyncVectorEnv):
        if timeout is not None:
            checks.positive("env_timeout", timeout)
        return Processes(inner, name, timeout)
    if timeout is not None:
        checks.refuse("env_timeout", NEEDS_PROCESSES, timeout)
    return None


def _reason(code: int) -> str:
    """Says how a process ended."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
