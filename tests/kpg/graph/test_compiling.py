"""Functions as graphs, and what they know of XLA while they are built."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf

from kpg.graph.compiling import (
    building_for_device,
    building_for_xla,
    compiled,
    for_gpu,
    for_xla,
    traceable,
)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_graph_knows_whether_xla_compiles_it(jit_compile: bool) -> None:
    seen: list[bool] = []

    def double(number: tf.Tensor) -> tf.Tensor:
        """Twice as much."""
        seen.append(for_xla())
        return 2.0 * number

    function = compiled(double, jit_compile)
    assert [float(function(tf.constant(x))) for x in (1.0, 2.0)] == [2.0, 4.0]
    assert seen == [jit_compile]  # traced once
    assert not for_xla()
    assert function.python_function.__doc__ == "Twice as much."


def test_answers_are_restored_after_an_error() -> None:
    with pytest.raises(RuntimeError), building_for_xla():
        assert for_xla()
        with building_for_xla(False):
            assert not for_xla()
        raise RuntimeError
    assert not for_xla()


def test_objects_that_are_each_traced_once_are_no_retracing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubled:
        def run(self, number: tf.Tensor) -> tf.Tensor:
            return 2.0 * number

    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    caplog.set_level(logging.WARNING, tf.get_logger().name)
    for make in (traceable, lambda run: compiled(run, False)):
        for _ in range(11):
            assert float(make(Doubled().run)(tf.constant(1.0))) == 2.0
    assert not [record for record in caplog.records if "retracing" in record.message]
    for _ in range(11):
        tf.function(Doubled().run, autograph=False)(tf.constant(1.0))
    assert [record for record in caplog.records if "retracing" in record.message]


@pytest.mark.parametrize("xla", [True, False])
def test_only_xla_has_forms_for_a_gpu(xla: bool) -> None:
    with building_for_xla(xla):
        assert not for_gpu()  # there is none
        with building_for_device("GPU"):
            assert for_gpu() == xla
            with building_for_device("CPU"):
                assert not for_gpu()
        assert not for_gpu()
