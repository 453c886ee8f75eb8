"""Users' functions as signatures, beside those that every policy has."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TypeAlias

import tensorflow as tf

from kpg.export.wire import names
from kpg.export.wire.errors import one_line
from kpg.export.writing.offer import Offer
from kpg.export.writing.signature import Signature, Tensors, check_name

Function: TypeAlias = Callable[..., "tf.Tensor | Mapping[str, tf.Tensor]"]

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def extended(offer: Offer, functions: Mapping[str, Function] | None) -> Offer:
    """Adds a signature for each function to an offer, see `kpg.export.publish`."""
    if not functions:
        return offer
    if not isinstance(functions, Mapping):
        raise ValueError(
            "`signatures` must be a dictionary of functions by name. Received: "
            f"{functions!r}"
        )
    own = {name: _signature(offer, name, one) for name, one in functions.items()}
    variables = [v for one in own.values() for v in one.traced.graph.variables]
    return dataclasses.replace(
        offer, signatures={**offer.signatures, **own}, saved=[*offer.saved, *variables]
    )


def _signature(offer: Offer, name: str, function: Function) -> Signature:
    check_name("A signature's name", name)
    if name in {*names.BUILT_IN, *offer.signatures}:
        raise ValueError(
            "The name of a signature of your own must not be taken; choose another. "
            f"Received: {name!r}"
        )
    parameters = _parameters(offer, name, function)
    wanted = dict.fromkeys(one for p in parameters for one in offer.parameters[p])
    inputs = {one: offer.inputs[one] for one in wanted}
    batched = [
        one for one, spec in inputs.items() if spec.shape.as_list()[:1] == [None]
    ]
    if not batched:
        raise _refusal(
            name, "must take an input with a batch axis", f"the inputs {[*inputs]}"
        )

    def call(**received: tf.Tensor) -> Tensors:
        arguments = offer.arguments(received)
        try:
            returned = function(**{key: arguments[key] for key in parameters})
        except Exception as error:  # whatever a user's function raises
            raise _refusal(
                name, "must run as a graph of TensorFlow operations", one_line(error)
            ) from error
        return _outputs(name, returned, received[batched[0]].shape[0])

    described = inspect.unwrap(function)
    docs = inspect.getdoc(described) if inspect.isroutine(described) else None
    signature = Signature(name, inputs, call, (docs or "").partition("\n")[0])
    try:
        signature.check()
        variables = signature.traced.graph.variables
    except AssertionError as error:  # TensorFlow's, for a variable that is gone
        raise _refusal(
            name, "must not use variables that it creates itself", one_line(error)
        ) from error
    _check_state(offer, signature, {id(one.handle) for one in variables})
    return signature


def _parameters(offer: Offer, name: str, function: Function) -> list[str]:
    """Returns the names of the parameters that a function is called with."""
    if not callable(function):
        raise _refusal(name, "must be a function of tensors", repr(function))
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise _refusal(
            name, "must have parameters that Python can inspect", repr(function)
        ) from error
    chosen = []
    for parameter in parameters:
        by_name = parameter.kind in _BY_NAME
        if by_name and parameter.name in offer.parameters:
            chosen.append(parameter.name)
        elif not by_name or parameter.default is parameter.empty:
            raise _refusal(
                name,
                "can only have parameters named after the inputs: "
                f"{', '.join(offer.parameters)}. Wrap a model as "
                "`lambda observation: model(observation)`",
                f"a parameter {parameter}",
            )
    return chosen


def _outputs(name: str, returned: object, rows: int | None) -> Tensors:
    """Returns outputs by name; a single one is named after its signature."""
    outputs: Tensors = {name: returned}
    if isinstance(returned, Mapping):
        outputs = dict(returned)
    if not outputs or not all(isinstance(one, tf.Tensor) for one in outputs.values()):
        kinds = {key: type(one).__name__ for key, one in outputs.items()}
        raise _refusal(
            name, "must return a dense tensor or a dictionary of them", str(kinds)
        )
    for key, one in outputs.items():
        check_name(f"The output names of signature {name!r}", key)
        if one.shape.rank in (None, 0) or one.shape[0] != rows:
            raise _refusal(
                name,
                "must keep the batch axis: one row of each output for each row of the "
                "inputs",
                f"{key} of shape {one.shape} for {rows or 'any number of'} rows",
            )
    return outputs


def _check_state(offer: Offer, signature: Signature, variables: set[int]) -> None:
    """Refuses changes of variables, and resources that nothing would save."""
    changes = sorted(one for one in signature.operations if one.startswith("Assign"))
    if changes:
        raise _refusal(
            signature.name,
            "must not change variables, since a server runs it in many threads",
            ", ".join(changes),
        )
    known = variables | {
        id(one)
        for built_in in offer.signatures.values()
        for one in built_in.traced.captured_inputs
    }
    lost = [
        one
        for one in signature.traced.captured_inputs
        if one.dtype == tf.resource and id(one) not in known
    ]
    if lost:
        raise _refusal(
            signature.name,
            "can only use tensors, variables and the policy: nothing else is saved. "
            "Write a lookup table as a tf.constant and tf.gather",
            f"{len(lost)} other resource(s)",
        )


def _refusal(name: str, wanted: str, received: str) -> ValueError:
    return ValueError(
        f"The function of signature {name!r} {wanted}. Received: {received}"
    )
