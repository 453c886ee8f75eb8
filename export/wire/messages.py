"""Protocol buffers that no installed package defines, from declarations in text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = re.compile(r"(?:(repeated|map) )?(\w+) (\w+) = (\d+)")
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: _Field.Type.Value(f"TYPE_{name.upper()}")
    for name in "double float int64 uint64 int32 uint32 bool string bytes".split()
}


def classes(package: str, declarations: Mapping[str, str]) -> dict[str, Any]:
    """Returns a class for each message, in a pool of their own.

    Args:
        package: Name of the package, which the messages' full names begin with.
        declarations: By the name of each message its fields, in the notation of .proto
            files and joined by ", ". Enums are integers, as they are on the wire, and a
            map is declared by the type of its values; its keys are strings.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, fields in declarations.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            _add_field(package, message, field)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{name}")
        )
        for name in declarations
    }


def _add_field(
    package: str, message: descriptor_pb2.DescriptorProto, declaration: str
) -> None:
    match = _FIELD.fullmatch(declaration)
    if match is None:
        raise ValueError(
            "A field must look like `repeated int64 size = 1`; correct the "
            f"declaration. Received: {declaration!r}"
        )
    label, kind, name, number = match.groups()
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if label else _Field.LABEL_OPTIONAL
    if label == "map":  # on the wire a map is a list of pairs
        entry = "".join(part.title() for part in name.split("_")) + "Entry"
        pair = message.nested_type.add(name=entry)
        pair.options.map_entry = True
        _add_field(package, pair, "string key = 1")
        _add_field(package, pair, f"{kind} value = 2")
        kind = f"{message.name}.{entry}"
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"
