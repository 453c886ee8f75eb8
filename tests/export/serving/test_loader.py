"""From a directory to what answers: sessions, warm-up, batches."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kpg.export import ServingError
from kpg.export.loading import warmup
from kpg.export.loading.servable import Servable
from kpg.export.serving import loader, metrics
from kpg.export.serving.batching import Batcher
from kpg.export.serving.loader import Loader
from kpg.export.serving.settings import Settings
from tests.served_models import publish

X = {"x": np.array([2.0], np.float32)}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("half"))


def loaded(path: Path, found: Any = None, **settings: Any) -> Any:
    made = Loader(Settings(**settings), found or metrics.Metrics())
    servable = made.load(path)
    assert servable.run("serving_default", X)["y"] == [3.0]
    servable.close()
    made.close()
    return servable


def test_a_plain_version(path: Path) -> None:
    assert isinstance(loaded(path), Servable)
    with pytest.raises(ServingError, match="training"):
        loaded(path, saved_model_tags="serve,training")


def test_batches(path: Path, tmp_path: Path) -> None:
    assert isinstance(loaded(path, enable_batching=True), Batcher)
    own = {"enable_batching": True, "enable_per_model_batching_parameters": True}
    assert isinstance(loaded(path, **own), Servable)
    (path / loader.PER_MODEL).write_text("max_batch_size { value: 2 }")
    batcher = loaded(path, **own)
    assert isinstance(batcher, Batcher)
    (path / loader.PER_MODEL).unlink()
    with pytest.raises(ServingError, match="larger than maximum input batch size 2"):
        batcher.run("serving_default", {"x": np.zeros(3, np.float32)})


def test_warm_up_is_timed_and_may_be_left_out(path: Path) -> None:
    warmup.write(path, "m", [("serving_default", X), ("zz", X)])
    found = metrics.Metrics()
    with pytest.raises(ServingError, match="zz"):
        loaded(path, found)
    assert f'model_path="{path}",status="FAILED_PRECONDITION"' in found.page()
    loaded(path, enable_model_warmup=False)
    warmup.write(path, "m", [("serving_default", X)])
    loaded(path, found, num_request_iterations_for_warmup=3)
    assert f'_count{{model_path="{path}",status="OK"}} 1' in found.page()
    (path / warmup.PATH).unlink()


def test_the_warm_up_waits_in_the_queue_of_batches(path: Path) -> None:
    one = {"x": np.zeros(1, np.float32)}
    warmup.write(path, "m", [("serving_default", one)])
    limits = "max_batch_size { value: 2 } batch_timeout_micros { value: 100000 }"
    (path / loader.PER_MODEL).write_text(limits)
    own = {"enable_batching": True, "enable_per_model_batching_parameters": True}
    found = metrics.Metrics()
    loaded(path, found, **own)
    (took,) = re.findall(r"warmup_latency_sum{.*} (.*)", found.page())
    assert float(took) > 1e5  # microseconds, that a batch waits to become full
    warmup.write(path, "m", [("serving_default", {"x": np.zeros(3, np.float32)})])
    with pytest.raises(ServingError, match="larger than maximum input batch size 2"):
        loaded(path, **own)
    (path / loader.PER_MODEL).unlink()
    (path / warmup.PATH).unlink()


def test_options_of_the_session(tmp_path: Path) -> None:
    made = loader.session_config(Settings(tensorflow_session_parallelism=3))
    assert (made.intra_op_parallelism_threads, made.inter_op_parallelism_threads) == (
        3,
        3,
    )
    (tmp_path / "config").write_text(
        "allow_soft_placement: true intra_op_parallelism_threads: 9"
    )
    path = str(tmp_path / "config")
    made = loader.session_config(
        Settings(
            tensorflow_session_config_file=path,
            tensorflow_intra_op_parallelism=2,
            tensorflow_inter_op_parallelism=1,
            per_process_gpu_memory_fraction=0.5,
        )
    )
    assert made.allow_soft_placement
    assert (made.intra_op_parallelism_threads, made.inter_op_parallelism_threads) == (
        2,
        1,
    )
    assert made.gpu_options.per_process_gpu_memory_fraction == 0.5
    (tmp_path / "config").write_text("no such thing")
    with pytest.raises(
        ServingError, match="parsing text-format tensorflow.ConfigProto"
    ):
        loader.session_config(Settings(tensorflow_session_config_file=path))
