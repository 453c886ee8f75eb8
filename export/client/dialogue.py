"""What a client says to a server and makes of the answers, whoever carries the words.

A dialogue is a generator: it yields requests, or a pause in seconds, and is sent the
answers, or an error is thrown into it. `Client` and `AsyncClient` carry the same ones.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from kpg import checks
from kpg.export.client import channel, inputs, protocol
from kpg.export.client.inputs import SignatureSpec
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError
from kpg.export.wire.tensors import Message
from kpg.types import Array, Nest, Space

_T = TypeVar("_T")
_Signatures: TypeAlias = dict[str, SignatureSpec]
Version: TypeAlias = "int | str | None"


class VersionStatus(NamedTuple):
    """What a server says about one version."""

    version: int
    state: str  # "START", "LOADING", "AVAILABLE", "UNLOADING" or "END"
    error: str  # why it is not served if it failed, else empty


class Request(NamedTuple):
    """One request, to be answered within `timeout` seconds."""

    path: str
    message: Message
    answer: Message  # the class of the answer
    timeout: float


Dialogue: TypeAlias = Generator["list[Request] | float", "list[Message]", _T]


class Dialogues:
    """The dialogues about one model; see `Client` for what they do."""

    def __init__(
        self,
        route: channel.Route,
        model_name: str,
        action_space: Space | None,
        batch_size: int | None,
    ) -> None:
        if batch_size is not None:
            checks.whole_number("batch_size", batch_size)
        self._route = route
        self._model_name = model_name
        self._action_space = action_space
        self._batch_size = batch_size
        self._signatures: dict[Version, tuple[int, _Signatures]] = {}

    def step(
        self,
        observations: Nest,
        state: Mapping[str, Array] | None,
        seed: int | Sequence[int] | None,
    ) -> Dialogue[tuple[Nest, dict[str, Array]]]:
        """See `Client.step`."""
        name = names.GREEDY if seed is None else names.SAMPLE
        _, signatures = yield from self._known(None)
        signature = signatures.get(name)
        wanted = [
            output
            for output in (signature.outputs if signature else ())
            if names.is_action(output) or names.is_state(output)
        ] or ["action"]
        outputs = yield from self.predict(
            observations, name, seed=seed, state=state, outputs=wanted
        )
        after = {key: a for key, a in outputs.items() if names.is_state(key)}
        actions = {key: a for key, a in outputs.items() if key not in after}
        return self._actions(actions), after

    def act(self, observations: Nest) -> Dialogue[Nest]:
        """See `Client.act`."""
        actions, _ = yield from self.step(observations, None, None)
        return actions

    def complete(
        self,
        prompts: Sequence[str],
        max_new_tokens: int | None,
        temperature: float | None,
        seed: int | None,
        deterministic: bool,
    ) -> Dialogue[list[str]]:
        """See `Client.complete`."""
        seed = secrets.randbits(31) if seed is None else seed
        asked = inputs.asked(prompts, max_new_tokens, temperature, seed, deterministic)
        found = yield from self.predict(asked, names.COMPLETE, outputs=["completions"])
        return [text.decode() for text in found["completions"]]

    def predict(
        self,
        observations: Nest,
        signature_name: str = names.GREEDY,
        *,
        seed: int | Sequence[int] | None = None,
        state: Mapping[str, Array] | None = None,
        version: Version = None,
        outputs: Sequence[str] | None = None,
    ) -> Dialogue[dict[str, Array]]:
        """See `Client.predict`."""
        served, signatures = yield from self._known(version)
        signature = signatures.get(signature_name)
        # An unknown signature is requested all the same: the server's error is clearer.
        wanted = signature.inputs if signature else {}
        batch = inputs.named(observations, state, seed, wanted)
        parts = inputs.parts(batch, wanted, self._batch_size, np.ndim(seed or 0) == 0)
        requests = [
            self._request(part, signature_name, version, outputs) for part in parts
        ]
        try:
            answers = yield requests
        except ServingError:
            # A new version may want something else: ask again the next time.
            self._signatures.pop(version, None)
            raise
        if any(one.model_spec.version.value != served for one in answers):
            self._signatures.pop(version, None)
        found = [
            {name: tensors.decode(tensor) for name, tensor in one.outputs.items()}
            for one in answers
        ]
        joined = found[0]
        if len(found) > 1:
            joined = {n: np.concatenate([one[n] for one in found]) for n in found[0]}
        return {
            name: array[0] if batch.single and array.shape[:1] == (1,) else array
            for name, array in sorted(joined.items())
        }

    def metadata(self, version: Version) -> Dialogue[tuple[int, _Signatures]]:
        """Returns the version's number and its signatures."""
        message = protocol.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(message, version)
        answer = protocol.GetModelMetadataResponse
        (found,) = yield [
            Request(protocol.GET_MODEL_METADATA, message, answer, self._route.timeout)
        ]
        packed = found.metadata["signature_def"].value
        definitions = protocol.SignatureDefMap.FromString(packed).signature_def
        return found.model_spec.version.value, inputs.signatures(definitions)

    def status(
        self, version: Version, timeout: float | None = None
    ) -> Dialogue[list[VersionStatus]]:
        """See `Client.status`."""
        message = protocol.GetModelStatusRequest()
        self._address(message, version)
        answer, seconds = protocol.GetModelStatusResponse, self._route.timeout
        (found,) = yield [
            Request(protocol.GET_MODEL_STATUS, message, answer, timeout or seconds)
        ]
        return [
            VersionStatus(
                entry.version,
                protocol.STATES.get(entry.state, "UNKNOWN"),
                entry.status.error_message,
            )
            for entry in found.model_version_status
        ]

    def readiness(self, timeout: float) -> Dialogue[None]:
        """See `Client.wait_until_ready`."""
        deadline = time.monotonic() + timeout
        while True:
            # A second for the last try: a timeout of 0 means one try.
            left = max(deadline - time.monotonic(), 1.0)
            try:
                entries = yield from self.status(None, min(left, self._route.timeout))
                if any(entry.state == "AVAILABLE" for entry in entries):
                    return
                error = channel.unavailable(self._route.target, entries)
            except ServingError as refused:
                error = refused
            if time.monotonic() > deadline:
                raise error
            yield 0.05

    def _known(self, version: Version) -> Dialogue[tuple[int, _Signatures]]:
        """Returns the version's number and signatures, asked for only once."""
        known = self._signatures.get(version)
        if known is None:
            known = yield from self.metadata(version)
            self._signatures[version] = known
        return known

    def _request(
        self,
        arrays: Mapping[str, Array],
        signature_name: str,
        version: Version,
        outputs: Sequence[str] | None,
    ) -> Request:
        message = protocol.PredictRequest()
        message.model_spec.signature_name = signature_name
        message.output_filter.extend(outputs or ())
        for name, array in arrays.items():
            tensors.encode_content(array, message.inputs[name])
        self._address(message, version)
        answer, timeout = protocol.PredictResponse, self._route.timeout
        return Request(protocol.PREDICT, message, answer, timeout)

    def _address(self, message: Message, version: Version) -> None:
        """Says which model a message is for, and which version: a number or a label."""
        message.model_spec.name = self._model_name
        if isinstance(version, str):
            message.model_spec.version_label = version
        elif version is not None:
            message.model_spec.version.value = version

    def _actions(self, outputs: dict[str, Array]) -> Nest:
        if self._action_space is None and "action" not in outputs:
            return {key.removeprefix("action_"): a for key, a in outputs.items()}
        wanted = names.paths(self._action_space)
        if {names.join("action", path) for path in wanted} != outputs.keys():
            raise ValueError(
                f"The served policy must act in {self._action_space}; serve one that "
                f"was trained for it. Received: the outputs {sorted(outputs)}"
            )
        return names.build(
            self._action_space, lambda path: outputs[names.join("action", path)]
        )
