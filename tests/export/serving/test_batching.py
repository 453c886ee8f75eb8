"""Requests that run together, on a version that notes what it is asked."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2

from kpg.export import ServingError
from kpg.export.loading.call import Call, Later, Parked
from kpg.export.serving.batching import Batcher
from kpg.export.serving.configuration import Batching
from kpg.export.serving.scheduling import Scheduler


def signature(*inputs: str, rows: int = -1) -> Any:
    made = meta_graph_pb2.SignatureDef()
    for name in inputs:
        made.inputs[name].tensor_shape.dim.add(size=rows)
    made.outputs["y"].tensor_shape.dim.add(size=-1)
    return made


class Doubling:
    """Doubles `x`, and waits while the gate is closed."""

    path = ""
    checks_method_names = False
    plans: Any = {}

    def __init__(self) -> None:
        self.signatures = {
            "one": signature("x"),
            "two": signature("x", "z"),
            "seeded": signature("x", rows=2),
        }
        self.batches: list[list[int]] = []
        self.started: list[int] = []
        self.pause = 0.0
        self.gate = threading.Event()
        self.gate.set()

    def run(self, name: str, inputs: Any, outputs: Any, call: Any) -> Any:
        if outputs == ["slow"] and not call.may_wait:
            raise Later
        self.started.append(len(inputs["x"]))
        self.gate.wait(20)
        time.sleep(self.pause)
        self.batches.append(list(inputs["x"].shape))
        if outputs == ["scalar"]:
            return {"scalar": np.float32(1.0)}
        if outputs == ["short"]:
            return {"short": inputs["x"][:1]}
        if outputs == ["fault"]:
            raise KeyError("a fault")
        return {"y": 2 * inputs["x"]}

    def run_tensors(self, feeds: Any, fetches: Any, call: Any) -> Any:
        return [feeds["x"]]

    def close(self) -> None:
        self.gate.clear()


class Asked:
    """Threads that ask, and what they are told."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.answers: dict[int, Any] = {}
        self.threads: list[threading.Thread] = []

    def ask(self, x: Any, name: str = "one", **more: Any) -> None:
        number = len(self.threads)

        def work() -> None:
            inputs = {"x": np.asarray(x, np.float32)}
            call = Call(more.get("timeout"))
            try:
                got = self.batcher.run(name, inputs, more.get("outputs"), call)
                self.answers[number] = next(iter(got.values())).tolist()
            except ServingError as error:
                self.answers[number] = error

        thread = threading.Thread(target=work)
        self.threads.append(thread)
        thread.start()
        time.sleep(0.02)  # so that they arrive in this order

    def wait(self) -> list[Any]:
        for thread in self.threads:
            thread.join(20)
        return [self.answers[number] for number in range(len(self.threads))]


@pytest.fixture
def model() -> Doubling:
    return Doubling()


@pytest.fixture
def make(model: Doubling) -> Iterator[Any]:
    """Makes what asks a model in batches; one runs at a time."""
    schedulers = []

    def made(threads: int = 1, **settings: Any) -> Asked:
        served: Any = model
        settings.setdefault("max_execution_batch_size", settings["max_batch_size"])
        schedulers.append(Scheduler(threads))
        return Asked(Batcher(served, Batching(**settings), schedulers[-1]))

    yield made
    model.gate.set()
    for scheduler in schedulers:
        scheduler.close()


def test_who_comes_alone_is_run_at_once(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=4)
    asked.ask([1.0])
    assert asked.wait() == [[2.0]]
    assert model.batches == [[1]]


def test_who_waits_is_run_together(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=4)
    model.gate.clear()
    for x in ([0.0], [1.0, 2.0], [3.0], [4.0], [5.0, 6.0]):
        asked.ask(x)
    model.gate.set()
    assert asked.wait() == [[0.0], [2.0, 4.0], [6.0], [8.0], [10.0, 12.0]]
    assert model.batches == [[1], [4], [2]]


