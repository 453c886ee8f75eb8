"""How a client reaches its server: address, encryption, token, and tries."""

from __future__ import annotations

import dataclasses
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import grpc

from kpg import checks
from kpg.export.wire.errors import ServingError, explained

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # in seconds
# What another try may mend; a server that computes an answer twice does no harm.
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)

Options = Sequence[tuple[str, "int | str"]]


@dataclasses.dataclass(frozen=True)
class TLS:
    """Encryption, with certificates in PEM files.

    Attributes:
        root_certificates: Of whom the server's certificate must be. Defaults to those
            that gRPC brings along.
        certificate_chain: The client's own, for a server that verifies clients.
            Defaults to none.
        private_key: Of that one. Defaults to none.
        server_name: The name in the server's certificate. Defaults to the target's.
    """

    root_certificates: str | os.PathLike[str] | None = None
    certificate_chain: str | os.PathLike[str] | None = None
    private_key: str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError(
                "`certificate_chain` and `private_key` must be given together. "
                f"Received: {self!r}"
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files; a `ValueError` says which one cannot be read."""
        files = (self.root_certificates, self.private_key, self.certificate_chain)
        return grpc.ssl_channel_credentials(*map(_read, files))


def _read(file: str | os.PathLike[str] | None) -> bytes | None:
    try:
        return None if file is None else Path(file).read_bytes()
    except OSError as error:
        raise ValueError(
            "A certificate or key must be a file that can be read. Received: "
            f"{os.fspath(file or '')} ({error.strerror})"
        ) from error


@dataclasses.dataclass(frozen=True)
class Route:
    """Where requests go to, and what all of them carry.

    Attributes:
        target: `host:port`, or `unix:/path/of/a/socket`.
        timeout: Seconds that a call may take, with all its tries.
        retries: Further tries after one that the server did not take.
        token: Sent along as `authorization: Bearer …`.
        tls: Encryption.
    """

    target: str
    timeout: float
    retries: int
    token: str | None
    tls: TLS | None

    def __post_init__(self) -> None:
        checks.positive("timeout", self.timeout)
        checks.whole_number("retries", self.retries, 0)
        if self.token is not None and not (self.token and self.token.isprintable()):
            # Not the token itself: messages end in logs.
            raise ValueError(
                "`token` must be printable and not empty; strip the line break of a "
                f"file. Received: {len(self.token)} characters"
            )

    @property
    def options(self) -> Options:
        """The options of the channel."""
        options: list[tuple[str, int | str]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # A new server is found at once: gRPC's own pauses grow to 2 minutes.
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        if self.tls is not None and self.tls.server_name is not None:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each request carries."""
        return (
            () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        )

    def tries(self, timeout: float) -> Tries:
        """Begins a call of `timeout` seconds."""
        return Tries(self, timeout, time.monotonic() + timeout)


@dataclasses.dataclass
class Tries:
    """One call, however often it is tried before its deadline."""

    route: Route
    timeout: float
    deadline: float
    failed: int = 0

    def left(self) -> float:
        """Returns the seconds that are left."""
        return max(self.deadline - time.monotonic(), 0.0)

    def pause(self, error: grpc.RpcError) -> float:
        """Returns the seconds before the next try, or raises a `ServingError`."""
        code = error.code()
        # Without the random part all clients would come back together.
        pause = min(_FIRST_PAUSE * 2.0**self.failed, _LONGEST_PAUSE)
        pause *= random.uniform(0.5, 1.0)
        if (
            code in _PASSING
            and self.failed < self.route.retries
            and pause < self.left()
        ):
            self.failed += 1
            return pause
        target, details = self.route.target, error.details() or ""
        raise explained(code.name, details, target, self.timeout) from error


def unavailable(target: str, seen: object) -> ServingError:
    """Makes the error of a server that has no version to answer with."""
    return ServingError(
        "UNAVAILABLE",
        f"The server at {target} must have a version available. Received: {seen}",
    )
