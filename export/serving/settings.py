"""What can be set on a server: the flags of TensorFlow Serving, and a few of its own.

Reference: tensorflow_serving/model_servers/{main.cc,server.h}. The class is at the same
time the keyword arguments of `Server` and, by the fields' help, the flags of
`kpg serve`. TensorFlow is not imported.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from dataclasses import dataclass, field
from typing import Any

from kpg import checks

# What this server adds has no counterpart in TensorFlow Serving.
OWN = frozenset({"host", "token_file", "access_log"})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


# Accepted, for scripts that set them, but without a meaning here; with it a server says
# so when it starts. Each with its default.
_MEANINGLESS: dict[str, object] = {
    "flush_filesystem_caches": True,
    "remove_unused_fields_from_bundle_metagraph": True,
    "num_unload_threads": 0,
    "skip_initialize_tpu": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
}
# What would make another server of this one, and cannot be had: default, and why.
_IMPOSSIBLE: dict[str, tuple[object, str]] = {
    "use_alts_credentials": (False, "gRPC for Python has no ALTS; use ssl_config_file"),
    "platform_config_file": ("", "there is no other platform than TensorFlow's"),
    "thread_pool_factory_config_file": ("", "thread pools are TensorFlow's own"),
    "mixed_precision": ("", "a model runs in the types that it was exported with"),
}

_logger = logging.getLogger(__name__)


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Names and defaults are those of TensorFlow Serving's flags, see `--help` there.

    `host`, `token_file` and `access_log` are additions. TensorFlow Serving listens on
    all interfaces; here that is `host="0.0.0.0"`.
    """

    port: int = _flag(8500, "port for gRPC; 0 for any free one, or with a socket none")
    host: str = _flag("127.0.0.1", "interface to listen on; 0.0.0.0 for all")
    grpc_socket_path: str = _flag("", "UNIX socket for gRPC as well")
    grpc_channel_arguments: str = _flag("", "for gRPC: name=value, joined by commas")
    grpc_max_threads: int = _flag(4 * _cores(), "gRPC requests processed at a time")
    rest_api_port: int = _flag(0, "port for REST; 0 for none")
    rest_api_num_threads: int = _flag(4 * _cores(), "REST requests processed at a time")
    rest_api_timeout_in_ms: int = _flag(30_000, "how long a REST request may take")
    rest_api_enable_cors_support: bool = _flag(False, "answer pages of other origins")
    model_name: str = _flag("default", "name that requests ask for")
    model_base_path: str = _flag("", "where the versions are, as DIR")
    model_config_file: str = _flag("", "models to serve: a ModelServerConfig, as text")
    model_config_file_poll_wait_seconds: int = _flag(
        0, "seconds between readings of it"
    )
    file_system_poll_wait_seconds: float = _flag(1.0, "between checks for versions")
    max_num_load_retries: int = _flag(5, "times that a failed load is tried again")
    load_retry_interval_micros: int = _flag(60_000_000, "microseconds between them")
    num_load_threads: int = _flag(0, "models that load at a time; 0 for one")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "let new labels name versions that are not loaded"
    )
    enable_model_warmup: bool = _flag(True, "replay a version's warm-up requests")
    num_request_iterations_for_warmup: int = _flag(0, "times each; 0 for once")
    saved_model_tags: str = _flag("serve", "tags of the meta graph, joined by commas")
    enable_batching: bool = _flag(False, "run requests together")
    batching_parameters_file: str = _flag("", "how: BatchingParameters, as text")
    enable_per_model_batching_parameters: bool = _flag(
        False, "read batching_params.pbtxt beside each SavedModel"
    )
    tensorflow_session_parallelism: int = _flag(0, "threads of a session; 0 for auto")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads inside an operation")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations that run at a time")
    tensorflow_session_config_file: str = _flag("", "a ConfigProto, as text")
    per_process_gpu_memory_fraction: float = _flag(0.0, "of the GPU's; 0 for auto")
    monitoring_config_file: str = _flag("", "metrics: a MonitoringConfig, as text")
    ssl_config_file: str = _flag("", "TLS for gRPC: an SSLConfig, as text")
    enable_grpc_healthcheck_service: bool = _flag(True, "answer grpc.health.v1")
    enable_signature_method_name_check: bool = _flag(False, "of signatures")
    enable_serialization_as_tensor_content: bool = _flag(False, "answer in bytes")
    prefer_tflite_model: bool = _flag(False, "load model.tflite where there is one")
    num_tflite_pools: int = _flag(_cores(), "pools of its interpreters")
    num_tflite_interpreters_per_pool: int = _flag(1, "interpreters in each")
    token_file: str = _flag("", "file with a token that requests must bring")
    access_log: str = _flag("", "file for one JSON line a request; - for stderr")
    flush_filesystem_caches: bool = _flag(True, "no meaning here")
    remove_unused_fields_from_bundle_metagraph: bool = _flag(True, "no meaning here")
    num_unload_threads: int = _flag(0, "no meaning here: unloading never blocks")
    enable_profiler: bool = _flag(True, "there is none here, whatever this says")
    skip_initialize_tpu: bool = _flag(False, "no meaning here")
    xla_cpu_compilation_enabled: bool = _flag(False, "no meaning here: always on")
    xla_gpu_compilation_enabled: bool = _flag(False, "no meaning here: always on")
    use_alts_credentials: bool = _flag(False, "not possible here")
    platform_config_file: str = _flag("", "not possible here")
    thread_pool_factory_config_file: str = _flag("", "not possible here")
    mixed_precision: str = _flag("", "not possible here")

    def __post_init__(self) -> None:
        """Checks the values, alone and against each other."""
        for name in ("port", "rest_api_port"):
            if not 0 <= getattr(self, name) <= 65535:
                wanted = "must be in 0 … 65535; 0 picks a free one"
                checks.refuse(name, wanted, getattr(self, name))
        if not self.model_name:
            checks.refuse("model_name", "must not be empty", self.model_name)
        for name in ("grpc_max_threads", "rest_api_num_threads"):
            checks.whole_number(name, getattr(self, name))
        checks.number(
            "file_system_poll_wait_seconds", self.file_system_poll_wait_seconds, 0.0
        )
        if self.rest_api_port and self.rest_api_port == self.port:
            wanted = "must differ from `port`; gRPC and REST have a port each"
            checks.refuse("rest_api_port", wanted, self.rest_api_port)
        if self.batching_parameters_file and not self.enable_batching:
            wanted = "needs `enable_batching`; set that, too"
            checks.refuse(
                "batching_parameters_file", wanted, self.batching_parameters_file
            )
        if self.tensorflow_session_parallelism and (
            self.tensorflow_intra_op_parallelism or self.tensorflow_inter_op_parallelism
        ):
            wanted = "must be 0 beside the intra- and inter-op parallelism; set either"
            checks.refuse(
                "tensorflow_session_parallelism",
                wanted,
                self.tensorflow_session_parallelism,
            )
        for name, (default, why) in _IMPOSSIBLE.items():
            if getattr(self, name) != default:
                checks.refuse(name, f"must be {default!r}: {why}", getattr(self, name))

    def say_what_is_meaningless(self) -> None:
        """Warns of what was set to no effect."""
        for name, default in _MEANINGLESS.items():
            if getattr(self, name) != default:
                _logger.warning("%s has no meaning here and changes nothing", name)
        if self.monitoring_config_file and not self.rest_api_port:
            _logger.warning("There are no metrics without a rest_api_port")


def names() -> list[str]:
    """Returns the names of the settings, which are those of the flags."""
    return [one.name for one in dataclasses.fields(Settings)]
