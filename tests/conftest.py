"""What every test runs under: quiet logs, and two logical CPUs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kpg.cli.quiet_tensorflow import import_tensorflow

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("MPLBACKEND", "Agg")
# Tests compile what they test.
os.environ["KPG_CACHE_DIR"] = ""

# Which decoders read which kinds of models as they do, see `decoders`.
COMPARED: dict[tuple[Any, ...], bool] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Splits the CPU in two while TensorFlow still allows it.

    MirroredStrategy then has two replicas on any machine. What only hands tests to
    other processes needs no TensorFlow.
    """
    if getattr(config.option, "numprocesses", None):
        return
    import_tensorflow()
    import tensorflow as tf

    # Graphs are objects by the hundred thousand that live as long as their trainer; to
    # look through them for garbage again and again takes a tenth of the time. It is
    # done once for each file, see `tidy`.
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 50)
    # Nor does it pay to optimise a graph that runs twice: that takes a quarter of the
    # time. The slow suite, whose graphs run for minutes, has them optimised.
    if "not slow" in config.option.markexpr:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        # Small networks gain nothing by threads, and two processes share two cores.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, halves)


@pytest.fixture(scope="module", autouse=True)
def tidy() -> Iterator[None]:
    """Frees the graphs of a file: those of the whole suite are gigabytes.

    What is left then is left for good, and is not looked through again.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def decoders(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compares a decoder once with each kind of model, not once with each model.

    What the comparison finds is the subject of the tests of decoding alone.
    """
    selection = sys.modules.get("kpg.models.language.decoding.selection")
    if selection is None or "decoding" in request.path.parts:
        yield
        return
    compare = vars(selection)["agrees"]

    def remembered(decoder: Any, trunk: Any) -> bool:
        reads = type(decoder), getattr(decoder, "write", None)
        kind = (*reads, type(trunk.causal_lm.backbone), trunk.exact)
        if kind not in COMPARED:
            COMPARED[kind] = compare(decoder, trunk)
        return COMPARED[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "agrees", remembered)
        yield


@pytest.fixture
def one_by_one() -> Iterator[None]:
    """Runs the operations of a test one by one, without graphs.

    The numbers of two such runs are equal to the last bit if those of two graphs are. A
    few iterations take a fraction of the time that it takes to build the graph.
    """
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def make_trainer() -> Callable[..., Any]:
    """Returns a function that makes a small, compiled trainer for CartPole-v1.

    It takes an algorithm's name or class, arguments of both and of `compile`.
    """

    def make(algorithm: Any = "PPO", **arguments: Any) -> Any:
        import kpg

        compile_arguments = {
            name: arguments.pop(name)
            for name in ("optimizer", "steps_per_execution", "jit_compile")
            if name in arguments
        }
        env = arguments.pop("env", None) or kpg.make("CartPole-v1", num_envs=4)
        settings: dict[str, Any] = {"num_steps": 8}
        if algorithm == "PPO":
            settings |= {"num_epochs": 2, "minibatch_size": 16}
        if algorithm == "REINFORCE":
            settings = {"num_steps": 500}
        small: dict[str, Any] = {"hidden_units": (8,), "seed": 0}
        policy = kpg.models.Policy(env.observation_space, env.action_space, **small)
        critic = kpg.models.Critic(env.observation_space, **small)
        trainer_class: Any = algorithm
        if isinstance(algorithm, str):
            trainer_class = getattr(kpg.trainers, algorithm)
        trainer = trainer_class(policy, critic, **{"seed": 0, **settings, **arguments})
        trainer.compile(**{"jit_compile": False, **compile_arguments})
        return trainer

    return make
