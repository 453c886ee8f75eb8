"""Writes kpg's compiled programs as XLA's own text, for machines without TensorFlow.

    python benchmarks/gpu/export.py --out build/gpu --only cart_pole_4096

For each work: NAME.hlo.xz, the program; NAME.npz, what its parameters are before the
first iteration; NAME.json, which output takes the place of which parameter. `pack.py`
turns the first into what JAX loads.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import re
import time
from pathlib import Path
from typing import Any

# The graph is the same on every machine, whatever devices this one has.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from works import BUILD, MEASURED, WORKS, Control, Text, write

import kpg
from kpg.trainers.acting.graph import Episodes

try:
    from kpg.graph.compiling import building_for_device
except ImportError:  # a version that does not choose by the device
    import contextlib

    def building_for_device(device: str) -> Any:
        return contextlib.nullcontext()


# Larger weights are drawn where the program runs.
_LARGE = 2**18


class Called(Exception):
    """Carries the arguments of a program out of what would have run it."""


def control_program(work: Control) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Returns an iteration as a function, its arguments and what to know about it."""
    env = kpg.make(work.env, work.num_envs, seed=0)
    network = {"hidden_units": work.hidden_units, "seed": 0}
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, **network),
        kpg.models.Critic(env.observation_space, **network),
        seed=0,
        num_steps=work.num_steps,
        num_epochs=work.num_epochs,
        minibatch_size=work.rows // work.num_minibatches,
        gamma=work.gamma,
        gae_lambda=work.gae_lambda,
        clip_range=work.clip_range,
        ent_coef=work.ent_coef,
        max_grad_norm=work.max_grad_norm,
        normalize_observations=work.normalize,
        normalize_rewards=work.normalize,
    )
    engine = compiled_engine(trainer, env, keras.optimizers.Adam, work.learning_rate)
    function, arguments = engine.function, call_of(engine, work.learning_rate)
    carried = len(tf.nest.flatten(arguments[0]))
    about = {
        "carried": carried,  # leading outputs that replace the leading parameters
        # Parameters that say how much to do.
        "iterations": parameter(function, arguments, "iterations"),
        "total": parameter(function, arguments, "total"),
        "metrics": [*Episodes._fields],  # the last of the sums
    }
    return function, arguments, about


def parameter(function: Any, arguments: tuple[Any, ...], name: str) -> int:
    """Returns where an argument is among the program's parameters."""
    before = list(inspect.signature(function.python_function).parameters).index(name)
    return len(tf.nest.flatten(arguments[:before]))


