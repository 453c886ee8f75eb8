"""Layers that stand in several places of a trainer's models, in its configuration.

Keras writes such a layer down once for each place, and makes as many of it again.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import keras

from kpg.types import Config, Nest

_MARK = "kpg number of the layer"
_REFERENCE = "kpg>SharedLayer"
_ENDS = ("input_layers", "output_layers")
_revived = contextvars.ContextVar[dict[int, keras.layers.Layer] | None](
    "_revived", default=None
)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class SharedLayer:
    """Stands for a layer in each of its places; equal numbers are one layer.

    Around a functional model that is in one place, but holds shared layers, the number
    is `None`.
    """

    number: int | None
    layer: Config

    def get_config(self) -> Config:
        """See `keras.Layer.get_config`."""
        return vars(self)

    @classmethod
    def from_config(cls, config: Config) -> keras.layers.Layer:
        """Returns the layer, inside `reviving` the same one for the same number."""
        number, known = config["number"], _revived.get()
        if number is None or known is None:
            return _made(config["layer"])
        if number not in known:
            known[number] = _made(config["layer"])
        return known[number]


def _made(node: Config) -> keras.layers.Layer:
    """Makes a layer. A functional model finds the calls of shared layers by number.

    Keras counts them from 0, although another model may have called the layer before.
    """
    revive, graph = keras.saving.deserialize_keras_object, node["config"]
    if _is_graph(graph):
        shared = [own for own in graph["layers"] if _is_reference(own)]
        calls = {own["name"]: len(revive(own)._inbound_nodes) for own in shared}
        layers = [
            {**own, "inbound_nodes": _shifted(own["inbound_nodes"], calls)}
            for own in graph["layers"]
        ]
        ends = {name: _shifted(graph[name], calls) for name in _ENDS}
        node = {**node, "config": {**graph, **ends, "layers": layers}}
    return revive(node)


def _shifted(node: Nest, calls: dict[str, int]) -> Nest:
    """Adds the earlier calls of a layer to `[name, call, output]`."""
    if isinstance(node, dict):
        return {key: _shifted(part, calls) for key, part in node.items()}
    if not isinstance(node, (list, tuple)):
        return node
    if len(node) == 3 and isinstance(node[0], str) and node[0] in calls:
        return [node[0], node[1] + calls[node[0]], node[2]]
    return type(node)(_shifted(part, calls) for part in node)


def _is_graph(config: object) -> bool:
    return isinstance(config, dict) and all(name in config for name in _ENDS)


def _is_reference(node: Config) -> bool:
    return node.get("registered_name") == _REFERENCE


@contextlib.contextmanager
def reviving() -> Iterator[None]:
    """Lets the models that are revived inside share their layers as they did."""
    token = _revived.set({})
    try:
        yield
    finally:
        _revived.reset(token)


@contextlib.contextmanager
def knowing(custom_objects: Config | None) -> Iterator[None]:
    """Registers classes and functions by name for a while.

    Keras's `custom_object_scope` ends where a model is inside another one.
    """
    known, given = keras.saving.get_custom_objects(), custom_objects or {}
    before = {name: known[name] for name in given if name in known}
    known.update(given)
    try:
        yield
    finally:
        for name in given:
            del known[name]
        known.update(before)


def serialized(models: Sequence[keras.Model | None]) -> Nest:
    """Returns the models' configurations; `reviving` lets them share layers again."""
    found = [own for model in models if model for own in model._flatten_layers()]
    layers = {id(own): own for own in found if own.variables}
    try:
        for number, layer in enumerate(layers.values()):
            marked = functools.partial(_marked, layer.get_config, number)
            vars(layer)["get_config"] = marked
        configs = [keras.saving.serialize_keras_object(model) for model in models]
    finally:
        for layer in layers.values():
            vars(layer).pop("get_config", None)
    return _referring(configs, Counter(_numbers(configs)))


def _marked(get_config: Callable[[], Config], number: int) -> Config:
    return {**get_config(), _MARK: number}


def _numbers(node: Nest) -> Iterator[int]:
    """Yields the number of each layer in a configuration, once for each place."""
    if isinstance(node, dict):
        if _MARK in node:
            yield node[_MARK]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for part in node:
            yield from _numbers(part)


def _referring(node: Nest, places: Counter[int]) -> Nest:
    """Removes the marks, and puts a `SharedLayer` where one has several places."""
    if isinstance(node, (list, tuple)):
        return type(node)(_referring(part, places) for part in node)
    if not isinstance(node, dict):
        return node
    config = node.get("config")
    number = config.get(_MARK, -1) if isinstance(config, dict) else -1
    bare = {k: _referring(part, places) for k, part in node.items() if k != _MARK}
    graph = bare["config"] if _is_graph(config) else {"layers": []}
    if places[number] < 2:
        if not any(_is_reference(layer) for layer in graph["layers"]):
            return bare
        number = None
    # A functional model keeps what enters a layer beside its configuration.
    beside = {k: bare[k] for k in ("name", "inbound_nodes") if k in bare}
    return {
        "module": __name__,
        "class_name": SharedLayer.__name__,
        "config": {"number": number, "layer": bare},
        "registered_name": _REFERENCE,
        **beside,
    }
