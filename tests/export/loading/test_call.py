"""Deadlines, and how many computations run at a time."""

from __future__ import annotations

import threading
import time

import pytest

from kpg.export import ServingError
from kpg.export.loading.call import Call, Later, Turns


def test_the_time_that_is_left() -> None:
    assert Call().remaining() is None
    left = Call(5.0).remaining()
    assert left is not None and 4.0 < left <= 5.0
    with pytest.raises(ServingError, match="Timed out") as caught:
        Call(0.0).remaining()
    assert caught.value.code == "DEADLINE_EXCEEDED"


def test_no_more_run_than_there_are_turns() -> None:
    turns, running, most = Turns(2), set[int](), []

    def work(number: int) -> None:
        turns.take(Call(), 0.0)
        running.add(number)
        most.append(len(running))
        time.sleep(0.01)
        running.remove(number)
        turns.give_back()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8 and max(most) == 2


def test_who_would_be_late_gets_no_turn() -> None:
    turns = Turns(1)
    turns.take(Call(0.1), 1000.0)  # nobody is before it: it may be quicker than that
    with pytest.raises(ServingError, match="Timed out"):
        turns.take(Call(0.05), 0.0)
    threading.Timer(0.05, turns.give_back).start()
    with pytest.raises(ServingError, match="Timed out"):
        turns.take(Call(5.0), 1000.0)
    turns.take(Call(0.0), 0.0)  # it left the turn to the next


def test_who_must_not_wait_is_told_to_come_later() -> None:
    turns, call = Turns(1), Call(may_wait=False)
    turns.take(call, 0.0)
    with pytest.raises(Later):
        turns.take(call, 0.0)
    turns.give_back()
    turns.take(call, 0.0)
