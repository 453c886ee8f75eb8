"""Files in text: what is read, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpg.export import ServingError
from kpg.export.serving import configuration
from kpg.export.serving.configuration import Batching


def written(path: Path, text: str) -> str:
    (path / "file").write_text(text)
    return str(path / "file")


def test_models(tmp_path: Path) -> None:
    text = """model_config_list: {
      config: { name: "m", base_path: "/m", model_platform: "tensorflow"
                model_version_policy { specific { versions: 3 } }
                version_labels { key: "stable" value: 3 } },
    }"""
    (one,) = configuration.models(written(tmp_path, text)).model_config_list.config
    assert (one.name, one.version_labels["stable"]) == ("m", 3)
    made = configuration.one_model("m", "/m").model_config_list.config[0]
    assert (made.name, made.base_path, made.model_platform) == ("m", "/m", "tensorflow")


@pytest.mark.parametrize(
    "text", ["improperly formatted file", "model_config_list {", "\x80"]
)
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_bytes(text.encode("latin-1"))
    name = "tensorflow.serving.ModelServerConfig"
    with pytest.raises(
        ServingError, match=f"Error parsing text-format {name}: "
    ) as caught:
        configuration.models(str(tmp_path / "file"))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="ModelServerConfig must be readable"):
        configuration.models(str(tmp_path / "nowhere"))


def test_monitoring(tmp_path: Path) -> None:
    def path(text: str) -> str:
        return configuration.prometheus_path(written(tmp_path, text))

    assert path("prometheus_config: { enable: true }") == configuration.PROMETHEUS_PATH
    assert path('prometheus_config { enable: true path: "/x" }') == "/x"
    assert path('prometheus_config { path: "/x" }') == path("") == ""


def test_tls(tmp_path: Path) -> None:
    found = configuration.tls(written(tmp_path, 'server_key: "k" client_verify: true'))
    assert (found.server_key, found.client_verify, found.custom_ca) == ("k", True, "")


def test_batching(tmp_path: Path) -> None:
    assert configuration.batching("", 3) == Batching(num_batch_threads=3)
    text = """max_batch_size { value: 128 }
    batch_timeout_micros { value: 500 } max_enqueued_batches { value: 7 }
    num_batch_threads { value: 8 } pad_variable_length_inputs: true
    allowed_batch_sizes: 32 allowed_batch_sizes: 128
    thread_pool_name { value: "x" }"""
    assert configuration.batching(written(tmp_path, text), 3) == Batching(
        128, 5e-4, 7, 8, (32, 128), True, 128
    )
    split = (
        "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 10 }"
    )
    found = configuration.batching(written(tmp_path, split), 1)
    assert (found.max_batch_size, found.max_execution_batch_size) == (100, 10)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((4, 2, 8), "allowed_batch_sizes entries must be monotonically increasing"),
        (
            (2, 4),
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry "
            "was 4; expected 8",
        ),
    ],
)
def test_sizes_of_batches(sizes: tuple[int, ...], words: str) -> None:
    with pytest.raises(ServingError, match=words):
        Batching(8, allowed_batch_sizes=sizes, max_execution_batch_size=8)


def test_numbers_of_batches() -> None:
    with pytest.raises(ValueError, match="`max_batch_size` must be a whole number"):
        Batching(0, max_execution_batch_size=0)
    with pytest.raises(ValueError, match="must not be above max_batch_size"):
        Batching(8, max_execution_batch_size=9)
    with pytest.raises(ServingError, match="must be equal to max_execution_batch_size"):
        Batching(8, allowed_batch_sizes=(2,), max_execution_batch_size=4)
