"""A client for TensorFlow Serving that needs NumPy and gRPC only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import numpy as np
import numpy.typing as npt

from kpg.export import protocol, tensors
from kpg.export.errors import ServingError

Array = tensors.Array


class TensorSpec(NamedTuple):
    """What one input or output of a signature must be.

    Attributes:
        dtype: TensorFlow's name of the data type, such as "float" or "int64".
        shape: Sizes, None where a size varies; None as a whole where the rank does.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


class Signature(NamedTuple):
    """Inputs and outputs of one signature, by name."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """What a server says about one version.

    Attributes:
        version: Its number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: Why it is not served, if that is because of a failure; else empty.
    """

    version: int
    state: str
    error: str


class Client:
    """Asks a server for actions: `kpg serve`, or TensorFlow Serving itself.

    TensorFlow is not imported, so a client starts in a quarter of a second and runs
    where TensorFlow does not. All methods can be called from several threads.

    Example:
        with kpg.export.Client("127.0.0.1:8500") as client:
            client.wait_until_ready()
            actions = client.act(observations)
    """

    def __init__(
        self,
        target: str = "127.0.0.1:8500",
        *,
        model_name: str = "default",
        timeout: float = 10.0,
    ) -> None:
        """Prepares a connection; nothing is sent before the first call.

        Args:
            target: `host:port` of the server. Defaults to "127.0.0.1:8500".
            model_name: What the server calls the model. Defaults to "default", the
                default of `kpg serve` and of TensorFlow Serving.
            timeout: Seconds that a call may take. Defaults to 10.

        Raises:
            ValueError: If `timeout` is not positive.
        """
        if timeout <= 0:
            raise ValueError(
                f"timeout must be more than 0 seconds. Received: timeout={timeout}"
            )
        self.target = target
        self.model_name = model_name
        self.timeout = timeout
        self._channel = grpc.insecure_channel(
            target,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # A server that starts is found at once: gRPC's own pauses grow to two
                # minutes.
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
        self._signatures: dict[int | None, tuple[int, dict[str, Signature]]] = {}

    def act(self, observations: npt.ArrayLike) -> Array:
        """Returns the most likely actions.

        Args:
            observations: `[B, ...]`, as the environment gives them.

        Returns:
            Actions `[B, ...]`, as the environment takes them.

        Raises:
            ServingError: If the server cannot be reached or refuses the request.
        """
        return self.predict(observations, outputs=["action"])["action"]

    def sample(
        self, observations: npt.ArrayLike, seed: int | Sequence[int]
    ) -> dict[str, Array]:
        """Draws actions from the policy.

        Args:
            observations: `[B, ...]`, as the environment gives them.
            seed: An int32 number or two of them. Equal seeds draw equal actions, so
                give another one for each step.

        Returns:
            `action`, `log_prob` and what else the policy's signature returns.

        Raises:
            ServingError: If the server cannot be reached or refuses the request.
        """
        return self.predict(observations, signature_name="sample", seed=seed)

    def predict(
        self,
        observations: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = "serving_default",
        seed: int | Sequence[int] | None = None,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Runs a signature.

        Inputs are cast to the data types that the signature wants, which the client
        asks for once for each version.

        Args:
            observations: `[B, ...]` for the signature's only input (or only one beside
                `seed`); or several inputs by name.
            signature_name: Defaults to "serving_default".
            seed: For a signature with an input `seed`: an int32 number or two of them.
            version: Which version to ask. Defaults to the newest.
            outputs: Which outputs to return. Defaults to all.

        Returns:
            NumPy arrays by output name.

        Raises:
            ServingError: If the server cannot be reached or refuses the request.
            ValueError: If an input cannot be cast without loss to what the signature
                wants, such as 0.5 to an integer.
        """
        request = protocol.PredictRequest()
        self._fill(request.model_spec, version)
        request.model_spec.signature_name = signature_name
        request.output_filter.extend(outputs or ())
        served, signatures = self._known(version)
        signature = signatures.get(signature_name)
        # Without the signature the server is asked all the same: it has the better
        # words for that.
        specs = signature.inputs if signature else {}
        for name, values in _named(observations, seed, specs).items():
            array = _cast(name, np.asarray(values), specs.get(name))
            tensors.encode_content(array, request.inputs[name])
        try:
            response = self._call(self._predict, request, self.timeout)
        except ServingError:
            # Perhaps a new version wants something else: ask again the next time.
            self._signatures.pop(version, None)
            raise
        if response.model_spec.version.value != served:
            self._signatures.pop(version, None)
        return {
            name: tensors.decode(tensor)
            for name, tensor in sorted(response.outputs.items())
        }

    def metadata(self, version: int | None = None) -> dict[str, Signature]:
        """Asks what can be asked.

        Args:
            version: Which version to ask about. Defaults to the newest.

        Returns:
            The signatures by name.

        Raises:
            ServingError: If the server cannot be reached or has no such version.
        """
        return self._ask_metadata(version)[1]

    def status(self, version: int | None = None) -> list[VersionStatus]:
        """Asks which versions there are.

        Args:
            version: Which version to ask about. Defaults to all.

        Returns:
            The versions, newest first.

        Raises:
            ServingError: If the server cannot be reached or knows no such version.
        """
        return self._ask_status(version, self.timeout)

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Returns once the server serves the model.

        Args:
            timeout: Seconds to wait at most; 0 tries once. Defaults to 30.

        Raises:
            ServingError: If it does not by then; with the last reason.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                # A second for the last try, so that a timeout of 0 means one try.
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
        """Returns the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See `close`."""
        self.close()

    def _method(self, path: str, response_class: Any) -> Any:
        return self._channel.unary_unary(
            path,
            request_serializer=_serialize,
            response_deserializer=response_class.FromString,
        )

    def _call(self, method: Any, request: Any, timeout: float) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            details = error.details() or ""
            raise self._error(error.code().name, details, timeout) from error

    def _error(self, code: str, details: str, timeout: float) -> ServingError:
        if code == "UNAVAILABLE":
            details = (
                f"The server at {self.target} is unavailable; start one with `kpg "
                f"serve`, or give the address of one that runs. Received: {details}"
            )
        elif code == "DEADLINE_EXCEEDED":
            details = (
                f"The server at {self.target} did not answer within {timeout:g} "
                "seconds; give the client a longer timeout"
            )
        return ServingError(code, details)

    def _fill(self, spec: Any, version: int | None) -> None:
        spec.name = self.model_name
        if version is not None:
            spec.version.value = version

    def _known(self, version: int | None) -> tuple[int, dict[str, Signature]]:
        """Returns the version's number and signatures, asked for only once."""
        known = self._signatures.get(version)
        if known is None:
            known = self._signatures[version] = self._ask_metadata(version)
        return known

    def _ask_status(self, version: int | None, timeout: float) -> list[VersionStatus]:
        request = protocol.GetModelStatusRequest()
        self._fill(request.model_spec, version)
        response = self._call(self._status, request, timeout)
        return [
            VersionStatus(
                entry.version,
                protocol.STATES.get(entry.state, "UNKNOWN"),
                entry.status.error_message,
            )
            for entry in response.model_version_status
        ]

    def _ask_metadata(self, version: int | None) -> tuple[int, dict[str, Signature]]:
        request = protocol.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._fill(request.model_spec, version)
        response = self._call(self._metadata, request, self.timeout)
        packed = response.metadata["signature_def"].value
        definitions = protocol.SignatureDefMap.FromString(packed).signature_def
        signatures = {
            name: Signature(_specs(one.inputs), _specs(one.outputs))
            for name, one in sorted(definitions.items())
            if not name.startswith("__")  # TensorFlow's own, such as the initialiser
        }
        return response.model_spec.version.value, signatures


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(info) for name, info in sorted(infos.items())}


