"""Other names for what a SavedModel's users in Python see; the wire keeps its own.

A file of ONNX cannot have an input and an output of one name, such as `state_0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorflow.core.protobuf import saved_model_pb2, struct_pb2

from kpg.export.wire import names


def of_input(name: str) -> str:
    """Returns the name of an input in ONNX: the state that comes in is the previous."""
    return f"previous_{name}" if names.is_state(name) else name


def write(directory: Path) -> None:
    """Renames the tensors behind the state's inputs, where they are specified.

    tf2onnx names inputs after their specifications, which nothing else reads. The keys
    under which servers and Python find the inputs are another field.
    """
    path = directory / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved_model.meta_graphs:
        for function in graph.object_graph_def.concrete_functions.values():
            _rename(function.canonicalized_input_signature)
    path.write_bytes(saved_model.SerializeToString(deterministic=True))


def _rename(value: struct_pb2.StructuredValue) -> None:
    """Renames all specifications in a nest of them."""
    kind = value.WhichOneof("kind")
    if kind == "tensor_spec_value":
        value.tensor_spec_value.name = of_input(value.tensor_spec_value.name)
    elif kind in ("list_value", "tuple_value"):
        for part in getattr(value, kind).values:
            _rename(part)
    elif kind == "dict_value":
        fields: Mapping[str, struct_pb2.StructuredValue] = value.dict_value.fields
        for part in fields.values():
            _rename(part)
