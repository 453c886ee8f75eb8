"""A client for TensorFlow Serving that only needs NumPy and gRPC."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import grpc

from kpg import checks
from kpg.export.client import inputs, protocol
from kpg.export.client.inputs import SignatureSpec
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError, explained
from kpg.export.wire.tensors import Message
from kpg.types import Array, Nest, Space

_Method: TypeAlias = Callable[..., Message]
_Signatures: TypeAlias = dict[str, SignatureSpec]


class VersionStatus(NamedTuple):
    """What a server says about one version."""

    version: int
    state: str  # "START", "LOADING", "AVAILABLE", "UNLOADING" or "END"
    error: str  # why it is not served if it failed, else empty


class Client:
    """Asks a server for actions: `kpg serve`, or TensorFlow Serving itself.

    It does not import TensorFlow, and several threads can share it. Its methods raise
    `ServingError` if the server cannot be reached or refuses the request.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:8500",
        *,
        model_name: str = "default",
        timeout: float = 10.0,
        action_space: Space | None = None,
    ) -> None:
        """Prepares a connection. Nothing is sent before the first call.

        Args:
            target: `host:port` of the server. Defaults to "127.0.0.1:8500".
            model_name: What the server calls the model. Defaults to "default", as for
                `kpg serve` and TensorFlow Serving.
            timeout: Seconds that a call may take, > 0. Defaults to 10.
            action_space: The environment's `Dict` or `Tuple` space, which actions then
                follow. Defaults to None: such actions are a dictionary by path.
        """
        self.target = target
        self.model_name = model_name
        self.timeout = checks.positive("timeout", timeout)
        self.action_space = action_space
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A new server is found at once: gRPC's own pauses grow to 2 minutes.
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", 50),
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self._predict = self._method(protocol.PREDICT, protocol.PredictResponse)
        self._metadata = self._method(
            protocol.GET_MODEL_METADATA, protocol.GetModelMetadataResponse
        )
        self._status = self._method(
            protocol.GET_MODEL_STATUS, protocol.GetModelStatusResponse
        )
        self._signatures: dict[int | None, tuple[int, _Signatures]] = {}

    def act(self, observations: Nest) -> Nest:
        """Returns the most likely actions.

        A recurrent policy takes each observation as the first of an episode; see
        `kpg.export.Player` for whole episodes.

        Args:
            observations: `[B, ...]`, as the environment gives them: an array, or a
                dictionary or tuple of arrays and of sequences of strings.

        Returns:
            Actions `[B, ...]`, as the environment takes them; see `action_space`.

        Raises:
            ValueError: See `predict`; or if the policy has another action space.
        """
        return self.step(observations)[0]

    def step(
        self,
        observations: Nest,
        state: Mapping[str, Array] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
    ) -> tuple[Nest, dict[str, Array]]:
        """Acts once, with the state of a recurrent policy. Raises what `act` raises.

        Args:
            observations: See `act`.
            state: What the previous step of these rows returned. Defaults to zeros,
                the state at the beginning of an episode.
            seed: See `sample`. Defaults to None: the most likely actions.

        Returns:
            Actions, see `act`, and the state after this step: arrays `[B, units]` by
            name, none if the policy has no memory.
        """
        name = names.GREEDY if seed is None else names.SAMPLE
        signature = self._known(None)[1].get(name)
        wanted = [
            output
            for output in (signature.outputs if signature else ())
            if names.is_action(output) or names.is_state(output)
        ] or ["action"]
        outputs = self.predict(
            observations, signature_name=name, seed=seed, state=state, outputs=wanted
        )
        after = {key: a for key, a in outputs.items() if names.is_state(key)}
        actions = {key: a for key, a in outputs.items() if key not in after}
        return self._actions(actions), after

    def sample(self, observations: Nest, seed: int | Sequence[int]) -> dict[str, Array]:
        """Draws actions, and returns `action`, `log_prob` and the other outputs.

        Args:
            observations: See `act`.
            seed: An int32 number or two of them. Equal seeds draw equal actions, so
                use a new one for each step.
        """
        return self.predict(observations, signature_name=names.SAMPLE, seed=seed)

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        deterministic: bool = False,
    ) -> list[str]:
        """Completes prompts with a language policy; returns texts without the prompts.

        Args:
            prompts: B strings, none empty.
            max_new_tokens: Upper limit on the tokens of a completion. Defaults to the
                exported limit, which no request can exceed.
            temperature: What logits are divided by, > 0. Defaults to the policy's.
            seed: An int32 number; equal seeds draw equal completions of equal prompts.
                Defaults to a random one.
            deterministic: Chooses the most likely tokens. Defaults to `False`.

        Raises:
            ValueError: If `prompts` are not strings.
        """
        seed = secrets.randbits(31) if seed is None else seed
        asked = inputs.asked(prompts, max_new_tokens, temperature, seed, deterministic)
        found = self.predict(
            asked, signature_name=names.COMPLETE, outputs=["completions"]
        )
        return [text.decode() for text in found["completions"]]

    def predict(
        self,
        observations: Nest,
        *,
        signature_name: str = names.GREEDY,
        seed: int | Sequence[int] | None = None,
        state: Mapping[str, Array] | None = None,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Runs a signature, and returns NumPy arrays by output name.

        Inputs are cast to the data types of the signature, which the client asks for
        once per version.

        Args:
            observations: `[B, ...]` for the signature's only input (or only one beside
                `seed` and state); or a nest of them, see `act`; or all inputs by name.
            signature_name: Defaults to "serving_default".
            seed: For a signature with an input `seed`: an int32 number or two of them.
            state: See `step`.
            version: Which version to ask. Defaults to the newest.
            outputs: Which outputs to return. Defaults to all.

        Raises:
            ValueError: If a cast would lose something, such as 0.5 to an integer.
        """
        request = protocol.PredictRequest()
        request.model_spec.signature_name = signature_name
        request.output_filter.extend(outputs or ())
        served, signatures = self._known(version)
        signature = signatures.get(signature_name)
        # An unknown signature is requested all the same: the server's error is clearer.
        wanted = signature.inputs if signature else {}
        for name, array in inputs.named(observations, state, seed, wanted).items():
            tensors.encode_content(array, request.inputs[name])
        try:
            response = self._call(self._predict, request, version, self.timeout)
        except ServingError:
            # A new version may want something else: ask again the next time.
            self._signatures.pop(version, None)
            raise
        if response.model_spec.version.value != served:
            self._signatures.pop(version, None)
        found = sorted(response.outputs.items())
        return {name: tensors.decode(tensor) for name, tensor in found}

    def metadata(self, version: int | None = None) -> dict[str, SignatureSpec]:
        """Returns the signatures of a version by name, by default of the newest."""
        return self._ask_metadata(version)[1]

    def status(self, version: int | None = None) -> list[VersionStatus]:
        """Returns the state of one version, by default of all, newest first."""
        return self._ask_status(version, self.timeout)

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Returns once the server serves the model, or raises the last `ServingError`.

        `timeout` is in seconds, by default 30; 0 tries once.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                # A second for the last try: a timeout of 0 means one try.
                left = max(deadline - time.monotonic(), 1.0)
                entries = self._ask_status(None, min(left, self.timeout))
                if any(entry.state == "AVAILABLE" for entry in entries):
                    return
                error = ServingError(
                    "UNAVAILABLE",
                    f"The server at {self.target} must have a version available. "
                    f"Received: {entries}",
                )
            except ServingError as refused:
                error = refused
            if time.monotonic() > deadline:
                raise error
            time.sleep(0.05)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _actions(self, outputs: dict[str, Array]) -> Nest:
        if self.action_space is None and "action" not in outputs:
            return {key.removeprefix("action_"): a for key, a in outputs.items()}
        wanted = names.paths(self.action_space)
        if {names.join("action", path) for path in wanted} != outputs.keys():
            raise ValueError(
                f"The served policy must act in {self.action_space}; serve one that "
                f"was trained for it. Received: the outputs {sorted(outputs)}"
            )
        return names.build(
            self.action_space, lambda path: outputs[names.join("action", path)]
        )

    def _method(self, path: str, response_class: Message) -> _Method:
        method: _Method = self._channel.unary_unary(
            path,
            request_serializer=tensors.serialize,
            response_deserializer=response_class.FromString,
        )
        return method

    def _call(
        self, method: _Method, request: Message, version: int | None, timeout: float
    ) -> Message:
        request.model_spec.name = self.model_name
        if version is not None:
            request.model_spec.version.value = version
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            raise explained(code, details, self.target, timeout) from error

    def _known(self, version: int | None) -> tuple[int, _Signatures]:
        """Returns the version's number and signatures, asked for only once."""
        known = self._signatures.get(version)
        if known is None:
            known = self._signatures[version] = self._ask_metadata(version)
        return known

    def _ask_status(self, version: int | None, timeout: float) -> list[VersionStatus]:
        request = protocol.GetModelStatusRequest()
        response = self._call(self._status, request, version, timeout)
        return [
            VersionStatus(
                entry.version,
                protocol.STATES.get(entry.state, "UNKNOWN"),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def _ask_metadata(self, version: int | None) -> tuple[int, _Signatures]:
        request = protocol.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call(self._metadata, request, version, self.timeout)
        packed = response.metadata["signature_def"].value
        definitions = protocol.SignatureDefMap.FromString(packed).signature_def
        return response.model_spec.version.value, inputs.signatures(definitions)
