from __future__ import annotations

import contextlib
import fcntl
import io
import math
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from kpg.cli.recording import Progress, RunRecorder, StopOnSignal
from kpg.cli.runs import Run


class FakeTrainer(SimpleNamespace):
    """Has one weight, and saves that."""

    def __init__(self, **attributes: object) -> None:
        alone = SimpleNamespace(num_replicas_in_sync=1)
        super().__init__(distribute_strategy=alone, saved=0, **attributes)
        self.variables = [keras.Variable(0, dtype="int32"), keras.Variable(0.5)]
        self._programs = SimpleNamespace(at_base_rates=self.at_base_rates)

    @contextlib.contextmanager
    def at_base_rates(self) -> Iterator[None]:
        self.variables[1].assign(1.0)
        yield
        self.variables[1].assign(0.5)

    def optimized_variables(self) -> list[object]:
        return []

    def save(self, path: str) -> None:
        self.saved += 1
        self.rate = float(self.variables[1])
        Path(path).write_text(str(int(self.variables[0])))


class Terminal(io.TextIOWrapper):
    """One end of a pseudo-terminal that is some columns wide."""

    def __init__(self, columns: int) -> None:
        self.other, own = pty.openpty()
        super().__init__(open(own, "wb", buffering=0), "utf-8", write_through=True)
        self.resize(columns)

    def resize(self, columns: int) -> None:
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self.fileno(), termios.TIOCSWINSZ, size)

    def written(self) -> bytes:
        """What was written since it was last asked."""
        self.flush()
        text = b""
        while select.select([self.other], [], [], 0.1)[0]:
            text += os.read(self.other, 1 << 16)
        return text

    def lines(self) -> list[str]:
        """The same, without colours and moves of the cursor."""
        text = self.written().decode("utf-8")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
        return [line for line in plain.split("\n") if line.strip()]


