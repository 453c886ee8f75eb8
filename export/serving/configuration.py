"""The files that flags name: models, metrics, TLS and batches, all as text protos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kpg import checks
from kpg.export.wire import messages
from kpg.export.wire.errors import ServingError, invalid, one_line
from kpg.export.wire.tensors import Message

# Their protos are in tensorflow_serving/{config,servables/tensorflow}, but not in the
# package tensorflow-serving-api.
_MESSAGES = messages.classes(
    "tensorflow.serving",
    {
        "PrometheusConfig": "bool enable = 1, string path = 2",
        "MonitoringConfig": "PrometheusConfig prometheus_config = 1",
        "SSLConfig": "string server_key = 1, string server_cert = 2, "
        "string custom_ca = 3, bool client_verify = 4",
        "Int64Value": "int64 value = 1",
        "BoolValue": "bool value = 1",
        "StringValue": "string value = 1",
        "BatchingParameters": "Int64Value max_batch_size = 1, "
        "Int64Value batch_timeout_micros = 2, Int64Value max_enqueued_batches = 3, "
        "Int64Value num_batch_threads = 4, StringValue thread_pool_name = 5, "
        "repeated int64 allowed_batch_sizes = 6, bool pad_variable_length_inputs = 7, "
        "BoolValue enable_large_batch_splitting = 8, "
        "Int64Value max_execution_batch_size = 9",
    },
)
PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
TENSORFLOW = "tensorflow"


@dataclass(frozen=True)
class Batching:
    """TensorFlow Serving's BatchingParameters.

    Attributes:
        max_batch_size: Rows of a request, and of a batch unless large ones are split.
        batch_timeout: Seconds that a batch waits to become full.
        max_enqueued_batches: Batches that may wait; more are refused.
        num_batch_threads: Batches that run at a time.
        allowed_batch_sizes: Ascending; batches are filled up to one. Empty for any.
        pad_variable_length_inputs: Whether rows of different sizes share a batch.
        max_execution_batch_size: Rows that run at a time; larger requests are split.
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = 1000

    def __post_init__(self) -> None:
        """Checks the sizes against each other."""
        checks.whole_number("max_batch_size", self.max_batch_size)
        checks.whole_number("num_batch_threads", self.num_batch_threads)
        checks.whole_number("max_enqueued_batches", self.max_enqueued_batches, 0)
        if self.max_execution_batch_size > self.max_batch_size:
            wanted = "must not be above max_batch_size"
            checks.refuse(
                "max_execution_batch_size", wanted, self.max_execution_batch_size
            )
        sizes = self.allowed_batch_sizes
        if any(low >= high for low, high in zip(sizes, sizes[1:], strict=False)):
            raise invalid(
                "allowed_batch_sizes entries must be monotonically increasing"
            )
        if sizes and sizes[-1] != self.max_execution_batch_size:
            what = "match max_batch_size"
            if self.max_execution_batch_size != self.max_batch_size:
                what = "be equal to max_execution_batch_size"
            raise invalid(
                f"Last entry in allowed_batch_sizes must {what}; last entry was "
                f"{sizes[-1]}; expected {self.max_execution_batch_size}"
            )


def models(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Reads a ModelServerConfig."""
    config = model_server_config_pb2.ModelServerConfig()
    _read(path, config)
    return config


def one_model(name: str, base_path: str) -> model_server_config_pb2.ModelServerConfig:
    """Returns the configuration that the flags for one model stand for."""
    made = model_server_config_pb2.ModelServerConfig()
    made.model_config_list.config.add(
        name=name, base_path=base_path, model_platform=TENSORFLOW
    )
    return made


def prometheus_path(path: str) -> str:
    """Returns where a MonitoringConfig wants the metrics; empty for nowhere."""
    sent = _MESSAGES["MonitoringConfig"]()
    _read(path, sent)
    config = sent.prometheus_config
    return str(config.path or PROMETHEUS_PATH) if config.enable else ""


def tls(path: str) -> Any:
    """Reads an SSLConfig: `server_key`, `server_cert`, `custom_ca`, `client_verify`."""
    config = _MESSAGES["SSLConfig"]()
    _read(path, config)
    return config


def batching(path: str, threads: int) -> Batching:
    """Reads BatchingParameters; an empty path stands for the defaults.

    Args:
        path: The file.
        threads: Batches that run at a time if the file does not say.
    """
    sent = _MESSAGES["BatchingParameters"]()
    if path:
        _read(path, sent)
    values: dict[str, Any] = {"num_batch_threads": threads}
    for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
        if sent.HasField(name):
            values[name] = getattr(sent, name).value
    rows = values.get("max_batch_size", Batching.max_batch_size)
    if sent.enable_large_batch_splitting.value:
        rows = sent.max_execution_batch_size.value or rows
    return Batching(
        **values,
        batch_timeout=sent.batch_timeout_micros.value * 1e-6,
        allowed_batch_sizes=tuple(sent.allowed_batch_sizes),
        pad_variable_length_inputs=sent.pad_variable_length_inputs,
        max_execution_batch_size=rows,
    )


def _read(path: str, message: Message) -> None:
    """Fills a message from its text in a file."""
    name = message.DESCRIPTOR.full_name
    try:
        text_format.Parse(Path(path).read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid(
            f"Error parsing text-format {name}: {one_line(error)}. Received: {path}"
        ) from error
    except OSError as error:
        raise ServingError(
            "NOT_FOUND", f"The file of a {name} must be readable: {error}"
        ) from error
