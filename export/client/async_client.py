"""The client for programs that wait for many things at a time."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
import grpc.aio
from typing_extensions import override

from kpg.export.client.connection import Connection
from kpg.export.client.dialogue import Dialogue, Request, Version, VersionStatus
from kpg.export.client.inputs import SignatureSpec
from kpg.export.wire import names
from kpg.export.wire.errors import ServingError
from kpg.export.wire.tensors import Message
from kpg.types import Array, Nest

_T = TypeVar("_T")


class AsyncClient(Connection):
    """A `Client` whose methods are coroutines. It belongs to one event loop."""

    async def act(self, observations: Nest) -> Nest:
        """See `Client.act`."""
        return await self._hold(self._dialogues.act(observations))

    async def step(
        self,
        observations: Nest,
        state: Mapping[str, Array] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
    ) -> tuple[Nest, dict[str, Array]]:
        """See `Client.step`."""
        return await self._hold(self._dialogues.step(observations, state, seed))

    async def sample(
        self, observations: Nest, seed: int | Sequence[int]
    ) -> dict[str, Array]:
        """See `Client.sample`."""
        return await self.predict(observations, signature_name=names.SAMPLE, seed=seed)

    async def complete(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        deterministic: bool = False,
    ) -> list[str]:
        """See `Client.complete`."""
        return await self._hold(
            self._dialogues.complete(
                prompts, max_new_tokens, temperature, seed, deterministic
            )
        )

    async def predict(
        self,
        observations: Nest,
        *,
        signature_name: str = names.GREEDY,
        seed: int | Sequence[int] | None = None,
        state: Mapping[str, Array] | None = None,
        version: Version = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """See `Client.predict`."""
        return await self._hold(
            self._dialogues.predict(
                observations,
                signature_name,
                seed=seed,
                state=state,
                version=version,
                outputs=outputs,
            )
        )

    async def metadata(self, version: Version = None) -> dict[str, SignatureSpec]:
        """See `Client.metadata`."""
        return (await self._hold(self._dialogues.metadata(version)))[1]

    async def status(self, version: Version = None) -> list[VersionStatus]:
        """See `Client.status`."""
        return await self._hold(self._dialogues.status(version))

    async def wait_until_ready(self, timeout: float = 30.0) -> None:
        """See `Client.wait_until_ready`."""
        await self._hold(self._dialogues.readiness(timeout))

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.close()

    @override
    def _open(self) -> None:
        """Nothing: a channel belongs to the loop that runs when it is made."""

    @functools.cached_property
    def _channel(self) -> Any:
        return self._dial(grpc.aio)

    async def _hold(self, dialogue: Dialogue[_T]) -> _T:
        """Carries a dialogue to its end."""
        try:
            said = next(dialogue)
            while True:
                try:
                    answers = await self._answers(said)
                except ServingError as error:
                    said = dialogue.throw(error)
                else:
                    said = dialogue.send(answers)
        except StopIteration as end:
            result: _T = end.value
            return result

    async def _answers(self, said: list[Request] | float) -> list[Message]:
        if not isinstance(said, list):
            await asyncio.sleep(said)
            return []
        return await asyncio.gather(*map(self._answer, said))

    async def _answer(self, request: Request) -> Message:
        tries = self._route.tries(request.timeout)
        method = self._method(self._channel, request)
        while True:
            try:
                return await method(
                    request.message,
                    timeout=tries.left(),
                    metadata=self._route.metadata,
                )
            except grpc.RpcError as error:
                pause = tries.pause(error)
            await asyncio.sleep(pause)
