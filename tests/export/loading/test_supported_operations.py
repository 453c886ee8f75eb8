"""Operations that a server has, and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kpg
from kpg.export import VerificationError
from kpg.export.loading import supported_operations as operations
from tests.texts import bpe, gpt2


def write(directory: Path, *kinds: str, in_function: bool = False) -> Path:
    """Writes a graph of operations without inputs."""
    saved_model = saved_model_pb2.SavedModel()
    graph = saved_model.meta_graphs.add().graph_def
    place = graph.library.function.add().node_def if in_function else graph.node
    for kind in kinds:
        place.add(op=kind, name=kind)
    (directory / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return directory


@pytest.mark.parametrize("in_function", [False, True])
def test_lists_what_there_is(tmp_path: Path, in_function: bool) -> None:
    kinds = ("RegexSplitWithOffsets", "MatMul", "NoOp")
    path = write(tmp_path, *kinds, in_function=in_function)
    assert operations.check(path) == tuple(sorted(kinds))
    assert operations.not_core(kinds) == ["RegexSplitWithOffsets"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("EagerPyFunc", "must not call back into Python.*Received: EagerPyFunc"),
        ("XlaLaunch", "must not need XLA"),
        # What keras.ops.slice_update becomes, with which KerasHub writes its caches.
        ("XlaDynamicUpdateSlice", "operations that TensorFlow Serving has.*DynamicUpd"),
        ("MyTokenizer", r"kpg\.text\.ByteTokenizer.*Received: MyTokenizer"),
        ("TFText>RoundRobinTrim", "Received: TFText>RoundRobinTrim"),
    ],
)
@pytest.mark.parametrize("in_function", [False, True])
def test_refuses_what_a_server_lacks(
    tmp_path: Path, kind: str, message: str, in_function: bool
) -> None:
    path = write(tmp_path, "MatMul", kind, in_function=in_function)
    with pytest.raises(VerificationError, match=message):
        operations.check(path)


def test_what_writes_a_cache_needs_xla() -> None:
    """Why an export does not write its cache as KerasHub does."""
    import keras

    update = tf.function(lambda x: keras.ops.slice_update(x, [1], [0.0]))
    graph = update.get_concrete_function(tf.TensorSpec([3])).graph
    found = operations.not_core(node.type for node in graph.get_operations())
    assert found == ["XlaDynamicUpdateSlice"]


def test_a_damaged_file_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(VerificationError, match="readable saved_model.pb"):
        operations.check(tmp_path)
    operations.register(tmp_path)  # loading is going to say so


@pytest.mark.slow
def test_a_tokenizer_of_tensorflow_text_is_listed(tmp_path: Path) -> None:
    """Byte-pair encoding: its vocabulary is in the SavedModel, and comes back."""
    tokenizer = bpe(_allow_python_workflow=False)
    made: Any = kpg.models.CausalLMPolicy(
        gpt2(tokenizer.vocabulary_size(), num_layers=1), tokenizer
    )
    path = Path(kpg.export.export_policy(made, tmp_path, max_new_tokens=4))
    manifest = json.loads((path / "assets.extra/kpg_manifest.json").read_text())
    assert manifest["operations_beyond_tensorflow"] == ["RegexSplitWithOffsets"]
    with kpg.export.Server(tmp_path, port=0) as server:
        with kpg.export.Client(server.address) as client:
            served = client.complete(["a man", "it"], seed=3)
    assert served == made.generate(["a man", "it"], 4, seed=3)
