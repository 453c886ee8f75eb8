"""What is said to a server, and in how many requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.export import Client, ServingError
from tests.echo_server import Echo


def test_a_batch_is_sent_in_parts_and_comes_back_whole() -> None:
    echo, rows = Echo(), np.arange(22.0).reshape(11, 2)
    with echo.running() as address, Client(address, batch_size=4) as client:
        np.testing.assert_array_equal(client.predict(rows)["y"], 2.0 * rows)
        sizes = [len(tf.make_ndarray(one.inputs["x"])) for one in echo.requests]
        assert sorted(sizes) == [3, 4, 4]
        assert client.predict(rows[0])["y"].tolist() == [0.0, 2.0]
        assert client.predict(np.zeros((0, 2)))["y"].shape == (0, 2)


def test_a_part_that_fails_fails_the_batch() -> None:
    import grpc

    echo = Echo()
    echo.failures = [grpc.StatusCode.INTERNAL]
    with echo.running() as address, Client(address, batch_size=1) as client:
        with pytest.raises(ServingError, match="as told"):
            client.predict(np.ones((3, 2)))
        echo.failures = [grpc.StatusCode.UNAVAILABLE]
        assert client.predict(np.ones((3, 2)))["y"].tolist() == [[2.0, 2.0]] * 3


def test_versions_have_numbers_and_labels() -> None:
    echo = Echo()
    with echo.running() as address, Client(address, model_name="m") as client:
        for version in (None, 7, "stable"):
            client.predict([[1.0, 2.0]], version=version)
    newest, number, label = (one.model_spec for one in echo.requests)
    assert {one.name for one in (newest, number, label)} == {"m"}
    assert newest.WhichOneof("version_choice") is None
    assert number.version.value == 7 and label.version_label == "stable"


def test_signatures_are_asked_for_once_per_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    echo = Echo()
    asked: list[Any] = []
    original = echo.GetModelMetadata

    def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(echo, "GetModelMetadata", counted)
    with echo.running() as address, Client(address) as client:
        for version in (None, 1, None, 1):
            client.predict([[1.0, 2.0]], version=version)
    assert len(asked) == 2


def test_a_batch_size_that_holds_nothing() -> None:
    with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
        Client(batch_size=0)
