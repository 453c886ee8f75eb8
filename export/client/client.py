"""A client for TensorFlow Serving that only needs NumPy and gRPC."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
from typing_extensions import override

from kpg.export.client.connection import Connection
from kpg.export.client.dialogue import Dialogue, Request, Version, VersionStatus
from kpg.export.client.inputs import SignatureSpec
from kpg.export.wire import names
from kpg.export.wire.errors import ServingError
from kpg.export.wire.tensors import Message
from kpg.types import Array, Nest

_T = TypeVar("_T")


class Client(Connection):
    """Asks a server for actions: `kpg serve`, or TensorFlow Serving itself.

    It does not import TensorFlow, and several threads can share it. Its methods raise
    `ServingError` if the server cannot be reached or refuses the request.
    """

    def act(self, observations: Nest) -> Nest:
        """Returns the most likely actions.

        A recurrent policy takes each observation as the first of an episode; see
        `kpg.export.Player` for whole episodes.

        Args:
            observations: `[B, ...]`, as the environment gives them: an array, or a
                dictionary or tuple of arrays and of sequences of strings. Or a single
                one, without the batch axis.

        Returns:
            Actions `[B, ...]`, or a single one, as the environment takes them; see
            `action_space`.

        Raises:
            ValueError: See `predict`; or if the policy has another action space.
        """
        return self._hold(self._dialogues.act(observations))

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
        return self._hold(self._dialogues.step(observations, state, seed))

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
        return self._hold(
            self._dialogues.complete(
                prompts, max_new_tokens, temperature, seed, deterministic
            )
        )

    def predict(
        self,
        observations: Nest,
        *,
        signature_name: str = names.GREEDY,
        seed: int | Sequence[int] | None = None,
        state: Mapping[str, Array] | None = None,
        version: Version = None,
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
            version: Which version to ask: a number, or a label such as "stable".
                Defaults to the newest.
            outputs: Which outputs to return. Defaults to all.

        Raises:
            ValueError: If a cast would lose something, such as 0.5 to an integer.
        """
        return self._hold(
            self._dialogues.predict(
                observations,
                signature_name,
                seed=seed,
                state=state,
                version=version,
                outputs=outputs,
            )
        )

    def metadata(self, version: Version = None) -> dict[str, SignatureSpec]:
        """Returns the signatures of a version by name, by default of the newest."""
        return self._hold(self._dialogues.metadata(version))[1]

    def status(self, version: Version = None) -> list[VersionStatus]:
        """Returns the state of one version, by default of all, newest first."""
        return self._hold(self._dialogues.status(version))

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Returns once the server serves the model, or raises the last `ServingError`.

        `timeout` is in seconds, by default 30; 0 tries once.
        """
        self._hold(self._dialogues.readiness(timeout))

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    @override
    def _open(self) -> None:
        self._channel = self._dial(grpc)

    def _hold(self, dialogue: Dialogue[_T]) -> _T:
        """Carries a dialogue to its end."""
        try:
            said = next(dialogue)
            while True:
                try:
                    answers = self._answers(said)
                except ServingError as error:
                    said = dialogue.throw(error)
                else:
                    said = dialogue.send(answers)
        except StopIteration as end:
            result: _T = end.value
            return result

    def _answers(self, said: list[Request] | float) -> list[Message]:
        if not isinstance(said, list):
            time.sleep(said)
            return []
        if len(said) == 1:  # a call in this thread is faster
            return [self._answer(said[0], None)]
        sent = [
            self._method(self._channel, one).future(
                one.message, timeout=one.timeout, metadata=self._route.metadata
            )
            for one in said
        ]
        return [self._answer(*pair) for pair in zip(said, sent, strict=True)]

    def _answer(self, request: Request, sent: Any) -> Message:
        """Returns the answer to a request, which may have been sent already."""
        tries = self._route.tries(request.timeout)
        method = self._method(self._channel, request)
        while True:
            try:
                if sent is not None:
                    return sent.result()
                return method(
                    request.message,
                    timeout=tries.left(),
                    metadata=self._route.metadata,
                )
            except grpc.RpcError as error:
                time.sleep(tries.pause(error))
                sent = None
