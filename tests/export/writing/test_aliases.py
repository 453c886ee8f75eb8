"""The second name of an input that an output is called after."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from kpg.export.loading.servable import Servable
from kpg.export.writing import aliases

SPEC = tf.TensorSpec([None], name="state_0")
OTHER = tf.TensorSpec([None], name="observation")


def test_only_the_specification_is_renamed(tmp_path: Path) -> None:
    module = tf.Module()
    function = tf.function(
        lambda state_0, observation: {"state_0": state_0 + observation}
    )
    concrete = function.get_concrete_function(state_0=SPEC, observation=OTHER)
    tf.saved_model.save(module, str(tmp_path), signatures={"act": concrete})
    aliases.write(tmp_path)
    loaded = tf.saved_model.load(str(tmp_path)).signatures["act"]
    specs = loaded.structured_input_signature[1]
    assert {key: spec.name for key, spec in specs.items()} == {
        "state_0": "previous_state_0",
        "observation": "observation",
    }
    given = {"state_0": tf.constant([1.0]), "observation": tf.constant([2.0])}
    assert loaded(**given)["state_0"].numpy().tolist() == [3.0]
    servable = Servable(tmp_path)
    assert set(servable.signatures["act"].inputs) == {"state_0", "observation"}
    arrays = {key: one.numpy() for key, one in given.items()}
    assert servable.run("act", arrays)["state_0"].tolist() == [3.0]


def test_names() -> None:
    assert aliases.of_input("state_12") == "previous_state_12"
    assert aliases.of_input("observation_state_0") == "observation_state_0"