def _spec(info: Any) -> TensorSpec:
    shape = info.tensor_shape
    sizes = tuple(dim.size if dim.size >= 0 else None for dim in shape.dim)
    return TensorSpec(
        tensors.type_name(info.dtype), None if shape.unknown_rank else sizes
    )


def _named(
    observations: npt.ArrayLike | Mapping[str, npt.ArrayLike],
    seed: int | Sequence[int] | None,
    specs: Mapping[str, TensorSpec],
) -> dict[str, npt.ArrayLike]:
    """Gives each input its name."""
    if isinstance(observations, Mapping):
        named: dict[str, npt.ArrayLike] = dict(observations)
    else:
        others = [name for name in specs if name != "seed"]
        named = {others[0] if len(others) == 1 else "observation": observations}
    if seed is not None:
        named["seed"] = [seed, 0] if isinstance(seed, int) else seed
    return named


def _cast(name: str, array: Array, spec: TensorSpec | None) -> Array:
    """Casts to a signature's data type where that keeps the values.

    Rounding to a shorter floating-point type is no loss; what is not a number of the
    target at all is left as it is, for the server to refuse.
    """
    kind = tensors.kind_of_name(spec.dtype) if spec else None
    if kind is None or array.dtype == kind.dtype or array.dtype.kind not in "biuf":
        return array
    if kind.dtype.kind not in "biuf":
        return array
    with np.errstate(invalid="ignore", over="ignore"):
        cast = array.astype(kind.dtype)
    if kind.dtype.kind != "f" and not np.array_equal(cast, array):
        raise ValueError(
            f"Input {name} must hold values of {kind.name}; round or scale them first. "
            f"Received: {array.dtype} values outside of it"
        )
    return cast
