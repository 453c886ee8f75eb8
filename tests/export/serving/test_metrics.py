"""The page that Prometheus reads, read by its own library."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import parser

from kpg.export.serving import metrics


def families(page: str) -> dict[str, Any]:
    return {one.name: one for one in parser.text_string_to_metric_families(page)}


def test_an_empty_page() -> None:
    assert metrics.Metrics().page() == "\n"


def test_a_counter() -> None:
    made = metrics.Metrics()
    made.count("m", "OK")
    made.count("m", "OK")
    made.count("n", "NOT_FOUND")
    assert made.page() == (
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="m",status="OK"} 2\n'
        ':tensorflow:serving:request_count{model_name="n",status="NOT_FOUND"} 1\n'
    )
    assert made.value(metrics.COUNT) == 2
    assert made.value("/another") == 0


def test_a_histogram() -> None:
    made = metrics.Metrics()
    labels = ("m", "Predict", "GRPC")
    for seconds in (5e-6, 15e-6, 1e9):
        made.observe(metrics.REQUEST_LATENCY, labels, seconds)
    family = families(made.page())[":tensorflow:serving:request_latency"]
    assert family.type == "histogram"
    buckets = [one for one in family.samples if one.name.endswith("_bucket")]
    assert len(buckets) == 34
    limits = [one.labels["le"] for one in buckets]
    assert limits[:3] == ["10", "18", "32.4"] and limits[-1] == "+Inf"
    assert [one.value for one in buckets[:2]] == [1, 2]
    assert [one.value for one in buckets[-2:]] == [2, 3]
    values = {one.name.rpartition("_")[2]: one.value for one in family.samples}
    assert values["count"] == 3
    assert values["sum"] == pytest.approx(1e15)
    assert buckets[0].labels["entrypoint"] == "GRPC"


def test_names_with_what_the_format_uses_itself() -> None:
    made = metrics.Metrics()
    name = 'a"b\\c\nd'
    made.count(name, "OK")
    (sample,) = families(made.page())[":tensorflow:serving:request_count"].samples
    assert sample.labels["model_name"] == name
