"""What a format of another runtime holds, and what it refuses by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from typing_extensions import override

import kpg
from kpg.export import VerificationError
from kpg.export.writing import formats
from kpg.export.writing.conversion import Converted
from kpg.export.writing.offer import offer_of
from kpg.export.writing.signature import Arrays, Signature

SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


class Pickled(Converted):
    """A format that holds nothing but a shift of the right answers."""

    name, file = "Pickled", "model.shift"
    shift = 0
    live: Any = None

    @override
    def convert(self, signature: Signature, owner: tf.Module) -> bytes:
        if self.shift < 0:
            raise IndexError("two\nlines")
        return str(self.shift).encode()

    @override
    def load(self, path: Any) -> Any:
        return self if Path(path).read_bytes() else None

    def run(self, name: str, inputs: Arrays) -> Arrays:
        outputs = dict(self.live(name, inputs))
        return outputs | {"action": outputs["action"] + self.shift}


def offer(**options: Any) -> Any:
    space: Any = gym.spaces.Box(-1.0, 1.0, (1,))
    return offer_of(kpg.models.Policy(SPACE, space, hidden_units=(4,), **options), None)


def test_actions_must_agree_before_anybody_sees_them(tmp_path: Path) -> None:
    form = Pickled()
    held = form.held(offer())
    form.live = held.live
    form.write(held, tmp_path, "m")
    parity = form.verify(tmp_path, held)
    assert parity.outputs["serving_default/action"] == parity.max_abs == 0
    form.shift = 1
    with pytest.raises(
        VerificationError, match="Pickled: output action must be within"
    ):
        form.verify(tmp_path, held)


def test_an_error_of_a_converter_has_a_name(tmp_path: Path) -> None:
    form = Pickled()
    form.shift = -1
    with pytest.raises(
        VerificationError, match="Pickled cannot .* IndexError: two lines"
    ):
        form.write(form.held(offer()), tmp_path, "m")


def test_only_greedy_actions_are_held() -> None:
    held = Pickled().held(offer())
    assert list(held.signatures) == ["serving_default"]
    outputs = held.signatures["serving_default"].traced.structured_outputs
    assert set(outputs) == {"action", "log_prob", "loc", "scale"}
    inputs = held.requests([3])[0][1]
    assert held.live("serving_default", inputs).keys() == outputs.keys()


@pytest.mark.slow
def test_a_density_that_no_other_runtime_has() -> None:
    held = Pickled().held(offer(distribution="beta"))
    outputs = held.signatures["serving_default"].traced.structured_outputs
    assert set(outputs) == {"action", "concentration0", "concentration1"}


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_texts_are_refused_by_name(name: str, tmp_path: Path) -> None:
    space = gym.spaces.Text(3, charset="ab")
    policy = kpg.models.Policy(space, gym.spaces.Discrete(2), hidden_units=(4,))
    with pytest.raises(ValueError, match="reads texts.*the inputs observation, which"):
        kpg.export.export_policy(policy, tmp_path / "m", format=name)
    assert not any(tmp_path.iterdir())


def test_signatures_of_ones_own_are_refused_by_name(tmp_path: Path) -> None:
    policy = kpg.models.Policy(SPACE, gym.spaces.Discrete(2), hidden_units=(4,))
    with pytest.raises(ValueError, match="LiteRT holds the greedy .* Received: twice"):
        kpg.export.export_policy(
            policy,
            tmp_path / "m",
            format="litert",
            signatures={"twice": lambda observation: 2 * observation},
        )
    assert isinstance(formats.get("litert"), Converted)
