"""Counts and latencies, on a page that Prometheus reads, named as TensorFlow Serving's.

The library `prometheus_client` cannot write them: it ends the name of every counter in
`_total`, which TensorFlow Serving's names do not have.
Reference: util/prometheus_exporter.cc and servables/tensorflow/util.cc in
tensorflow_serving.
"""

from __future__ import annotations

import bisect
import threading

COUNT = "/tensorflow/serving/request_count"
REQUEST_LATENCY = "/tensorflow/serving/request_latency"
RUNTIME_LATENCY = "/tensorflow/serving/runtime_latency"
WARMUP_LATENCY = "/tensorflow/serving/model_warmup_latency"

_LABELS = {
    COUNT: ("model_name", "status"),
    REQUEST_LATENCY: ("model_name", "API", "entrypoint"),
    RUNTIME_LATENCY: ("model_name", "API", "runtime"),
    WARMUP_LATENCY: ("model_path", "status"),
}
_BOUNDS = [10.0 * 1.8**power for power in range(33)]  # microseconds


class Metrics:
    """What has happened since the start of a server. Any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], int] = {}
        self._times: dict[str, dict[tuple[str, ...], tuple[list[int], list[float]]]]
        self._times = {name: {} for name in _LABELS if name != COUNT}

    def answered(
        self,
        model: str,
        method: str,
        interface: str,
        status: str,
        seconds: float,
        runtime: float,
    ) -> None:
        """Adds a request: how long it took, and how long of that in TensorFlow."""
        with self._lock:
            key = model, status
            self._counts[key] = self._counts.get(key, 0) + 1
            if status != "OK":
                return
            self._add(REQUEST_LATENCY, (model, method, interface), seconds)
            if runtime:
                self._add(RUNTIME_LATENCY, (model, method, "TF1"), runtime)

    def warmed_up(self, path: str, status: str, seconds: float) -> None:
        """Adds the warm-up of the version at a path."""
        with self._lock:
            self._add(WARMUP_LATENCY, (path, status), seconds)

    def _add(self, name: str, labels: tuple[str, ...], seconds: float) -> None:
        found = self._times[name].get(labels)
        if found is None:
            found = self._times[name][labels] = [0] * (len(_BOUNDS) + 1), [0.0]
        buckets, total = found
        value = 1e6 * seconds
        buckets[bisect.bisect_right(_BOUNDS, value)] += 1
        total[0] += value

    def value(self, name: str) -> int:
        """Returns a counter's first value, 0 if there is none: see ReloadConfig."""
        with self._lock:
            return next(iter(self._counts.values()), 0) if name == COUNT else 0

    def page(self) -> str:
        """Returns all of it in Prometheus's text format."""
        lines = []
        with self._lock:
            if self._counts:
                lines.append(f"# TYPE {_name(COUNT)} counter")
            for labels, number in self._counts.items():
                lines.append(f"{_name(COUNT)}{{{_pairs(COUNT, labels)}}} {number}")
            for name, times in self._times.items():
                if times:
                    lines.append(f"# TYPE {_name(name)} histogram")
                for labels, (buckets, total) in times.items():
                    lines += _histogram(name, labels, buckets, total[0])
        return "\n".join(lines) + "\n"


def _histogram(
    name: str, labels: tuple[str, ...], buckets: list[int], total: float
) -> list[str]:
    pairs, start = _pairs(name, labels), _name(name)
    lines, count = [], 0
    for bound, number in zip([*_BOUNDS, float("inf")], buckets, strict=True):
        count += number
        limit = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f'{start}_bucket{{{pairs},le="{limit}"}} {count}')
    lines.append(f"{start}_sum{{{pairs}}} {total}")
    lines.append(f"{start}_count{{{pairs}}} {count}")
    return lines


def _name(name: str) -> str:
    return name.replace("/", ":")


def _pairs(name: str, labels: tuple[str, ...]) -> str:
    return ",".join(
        f'{key}="{_escaped(value)}"'
        for key, value in zip(_LABELS[name], labels, strict=True)
    )


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