def test_a_small_batch_waits_for_a_larger_one_but_not_for_long(
    make: Any, model: Doubling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpg.export.serving.scheduling._MOST_PATIENCE", 60.0)
    asked = make(threads=2, max_batch_size=8)
    model.pause = 0.3
    asked.ask([0.0])  # so that it is known how long they run
    asked.wait()
    model.started.clear()
    model.batches.clear()
    model.gate.clear()
    asked.ask([0.0, 0.0, 0.0])  # runs
    for x in ([1.0], [2.0]):
        asked.ask(x)
    time.sleep(0.1)
    assert len(model.started) == 1
    asked.ask([3.0])  # as many rows as those that run
    asked.ask([4.0, 5.0])
    time.sleep(0.1)
    assert len(model.started) == 2
    monkeypatch.setattr("kpg.export.serving.scheduling._MOST_PATIENCE", 0.05)
    model.pause = 0.0
    model.gate.set()
    assert asked.wait()[1:] == [[0.0] * 3, [2.0], [4.0], [6.0], [8.0, 10.0]]
    assert sorted(model.batches) == [[2], [3], [3]]
    model.gate.clear()
    asked.ask([0.0, 0.0])
    asked.ask([1.0])  # has waited long enough
    time.sleep(0.2)
    assert model.started[-2:] == [2, 1]


def test_a_batch_waits_to_become_full(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=3, batch_timeout=10.0)
    for x in ([1.0], [2.0], [3.0]):
        asked.ask(x)
    assert asked.wait() == [[2.0], [4.0], [6.0]]
    assert model.batches == [[3]]


def test_a_batch_waits_no_longer_than_that(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=100, batch_timeout=0.2)
    asked.ask([1.0])
    asked.ask([2.0])
    assert asked.wait() == [[2.0], [4.0]]
    assert model.batches == [[2]]


def test_batches_are_filled_up_to_an_allowed_size(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=4, allowed_batch_sizes=(2, 4))
    model.gate.clear()
    for x in ([0.0], [1.0, 2.0], [3.0]):
        asked.ask(x)
    model.gate.set()
    assert asked.wait() == [[0.0], [2.0, 4.0], [6.0]]
    assert model.batches == [[2], [4]]
    asked.ask([1.0, 2.0])  # fits as it is
    assert asked.wait()[-1] == [2.0, 4.0]
    assert model.batches[-1] == [2]


def test_a_large_request_is_split(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=5, max_execution_batch_size=2)
    asked.ask([1.0, 2.0, 3.0, 4.0, 5.0])
    assert asked.wait() == [[2.0, 4.0, 6.0, 8.0, 10.0]]
    assert model.batches == [[2], [2], [1]]


def test_a_request_that_is_too_large(make: Any) -> None:
    asked = make(max_batch_size=2)
    asked.ask([1.0, 2.0, 3.0])
    (error,) = asked.wait()
    assert error.message == "Task size 3 is larger than maximum input batch size 2"


def test_too_many_requests(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=1, max_enqueued_batches=2)
    model.gate.clear()
    for x in ([0.0], [1.0], [2.0], [3.0]):
        asked.ask(x)
    model.gate.set()
    *answers, error = asked.wait()
    assert answers == [[0.0], [2.0], [4.0]]
    assert error.code == "UNAVAILABLE" and "max_enqueued_batches is 2" in error.message


def test_rows_of_other_sizes_run_apart_or_are_padded(
    make: Any, model: Doubling
) -> None:
    def ask(**settings: Any) -> list[Any]:
        asked = make(max_batch_size=8, **settings)
        model.gate.clear()
        asked.ask([[0.0]])
        asked.ask([[1.0]])
        asked.ask([[2.0, 3.0]])
        model.gate.set()
        answers: list[Any] = asked.wait()
        return answers

    assert ask() == [[[0.0]], [[2.0]], [[4.0, 6.0]]]
    assert model.batches == [[1, 1], [1, 1], [1, 2]]
    model.batches.clear()
    # TensorFlow Serving pads with the first value, and gives the padding back.
    padded = ask(pad_variable_length_inputs=True)
    assert padded == [[[0.0]], [[2.0, 2.0]], [[4.0, 6.0]]]
    assert model.batches == [[1, 1], [2, 2]]


def test_signatures_and_outputs_are_batches_of_their_own(
    make: Any, model: Doubling
) -> None:
    asked = make(max_batch_size=8)
    model.gate.clear()
    asked.ask([0.0])
    asked.ask([1.0])
    asked.ask([2.0], outputs=["y"])
    asked.ask([3.0])
    model.gate.set()
    assert asked.wait() == [[0.0], [2.0], [4.0], [6.0]]
    assert model.batches == [[1], [2], [1]]


def test_what_cannot_be_batched_is_run_alone(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=1)
    asked.ask([1.0, 2.0], "seeded")
    asked.ask([])
    assert asked.wait() == [[2.0, 4.0], []]
    assert asked.batcher.run_tensors({"x": 3}, ["y"], Call()) == [3]


@pytest.mark.parametrize(
    ("z", "words"),
    [
        ([1.0, 2.0], "input tensors must have equal 0th-dimension size"),
        (1.0, "input tensors must have at least one dimension"),
    ],
)
def test_inputs_of_different_rows(make: Any, z: Any, words: str) -> None:
    inputs = {"x": np.ones(1), "z": np.asarray(z)}
    with pytest.raises(ServingError, match=words):
        make(max_batch_size=8).batcher.run("two", inputs)


def test_outputs_without_the_rows(make: Any) -> None:
    asked = make(max_batch_size=8)
    asked.ask([1.0, 2.0], outputs=["scalar"])
    asked.ask([1.0, 2.0], outputs=["short"])
    asked.ask([1.0, 2.0], outputs=["fault"])
    scalar, short, fault = asked.wait()
    assert scalar.code == short.code == "FAILED_PRECONDITION"
    assert scalar.message == "Batched output tensor has 0 dimensions"
    assert "does not equal the sum of the 0th dimension sizes" in short.message
    assert (fault.code, fault.message) == ("INTERNAL", "KeyError: 'a fault'")


def test_who_has_waited_too_long_is_left_out(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=8)
    model.gate.clear()
    asked.ask([0.0])
    asked.ask([1.0], timeout=0.1)
    asked.ask([2.0], timeout=20.0)
    asked.threads[1].join(20)
    model.gate.set()
    first, late, second = asked.wait()
    assert (first, second) == ([0.0], [4.0])
    assert late.code == "DEADLINE_EXCEEDED"
    assert model.batches == [[1], [1]]


def test_who_must_not_wait_is_run_at_once_or_told_to_come_later(
    make: Any, model: Doubling
) -> None:
    asked, inputs = (
        make(max_batch_size=8, max_execution_batch_size=2),
        {"x": np.ones(2)},
    )

    def run(outputs: Any = None, rows: int = 2) -> Any:
        hurried = Call(may_wait=False)
        return asked.batcher.run("one", {"x": np.ones(rows)}, outputs, hurried)

    assert run()["y"].tolist() == [2.0, 2.0]
    for outputs, rows in ((None, 3), (["slow"], 2)):
        with pytest.raises(Later):
            run(outputs, rows)
    model.gate.clear()
    asked.ask([1.0])
    with pytest.raises(Later):
        run()
    asked.ask([2.0])  # waits in a queue of its own
    model.gate.set()
    assert asked.wait() == [[2.0], [4.0]]
    assert asked.batcher.run("one", inputs)["y"].tolist() == [2.0, 2.0]


def test_who_is_parked_comes_back_for_the_outputs(make: Any, model: Doubling) -> None:
    asked = make(threads=1, max_batch_size=8)
    back: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def begin(x: Any, outputs: Any = None, timeout: float = 20.0) -> Call:
        call = Call(timeout, may_wait=False)
        call.resume = lambda: back.put(call)
        with pytest.raises(Parked):
            asked.batcher.run("one", {"x": np.asarray(x)}, outputs, call)
        return call

    slow = begin([0.0], ["slow"])  # found out in the thread that must not wait
    assert back.get(timeout=20) is slow
    model.gate.clear()
    asked.ask([1.0])
    calls = [begin([2.0]), begin([3.0, 4.0]), begin([5.0], ["fault"])]
    late = begin([6.0], timeout=0.01)
    time.sleep(0.05)
    model.gate.set()
    assert {back.get(timeout=20) for _ in range(4)} == {*calls, late}
    run = asked.batcher.run
    assert run("one", {}, None, calls[0])["y"].tolist() == [4.0]
    assert run("one", {}, None, calls[1])["y"].tolist() == [6.0, 8.0]
    for call, code in ((calls[2], "INTERNAL"), (late, "DEADLINE_EXCEEDED")):
        with pytest.raises(ServingError) as caught:
            run("one", {}, None, call)
        assert caught.value.code == code
    assert asked.wait() == [[2.0]]
    assert model.batches == [[1], [1], [3], [1]]


def test_inputs_in_any_order_run_together(make: Any, model: Doubling) -> None:
    asked = make(max_batch_size=8)
    x, z = np.ones(1), np.zeros(1)
    model.gate.clear()
    asked.ask([0.0])
    answers: list[Any] = []
    for inputs in ({"x": x, "z": z}, {"z": z, "x": x}):
        thread = threading.Thread(
            target=lambda sent: answers.append(asked.batcher.run("two", sent)),
            args=(inputs,),
        )
        asked.threads.append(thread)
        thread.start()
    time.sleep(0.05)
    model.gate.set()
    for thread in asked.threads:
        thread.join(20)
    assert [one["y"].tolist() for one in answers] == [[2.0], [2.0]]
    assert model.batches == [[1], [2]]
