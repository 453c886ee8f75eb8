"""Which operations a graph holds, and which of them a server does not have."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kpg.export.wire.errors import VerificationError

# Python functions exist in the process that made them only, and the released server is
# built with XLA off.
_FORBIDDEN = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "NumpyFunc")
_FORBIDDEN_PREFIXES = ("XlaCallModule", "XlaLaunch")

# What TensorFlow Serving links beside TensorFlow, as far as tokenizers use it.
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
    """Lists the operations of a SavedModel.

    Args:
        path: Its directory.

    Returns:
        The kinds, sorted.

    Raises:
        VerificationError: If one of them is missing in TensorFlow Serving, or the
            SavedModel cannot be read.
    """
    operations = _read(path)
    bad = sorted(
        op
        for op in operations
        if op in _FORBIDDEN or op.startswith(_FORBIDDEN_PREFIXES)
    )
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
    return tuple(sorted(operations))


def not_core(operations: Iterable[str]) -> list[str]:
    """Returns the operations that are not part of TensorFlow itself, sorted."""
    return sorted(op for op in operations if not hasattr(tf.raw_ops, op))


def register(path: str | Path) -> None:
    """Makes the operations of tensorflow-text known where a SavedModel has some.

    Without the package, or a readable SavedModel, nothing happens: loading says why it
    fails.
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
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # the parser's own kinds differ between its versions
        raise VerificationError(
            f"A SavedModel must hold a readable saved_model.pb. Received: {path} "
            f"({type(error).__name__}: {' '.join(str(error).split())})"
        ) from error
    found: set[str] = set()
    for meta_graph in saved_model.meta_graphs:
        found |= _of_graph(meta_graph.graph_def)
    return found


def _of_graph(graph: Any) -> set[str]:
    nodes = [*graph.node]
    found = set()
    for function in graph.library.function:
        nodes.extend(function.node_def)
        if function.attr["_XlaMustCompile"].b:
            found.add("XlaLaunch")
    found.update(node.op for node in nodes)
    if any(node.attr["_XlaMustCompile"].b for node in nodes):
        found.add("XlaLaunch")
    return found
