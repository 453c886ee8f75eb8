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
    for model, status in (("m", "CANCELLED"), ("m", "CANCELLED"), ("n", "NOT_FOUND")):
        made.answered(model, "Predict", "GRPC", status, 1.0, 0.0)
    assert made.page() == (
        "# TYPE :tensorflow:serving:request_count counter\n"
        ':tensorflow:serving:request_count{model_name="m",status="CANCELLED"} 2\n'
        ':tensorflow:serving:request_count{model_name="n",status="NOT_FOUND"} 1\n'
    )
    assert made.value(metrics.COUNT) == 2
    assert made.value("/another") == 0


def test_a_histogram() -> None:
    made = metrics.Metrics()
    for seconds in (5e-6, 15e-6, 1e9):
        made.answered("m", "Predict", "GRPC", "OK", seconds, 0.0)
    made.answered("m", "Classify", "GRPC", "OK", 2.0, 0.5)
    made.warmed_up("/m/1", "OK", 1.0)
    found = families(made.page())
    assert found[":tensorflow:serving:runtime_latency"].samples[-1].labels == {
        "model_name": "m",
        "API": "Classify",
        "runtime": "TF1",
    }
    warmed = found[":tensorflow:serving:model_warmup_latency"].samples[-1]
    assert warmed.labels == {"model_path": "/m/1", "status": "OK"}
    family = found[":tensorflow:serving:request_latency"]
    family.samples = [one for one in family.samples if one.labels["API"] == "Predict"]
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
    made.answered(name, "Predict", "GRPC", "ABORTED", 1.0, 0.0)
    (sample,) = families(made.page())[":tensorflow:serving:request_count"].samples
    assert sample.labels["model_name"] == name
