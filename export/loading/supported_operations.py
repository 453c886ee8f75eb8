"""The operations of a graph, and whether TensorFlow Serving has them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from kpg.export.wire.errors import VerificationError, one_line

# Python functions exist only in the process that made them, and the released server is
# built without XLA.
_FORBIDDEN = ("PyFunc", "EagerPyFunc", "NumpyFunc", "XlaCallModule", "XlaLaunch")

# The operations for tokenizers that TensorFlow Serving links besides TensorFlow's own.
# Reference: SUPPORTED_TENSORFLOW_OPS in tensorflow_serving/model_servers/BUILD, and
# ops_lib in tensorflow_text/BUILD.
_OF_TENSORFLOW_TEXT = frozenset(
    {
        "CaseFoldUTF8",
        "FastWordpieceTokenizeWithOffsets",
        "NormalizeUTF8",
        "RegexSplitWithOffsets",
        "SentencepieceDetokenizeOp",
        "SentencepieceIdToStringOp",
        "SentencepieceOp",
        "SentencepieceStringToIdOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
        "SentencepieceVocabSizeOp",
        "TFText>ByteSplitWithOffsets",
        "TFText>FastSentencepieceDetokenize",
        "TFText>FastSentencepieceTokenize",
        "TFText>FastWordpieceDetokenize",
        "TFText>WhitespaceTokenizeWithOffsetsV2",
        "WhitespaceTokenizeWithOffsets",
        "WordpieceTokenizeWithOffsets",
    }
)


def check(path: Path) -> tuple[str, ...]:
    """Lists the kinds of operations in the SavedModel at `path`, see `check_kinds`."""
    return check_kinds(_read(path))


def tags(path: Path) -> list[set[str]]:
    """Returns the tags of each graph in the SavedModel at `path`."""
    return [set(one.meta_info_def.tags) for one in _parse(path).meta_graphs]


def check_kinds(operations: Iterable[str]) -> tuple[str, ...]:
    """Sorts kinds of operations, and refuses those that TensorFlow Serving lacks."""
    operations = tuple(sorted(operations))
    bad = [op for op in operations if op.startswith(_FORBIDDEN)]
    if bad:
        raise VerificationError(
            "An exported model must not call back into Python and must not need XLA: "
            "TensorFlow Serving has neither; build it from TensorFlow operations and "
            f"trace it with jit_compile=False. Received: {', '.join(bad)}"
        )
    unknown = [op for op in not_core(operations) if op not in _OF_TENSORFLOW_TEXT]
    if unknown:
        raise VerificationError(
            "An exported model must be made of operations that TensorFlow Serving has: "
            "TensorFlow's own and the tokenizers of tensorflow-text. Use another "
            "tokenizer, such as kpg.text.ByteTokenizer, or write that part with "
            f"TensorFlow's own operations. Received: {', '.join(unknown)}"
        )
    return operations


def not_core(operations: Iterable[str]) -> list[str]:
    """Returns the operations that are not part of TensorFlow itself, sorted."""
    return sorted(op for op in operations if not hasattr(tf.raw_ops, op))


def register(path: str | Path) -> None:
    """Imports tensorflow-text if the SavedModel at `path` uses its operations.

    What is missing, the package or the model, is reported when the model is loaded.
    """
    try:
        found = _read(Path(path))
    except VerificationError:
        return
    if not _OF_TENSORFLOW_TEXT.isdisjoint(found):
        try:
            importlib.import_module("tensorflow_text")
        except ImportError:
            return


def _read(path: Path) -> set[str]:
    return set().union(*(of_graph(one.graph_def) for one in _parse(path).meta_graphs))


def _parse(path: Path) -> saved_model_pb2.SavedModel:
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # the parser's own kinds differ between its versions
        raise VerificationError(
            f"A SavedModel must hold a readable saved_model.pb. Received: {path} "
            f"({one_line(error)})"
        ) from error
    return saved_model


def of_graph(graph: graph_pb2.GraphDef) -> set[str]:
    """Returns the kinds of operations in a graph; `XlaLaunch` if XLA compiles any."""
    functions = graph.library.function
    nodes = [*graph.node, *(node for one in functions for node in one.node_def)]
    found = {node.op for node in nodes}
    if any(one.attr["_XlaMustCompile"].b for one in [*functions, *nodes]):
        found.add("XlaLaunch")
    return found
