"""The `tf.distribute` strategies that trainers run under, and what is made in them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable

import keras
import tensorflow as tf

from kpg import checks
from kpg.trainers.running.agreement import DEADLINE, ending, take_signal_back

NAMES = ("mirrored", "multiworker")

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_REFUSED = {
    "ParameterServerStrategy": "its workers change weights at their own pace, while "
    "all replicas together learn from an iteration",
    "TPUStrategy": "nobody could try it so far",
}


def make_strategy(
    name: str, deadline: float | None = DEADLINE
) -> tf.distribute.Strategy:
    """Makes a strategy; enter its scope to make models, optimizer and trainer.

    Args:
        name: "mirrored" for all GPUs of this machine, or else its logical CPUs;
            "multiworker" for the workers that the environment variable TF_CONFIG names,
            each on all its GPUs, or else its CPU. Each process must make it before
            TensorFlow computes anything.
        deadline: Seconds > 0 to wait for the other workers to begin; after them the
            process prints why and ends with code 1. `None` is for ever. Defaults to 60.

    Raises:
        ValueError: If TF_CONFIG is missing or malformed, or the port is taken.
    """
    checks.choice("name", name, NAMES)
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU")
        devices = devices or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    _check_port(own_address(os.environ.get("TF_CONFIG", "")))
    with ending(deadline):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    take_signal_back()
    return strategy


def own_address(text: str) -> str:
    """Returns the host:port of this process in a TF_CONFIG, or a `ValueError`."""
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        hosts = cluster[kind]
        others = {*cluster} - {"chief", "worker"} or kind not in cluster
        whole = all(host.rpartition(":")[2].isdigit() for host in hosts)
        if not others and whole and 0 <= index < len(hosts):
            address: str = hosts[index]
            return address
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    raise ValueError(
        "Several workers need the environment variable TF_CONFIG: the host:port of "
        "each, alike for all, and which one this is. Set it as in "
        f"TF_CONFIG='{_EXAMPLE}', or type `kpg launch --workers 2 train …`, which does "
        f"it on one machine. Received: TF_CONFIG={text!r}"
    )


def workers_in(text: str) -> int:
    """Returns how many workers a TF_CONFIG names; 1 if it is none."""
    try:
        cluster = json.loads(text)["cluster"]
        return sum(len(hosts) for hosts in cluster.values()) or 1
    except (AttributeError, KeyError, TypeError, ValueError):
        return 1


def _check_port(address: str) -> None:
    port = int(address.rpartition(":")[2])
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", port))
        except OSError as error:
            raise ValueError(
                "Another program has the port that TF_CONFIG gives to this worker; "
                "give all workers a TF_CONFIG with a free one. Received: "
                f"{address}, {error}"
            ) from error


def check_strategy(strategy: tf.distribute.Strategy) -> None:
    """Raises a `ValueError` for a strategy that trainers do not run under."""
    for name, why in _REFUSED.items():
        if type(strategy).__name__.startswith(name):
            raise ValueError(
                f"A trainer does not run under {name}: {why}. Take MirroredStrategy, "
                "MultiWorkerMirroredStrategy, CentralStorageStrategy or none. "
                f"Received: {type(strategy).__name__}"
            )


def check_scope(
    strategy: tf.distribute.Strategy,
    variables: Iterable[keras.Variable],
    made: str,
    used: str,
) -> None:
    """Raises a `ValueError` if variables are used under another strategy than theirs.

    `made` and `used` are the lines in question, such as "trainer.compile(…)".
    """
    for variable in variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            own = getattr(variable.value, "_distribute_strategy", None)
            raise ValueError(
                "Models, optimizers and trainer must be made in the scope of one "
                f"strategy: move `{used if own else made}` inside `with "
                f"strategy.scope():`. Received: `{made}` under {_named(own)}, and "
                f"`{used}` under {_named(strategy)}"
            )


def _named(strategy: tf.distribute.Strategy | None) -> str:
    default = strategy is None or type(strategy).__name__.startswith("_Default")
    return "no strategy" if default else type(strategy).__name__
