"""From a version's directory to something that answers: session, warm-up, batches."""

from __future__ import annotations

import os
import time
from pathlib import Path

from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2

from kpg.export.loading import warmup
from kpg.export.loading.call import Turns
from kpg.export.loading.servable import Loaded, Loading, Servable
from kpg.export.serving import configuration
from kpg.export.serving.batching import Batcher
from kpg.export.serving.metrics import Metrics
from kpg.export.serving.scheduling import Scheduler
from kpg.export.serving.settings import Settings
from kpg.export.wire.errors import ServingError, invalid, one_line

PER_MODEL = "batching_params.pbtxt"


class Loader:
    """Loads versions as the settings of a server want it."""

    def __init__(self, settings: Settings, found: Metrics) -> None:
        """Reads the files that settings name; `found` learns how long warm-ups take."""
        self._settings, self._metrics = settings, found
        cores = os.cpu_count() or 1
        self._loading = Loading(
            tags=tuple(settings.saved_model_tags.split(",")),
            config=session_config(settings),
            turns=Turns(cores),
            checks_method_names=settings.enable_signature_method_name_check,
        )
        self._cores = cores
        self._batching = self._scheduler = None
        if settings.enable_batching:
            path = settings.batching_parameters_file
            self._batching = configuration.batching(path, cores)
            self._scheduler = Scheduler(self._batching.num_batch_threads)

    def load(self, path: Path) -> Loaded:
        """Makes a version ready for requests, of which the warm-up sends the first."""
        servable = self._loaded(path)
        try:
            asked = self._batched(servable, path)
            if self._settings.enable_model_warmup:
                self._warm_up(asked)
            return asked
        except BaseException:
            servable.close()
            raise

    def close(self) -> None:
        """Ends the threads. No request may still be running."""
        if self._scheduler is not None:
            self._scheduler.close()

    def _loaded(self, path: Path) -> Loaded:
        chosen = self._settings
        if not (chosen.prefer_tflite_model and (path / "model.tflite").is_file()):
            return Servable(path, self._loading)
        # TensorFlow warns of its interpreter as soon as the module is imported.
        from kpg.export.loading.lite import LiteServable

        number = chosen.num_tflite_pools * chosen.num_tflite_interpreters_per_pool
        return LiteServable(path, self._loading, number)

    def _warm_up(self, servable: Loaded) -> None:
        started, code = time.perf_counter(), "OK"
        times = max(self._settings.num_request_iterations_for_warmup, 1)
        try:
            warmup.replay(servable, times)
        except ServingError as error:
            code = error.code
            raise
        finally:
            took = time.perf_counter() - started
            self._metrics.warmed_up(servable.path, code, took)

    def _batched(self, servable: Loaded, path: Path) -> Loaded:
        batching = self._batching
        if self._settings.enable_per_model_batching_parameters:
            file = path / PER_MODEL
            batching = None
            if file.is_file():
                batching = configuration.batching(str(file), self._cores)
        if batching is None or self._scheduler is None:
            return servable
        return Batcher(servable, batching, self._scheduler)


def session_config(settings: Settings) -> config_pb2.ConfigProto:
    """Returns TensorFlow's options of a session."""
    config = config_pb2.ConfigProto()
    if path := settings.tensorflow_session_config_file:
        try:
            text_format.Parse(Path(path).read_text(encoding="utf-8"), config)
        except (OSError, ValueError, text_format.ParseError) as error:
            raise invalid(
                "Error parsing text-format tensorflow.ConfigProto: "
                f"{one_line(error)}. Received: {path}"
            ) from error
    fraction = settings.per_process_gpu_memory_fraction
    config.gpu_options.per_process_gpu_memory_fraction = fraction
    both = settings.tensorflow_session_parallelism
    intra = settings.tensorflow_intra_op_parallelism or both
    inter = settings.tensorflow_inter_op_parallelism or both
    config.intra_op_parallelism_threads = intra
    config.inter_op_parallelism_threads = inter
    return config
