"""The flags of `kpg serve`, typed as for TensorFlow Serving."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from kpg.cli import flags, serving_flags
from kpg.export.serving.settings import Settings


def parsed(*arguments: str) -> argparse.Namespace:
    return flags.parser().parse_args(["serve", *arguments])


def test_every_setting_is_a_flag() -> None:
    options = parsed("m")
    assert options.directory == "m"
    for field in dataclasses.fields(Settings):
        assert getattr(options, field.name) == field.default
    assert serving_flags.settings_of(options) == {}
    assert serving_flags.typed_flags(options) == []


def test_flags_are_typed_as_for_tensorflow_serving() -> None:
    typed = [
        "--port=8500",
        "--rest_api_port=8501",
        "--model_base_path=/models/m",
        "--enable_batching=true",
        "--file_system_poll_wait_seconds=0.5",
        "--enable_model_warmup=false",
    ]
    options = parsed(*typed)
    assert options.directory is None
    assert serving_flags.settings_of(options) == {
        "rest_api_port": 8501,
        "model_base_path": "/models/m",
        "enable_batching": True,
        "file_system_poll_wait_seconds": 0.5,
        "enable_model_warmup": False,
    }
    assert set(serving_flags.typed_flags(options)) == set(typed) - {"--port=8500"}
    assert parsed("--enable_batching").enable_batching is True
    assert parsed("--rest_api_port", "8501").rest_api_port == 8501


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--enable_batching=maybe", "must be true or false, as in --flag=true"),
        ("--port=x", "must be a number. Received: 'x'"),
        ("--prot=1", "there is no flag --prot. Did you mean --port?"),
    ],
)
def test_what_is_no_flag(
    flag: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(flag)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--version")
    assert capsys.readouterr().out.startswith("kpg ")
