"""Workers in threads of one process; `tests/test_workers.py` has real ones."""

from __future__ import annotations

import concurrent.futures
import math
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.trainers.running.agreement import (
    Agreement,
    ending,
    take_signal_back,
    watched,
)


class Threads:
    """A strategy whose workers are threads, and reduce by meeting at a barrier."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.met = threading.Barrier(count, timeout=20)
        self.given: dict[int, Any] = {}

    def of(self, worker: int) -> Any:
        """Returns the strategy as one worker has it."""
        return Worker(self, worker)


class Worker:
    def __init__(self, all_of_them: Threads, number: int) -> None:
        spec = tf.train.ClusterSpec({"worker": ["host:1"] * all_of_them.count})
        self.cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            spec, task_type="worker", task_id=number
        )
        self.num_replicas_in_sync = all_of_them.count
        self.them, self.number = all_of_them, number

    def run(self, function: Callable[..., Any], arguments: Any) -> Any:
        return function(*arguments)

    def reduce(self, how: str, value: Any, axis: None) -> Any:
        self.them.given[self.number] = value
        self.them.met.wait()
        total = tf.add_n([self.them.given[n] for n in range(self.them.count)])
        self.them.met.wait()
        return total


def together(act: Callable[[Agreement], Any], count: int = 3) -> list[Any]:
    """Returns what `act` returned or raised in each worker."""
    them = Threads(count)

    def one(worker: int) -> Any:
        try:
            return act(Agreement(them.of(worker), deadline=None))
        except RuntimeError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_numbers_are_added_up(one_by_one: None) -> None:
    def act(agreement: Agreement) -> Any:
        with agreement.meeting() as said:
            said += [agreement.worker, 1.0]
        return agreement.is_chief, said

    assert together(act) == [(True, [3.0, 3.0]), *[(False, [3.0, 3.0])] * 2]


def test_what_one_raises_all_raise(one_by_one: None) -> None:
    def act(agreement: Agreement) -> None:
        with agreement.meeting() as said:
            said.append(1.0)
            if agreement.worker == 1:
                raise RuntimeError("größer als ∞")

    first, second, third = together(act)
    assert str(second) == "größer als ∞"
    for other in (first, third):
        assert str(other).startswith("Worker 1 failed, so no worker goes on.")
        assert str(other).endswith("Received: RuntimeError: größer als ∞")


def test_the_chief_alone_makes_something(one_by_one: None) -> None:
    made: list[int] = []

    def act(agreement: Agreement) -> Any:
        def make() -> Any:
            made.append(agreement.worker)
            return {"é": math.nan, "x": np.float32(0.1), "n": 3, "c": 1e-300}

        return agreement.of_chief(make)

    results = together(act)
    assert made == [0]
    for got in results[1:]:
        assert math.isnan(got.pop("é"))
        assert got == {"x": float(np.float32(0.1)), "n": 3, "c": 1e-300}


def test_an_error_of_the_chief_is_told(one_by_one: None) -> None:
    def act(agreement: Agreement) -> Any:
        def make() -> Any:
            raise RuntimeError("no space left")

        return agreement.of_chief(make)

    own, other = together(act, 2)
    assert str(own) == "no space left" and "Worker 0 failed" in str(other)


@pytest.mark.parametrize(
    "strategy", ["default", "mirrored"], ids=["default", "mirrored"]
)
def test_alone_nothing_is_agreed_on(strategy: str) -> None:
    own = tf.distribute.get_strategy()
    if strategy == "mirrored":
        own = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    agreement, thing = Agreement(own), object()
    assert agreement.is_chief and agreement.workers == 1
    with agreement.meeting() as said, agreement.learning(1):
        said += [2.0] * 50
    assert said == [2.0] * 50
    assert agreement.of_chief(lambda: thing) is thing
    with pytest.raises(KeyError, match="mine"), agreement.meeting():
        raise KeyError("mine")
    assert not [t for t in threading.enumerate() if "watch" in t.name]


def aborted(words: str) -> Exception:
    """Returns what TensorFlow raises of a collective that ended."""
    said = f"Graph execution error:\n\nCollective ops is aborted by: {words}\nRestart"
    error: Exception = tf.errors.UnavailableError(None, None, said)
    return error


def test_a_worker_that_is_gone_is_told_in_words() -> None:
    gone = "Error reported from /job:worker/task:1: stopped sending heartbeats"
    with pytest.raises(RuntimeError, match=r"^Worker 1 ended.*heartbeats$"):
        with watched(9.0):
            raise aborted(gone)
    with pytest.raises(RuntimeError, match=r"^Another worker ended.*Deadline$"):
        with watched(None):
            raise aborted("Deadline")


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"), watched(9.0):
        raise tf.errors.InvalidArgumentError(None, None, "shape")


def test_python_handles_sigterm_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    take_signal_back()
    assert signal.getsignal(signal.SIGTERM) is before


def test_nothing_is_left_of_what_did_not_take_too_long() -> None:
    """`tests/test_workers.py` has what does."""
    for seconds in (0.2, None):
        with pytest.raises(KeyError, match="mine"), ending(seconds):
            raise KeyError("mine")
    time.sleep(0.3)  # and this process is still here
