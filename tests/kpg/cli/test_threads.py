from __future__ import annotations

from pathlib import Path

import pytest

from kpg.cli import flags, setting_flags, threads
from kpg.cli.runs import Run, write_json

VARIABLES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def wanted(*arguments: str, found: Run | None = None) -> int | None:
    options = flags.parser().parse_args(["train", *arguments])
    return threads.wanted(options, found, setting_flags.settings_of(options))


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["CartPole-v1"], 1),
        (["Pendulum-v1", "--hidden-units", "32,64"], 1),
        (["CartPole-v1", "--algorithm", "REINFORCE"], 1),
        # What was not measured is left to TensorFlow.
        (["CartPole-v1", "--hidden-units", "256,64"], None),
        (["CartPole-v1", "--memory", "lstm"], None),
        (["CartPole-v1", "--strategy", "mirrored"], None),
        (["FrozenLake-v1"], None),
        (["text:letters"], None),
        (["CartPole-v1", "--threads", "3"], 3),
        (["FrozenLake-v1", "--threads", "1"], 1),
    ],
)
def test_small_networks_get_one_thread(
    arguments: list[str], number: int | None
) -> None:
    assert wanted(*arguments) == number


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_goes_before_the_rule_and_a_flag_before_both(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "2")
    assert wanted("CartPole-v1") is None
    assert wanted("CartPole-v1", "--threads", "3") == 3


@pytest.mark.parametrize(("widths", "number"), [([64, 64], 1), ([65], None)])
def test_a_run_that_goes_on_has_its_own_networks(
    tmp_path: Path, widths: list[int], number: int | None
) -> None:
    preset = {"policy": {"hidden_units": widths}}
    run = Run(tmp_path)
    write_json(run.settings_file, {"env": "CartPole-v1", "preset": preset})
    assert wanted("--resume", found=run) == number