@pytest.fixture(params=[80])
def terminal(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    # Neither the size of another stream nor a variable counts.
    monkeypatch.setenv("COLUMNS", "300")
    opened = Terminal(request.param)
    yield opened
    opened.close()
    os.close(opened.other)


def attach(callback: keras.callbacks.Callback, **attributes: object) -> FakeTrainer:
    trainer = FakeTrainer(stop_training=False, **attributes)
    callback.set_model(trainer)
    return trainer


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in which a fake trainer takes a second to be saved."""
    now, save = [0.0], FakeTrainer.save

    def slow(self: FakeTrainer, path: str) -> None:
        now[0] += 1.0
        save(self, path)

    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("kpg.cli.recording.time", clock)
    monkeypatch.setattr(FakeTrainer, "save", slow)
    return now


def test_the_best_model_is_kept(tmp_path: Path, seconds: list[float]) -> None:
    run = Run(tmp_path)
    recorder = RunRecorder(run)
    trainer = attach(recorder)
    validations = [-5.0, -3.0, -4.0, -3.0, -3.0, math.nan]
    for epoch, validation in enumerate(validations):
        trainer.variables[0].assign(epoch)
        recorder.on_epoch_end(epoch, {"val_return": validation})
        seconds[0] += 20.0
    recorder.on_epoch_end(6, {})
    assert [logs["epoch"] for logs in run.metrics()] == [1, 2, 3, 4, 5, 6, 7]
    # Saved at −5 and −3; of equals the last one, once training ends.
    assert run.best_file.read_text() == "1" and trainer.saved == 2
    recorder.on_train_end()
    assert run.best_file.read_text() == "4" and trainer.saved == 3
    assert trainer.rate == 1.0 and float(trainer.variables[1]) == 0.5
    assert recorder.best == -3.0 and int(trainer.variables[0]) == 5
    recorder.on_train_end()
    assert trainer.saved == 3


def test_to_save_takes_a_small_part_of_the_time(
    tmp_path: Path, seconds: list[float]
) -> None:
    recorder = RunRecorder(Run(tmp_path))
    trainer = attach(recorder)
    for epoch in range(100):
        trainer.variables[0].assign(epoch)
        recorder.on_epoch_end(epoch, {"val_return": float(epoch)})
        seconds[0] += 1.0
    assert trainer.saved == 5  # a second of every 21
    recorder.on_train_end()
    assert recorder.run.best_file.read_text() == "99" and trainer.saved == 6


@pytest.mark.usefixtures("seconds")
def test_a_checkpoint_has_the_last_of_equals_and_a_better_one_replaces_it(
    tmp_path: Path,
) -> None:
    recorder = RunRecorder(Run(tmp_path))
    trainer = attach(recorder)
    for epoch, validation in enumerate([1.0, 1.0]):
        trainer.variables[0].assign(epoch)
        recorder.on_epoch_end(epoch, {"val_return": validation})
    assert recorder.get_state()["best"] == 1.0
    assert recorder.run.best_file.read_text() == "1"
    for epoch, validation in enumerate([1.0, 2.0], 2):
        trainer.variables[0].assign(epoch)
        recorder.on_epoch_end(epoch, {"val_return": validation})
    recorder.on_train_end()
    assert recorder.run.best_file.read_text() == "3" and trainer.saved == 3


def test_a_run_that_goes_on_keeps_its_best_and_no_epoch_twice(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = RunRecorder(run)
    attach(first)
    first.on_epoch_begin(0)
    first.on_epoch_end(0, {"val_return": -5.0})
    run.append_completions([{"epoch": 1}])
    state = first.get_state()
    for epoch, validation in enumerate([-2.0, -3.0, math.nan], 1):
        first.on_epoch_end(epoch, {"val_return": validation})
    run.append_completions([{"epoch": 2}])
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 5, "val')
    half = tmp_path / f".{'0' * 32}-best.keras"
    half.touch()
    again = RunRecorder(run)
    trainer = attach(again)
    again.set_state(state)
    # The file is of an epoch after the checkpoint.
    assert again.best == -2.0
    again.on_epoch_begin(1)
    assert not half.exists()
    assert [logs["epoch"] for logs in run.metrics()] == [1]
    assert run.completions_file.read_text() == '{"epoch": 1}\n'
    again.on_epoch_end(1, {"val_return": -4.0})
    again.on_epoch_begin(2)
    assert [logs["epoch"] for logs in run.metrics()] == [1, 2]
    assert trainer.saved == 0
    # What a signal has cut is trained again.
    trainer.stop_training = True
    again.on_epoch_end(2, {"val_return": 9.0})
    assert (len(run.metrics()), again.best) == (2, -2.0)
    # Without a checkpoint everything begins anew.
    RunRecorder(run).on_epoch_begin(0)
    assert run.metrics() == [] and run.completions_file.read_text() == ""


def test_plain_progress_is_a_line_an_epoch() -> None:
    stream = io.StringIO()
    progress = Progress(1000, stream)
    attach(progress, env_steps=250)
    progress.on_train_begin()
    progress.on_train_batch_end(0)
    slow = {"steps_per_second": 2.0}
    progress.on_epoch_end(0, {"return": math.nan, "val_return": -3.25, **slow})
    progress.on_epoch_end(1, {"return": -9.0, "steps_per_second": 1234.0})
    progress.on_train_end()
    # The first epoch compiles: its speed is none.
    assert stream.getvalue().splitlines() == [
        "compiling …",
        "250/1,000 steps  validation -3.2",
        "250/1,000 steps  return -9.0  1,234 steps/s",
    ]


def test_a_terminal_that_can_do_nothing_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    progress = Progress(1000, terminal)
    attach(progress, env_steps=250)
    progress.on_train_begin()
    progress.on_epoch_end(0, {"return": 1.0})
    assert terminal.lines() == ["compiling …", "250/1,000 steps  return 1.0"]


def trained(progress: Progress, steps: int = 500) -> None:
    """Shows two epochs, of which the first compiles."""
    trainer = attach(progress, env_steps=0)
    progress.on_train_begin()
    logs = {"return": 480.0, "val_return": -200.0, "steps_per_second": 84_120.0}
    for epoch in range(2):
        trainer.env_steps += steps // 2
        progress.on_train_batch_end(0)
        progress.on_epoch_end(epoch, logs)


@pytest.mark.parametrize(
    ("terminal", "words"),
    [
        (120, "500/1,000 steps  return 480.0  validation -200.0  84,120 steps/s  0:00"),
        (80, "return 480.0  validation -200.0  84,120 steps/s  0:00 left"),
        (40, "validation -200.0  0:00 left"),
        (22, "0:00 left"),
        (9, "50%"),
    ],
    indirect=["terminal"],
)
def test_a_bar_leaves_out_what_has_no_room(terminal: Terminal, words: str) -> None:
    width = os.get_terminal_size(terminal.fileno()).columns
    progress = Progress(1000, terminal)
    trained(progress)
    progress.on_train_end()
    first, *_, last = terminal.lines()
    assert "compil" in first
    assert last.startswith("━") and "50%" in last and words in last
    assert len(last) <= width


def test_the_width_is_followed(terminal: Terminal) -> None:
    progress = Progress(1000, terminal)
    trained(progress)
    terminal.resize(30)
    progress.on_train_batch_end(1)
    terminal.lines()
    progress.on_train_end()
    assert max(map(len, terminal.lines())) <= 30


def test_time_that_is_left_follows_from_what_is_compiled(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    progress = Progress(1000, terminal)
    trainer = attach(progress, env_steps=100)  # of an earlier process
    progress.on_train_begin()
    for seconds, steps in ((1000.0, 200), (1010.0, 300)):
        now[0], trainer.env_steps = seconds, steps
        progress.on_train_batch_end(0)
    # A hundred steps in ten seconds; those of compiling do not count.
    progress.on_train_end()
    assert terminal.lines()[-1].endswith("30%  300/1,000 steps  1:10 left")


def test_a_training_that_broke_off_gives_the_terminal_back(terminal: Terminal) -> None:
    progress = Progress(1000, terminal)
    trained(progress)
    progress.close()
    written = terminal.written()
    assert written.count(b"\x1b[?25l") == written.count(b"\x1b[?25h") == 1
    assert written.endswith((b"\n", b"\x1b[?25h"))


def test_a_signal_stops_training() -> None:
    stop = StopOnSignal()
    trainer = attach(stop)
    before = signal.getsignal(signal.SIGINT)
    with stop.listening():
        stop.on_train_begin()
        assert not trainer.stop_training
        os.kill(os.getpid(), signal.SIGINT)
        stop.on_train_batch_end(0)
        assert trainer.stop_training
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert stop.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
