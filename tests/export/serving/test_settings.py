"""Settings: names, defaults and what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest

from kpg.export.serving import settings
from kpg.export.serving.settings import OWN, Settings


def test_defaults_are_those_of_tensorflow_serving() -> None:
    made = Settings()
    assert (made.port, made.rest_api_port, made.model_name) == (8500, 0, "default")
    assert (made.max_num_load_retries, made.load_retry_interval_micros) == (
        5,
        60_000_000,
    )
    assert (made.file_system_poll_wait_seconds, made.rest_api_timeout_in_ms) == (
        1,
        30_000,
    )
    assert made.model_config_file_poll_wait_seconds == 0
    assert made.host == "127.0.0.1"  # an addition, and the safe one
    assert set(settings.names()) >= OWN


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"port": -1}, "`port` must be in 0 … 65535"),
        ({"rest_api_port": 70_000}, "`rest_api_port` must be in 0 … 65535"),
        ({"grpc_max_threads": 0}, "`grpc_max_threads` must be a whole number"),
        ({"rest_api_num_threads": 0}, "`rest_api_num_threads` must be a whole number"),
        (
            {"tensorflow_session_parallelism": 1, "tensorflow_inter_op_parallelism": 1},
            "must be 0 beside the intra- and inter-op parallelism",
        ),
        ({"platform_config_file": "x"}, "no other platform"),
        ({"mixed_precision": "bfloat16"}, "runs in the types"),
        ({"thread_pool_factory_config_file": "x"}, "thread pools are TensorFlow's"),
    ],
)
def test_refusals(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Settings(**values)


def test_what_has_no_meaning_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Settings().say_what_is_meaningless()
        assert not caplog.records
        Settings(num_unload_threads=3).say_what_is_meaningless()
    assert [one.message for one in caplog.records] == [
        "num_unload_threads has no meaning here and changes nothing"
    ]


def test_tensorflow_is_not_needed() -> None:
    code = "import sys, kpg.export.serving.settings; print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"
