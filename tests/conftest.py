"""What every test runs under: quiet logs, and two logical CPUs."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("MPLBACKEND", "Agg")

import tensorflow as tf


def pytest_configure() -> None:
    """Splits the CPU in two while TensorFlow still allows it.

    MirroredStrategy then has two replicas on any machine.
    """
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)