def text_program(work: Text) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Returns the writing of texts, or an update, as a function, and so on."""
    tokenizer = kpg.text.ByteTokenizer()
    model = kpg.text.gpt2(
        work.vocabulary_size,
        num_layers=work.num_layers,
        num_heads=work.num_heads,
        hidden_dim=work.hidden_dim,
        max_tokens=work.prompt_tokens + work.new_tokens,
        seed=0,
    )
    task = kpg.environments.TextGeneration(
        ["a" * work.prompt_tokens] * work.batch_size,
        rewards=[lambda prompts, completions: [i % 7 for i in range(len(prompts))]],
        max_prompt_tokens=work.prompt_tokens,
        max_new_tokens=work.new_tokens,
        num_envs=work.batch_size,
        seed=0,
    )
    policy = kpg.models.CausalLMPolicy(model, tokenizer, value_head=False)
    trainer = kpg.trainers.REINFORCE(
        policy, seed=0, num_steps=work.new_tokens, gamma=1.0, returns="total"
    )
    engine = compiled_engine(trainer, task, keras.optimizers.AdamW, 1e-5)
    writer = engine.writer.function
    written: list[tuple[Any, ...]] = []

    def pretend(*arguments: Any) -> Any:
        """Writes nothing, but looks like it: writing takes a CPU minutes."""
        written.append(arguments)
        shapes = writer.get_concrete_function(*arguments).structured_outputs
        texts = tf.nest.map_structure(lambda t: tf.zeros(t.shape, t.dtype), shapes)
        tokens = tf.random.uniform(
            texts.tokens.shape, 99, 125, texts.tokens.dtype, seed=0
        )
        return texts._replace(tokens=tokens, valid=tf.ones_like(texts.valid))

    if work.part == "write":
        engine.writer.function = lambda *arguments: _called(*arguments)
        arguments = call_of(engine, 1e-5)
        seed = len(tf.nest.flatten(arguments)) - 1
        return writer, arguments, {"carried": 0, "seed": seed}
    engine.writer.function = pretend
    function, arguments = engine.function, call_of(engine, 1e-5)
    return function, arguments, {"carried": 0}


def compiled_engine(trainer: Any, env: Any, optimizer: Any, rate: float) -> Any:
    """Returns what a `fit` compiled by XLA would run."""
    trainer.compile(optimizer(rate, epsilon=1e-5), jit_compile=True)
    training = trainer.training_on(env.num_envs)
    return trainer._programs.engine_for(training, env)


def call_of(engine: Any, rate: float) -> tuple[Any, ...]:
    """Returns the arguments of the engine's first call of its program."""
    engine.function = lambda *arguments: _called(*arguments)
    try:
        engine.run(1, 0, 1, [rate])
    except Called as call:
        return call.args
    raise ValueError(f"The engine must call its program. Received: {engine!r}")


def _called(*arguments: Any) -> None:
    raise Called(*arguments)


def lowered(function: Any, arguments: tuple[Any, ...]) -> tuple[bytes, dict[int, int]]:
    """Returns XLA's program, and which output replaces which parameter."""
    stage = function.experimental_get_compiler_ir(*arguments)
    header = stage(stage="hlo").split("entry_computation_layout", 1)[0]
    pairs = re.findall(r"\{(\d+)\}: \((\d+),", header)
    return stage(stage="hlo_serialized"), {int(o): int(i) for o, i in pairs}


def export(name: str, out: Path) -> None:
    """Writes the three files of a work."""
    work = WORKS[name]
    make: Any = control_program if isinstance(work, Control) else text_program
    with building_for_device("GPU"):
        function, arguments, about = make(work)
        concrete = function.get_concrete_function(*arguments)
        program, replaced = lowered(function, arguments)
    state = [np.asarray(part) for part in tf.nest.flatten(arguments)]
    given = len(state)
    variables = {id(v.handle): v for v in concrete.graph.variables}
    for part in concrete.captured_inputs:
        held = variables[id(part)] if part.dtype == tf.resource else part
        state.append(np.asarray(held))
    drawn = {
        index: [list(part.shape), float(part.std())]
        for index, part in enumerate(state)
        if index >= given and part.size > _LARGE and part.dtype == np.float32
    }
    kept = [
        np.zeros(0, np.float32) if index in drawn else part
        for index, part in enumerate(state)
    ]
    feedback = {**{index: index for index in range(about["carried"])}, **replaced}
    write(out / f"{name}.hlo.xz", program)
    np.savez_compressed(
        out / f"{name}.npz", **{f"{i:04d}": part for i, part in enumerate(kept)}
    )
    description = {
        "work": dataclasses.asdict(work),
        "kpg": kpg.__version__,
        "tensorflow": tf.__version__,
        "feedback": feedback,
        "drawn": drawn,
        **about,
    }
    (out / f"{name}.json").write_text(json.dumps(description), "utf-8")


def main() -> None:
    """Exports what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD)
    parser.add_argument("--only", action="append", choices=list(WORKS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or MEASURED:
        began = time.perf_counter()
        export(name, options.out)
        keras.backend.clear_session()
        seconds = time.perf_counter() - began
        size = (options.out / f"{name}.hlo.xz").stat().st_size
        print(f"{name}: {size:,} bytes in {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
