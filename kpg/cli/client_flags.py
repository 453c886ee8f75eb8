"""The flags that say how a client reaches its server; TensorFlow is not imported."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kpg.cli.command_result import UsageError
from kpg.types import Space

if TYPE_CHECKING:
    from kpg.export.client.client import Client

_PARTS = {
    "root_certificates": ("FILE", "of whom the server's must be; default: gRPC's own"),
    "certificate_chain": ("FILE", "the client's, for a server that verifies clients"),
    "private_key": ("FILE", "of the client's certificate"),
    "server_name": ("NAME", "the name in the server's; default: that of the address"),
}


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the token of `kpg serve --token_file` and the fields of `kpg.export.TLS`."""
    text = "file with the token that the server wants"
    parser.add_argument("--token-file", metavar="FILE", help=text)
    text = "encrypt the connection; any of the next four implies it"
    parser.add_argument("--tls", action="store_true", help=text)
    for name, (metavar, text) in _PARTS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar=metavar, help=f"of certificates: {text}")


def check(options: argparse.Namespace) -> None:
    """Refuses these flags where there is no server, with a `UsageError`."""
    given = [name for name in ("token_file", "tls", *_PARTS) if getattr(options, name)]
    if given and options.server is None:
        flag = f"--{given[0].replace('_', '-')}"
        raise UsageError(
            f"{flag} is for a server; name one with --server. Received: {flag} alone"
        )


def client_of(options: argparse.Namespace, action_space: Space | None = None) -> Client:
    """Makes the client that was asked for; a `ValueError` if a file is not there."""
    from kpg.export.client.channel import TLS
    from kpg.export.client.client import Client

    parts = {name: getattr(options, name) for name in _PARTS}
    return Client(
        options.server,
        model_name=options.model_name,
        action_space=action_space,
        token=_token(options.token_file) if options.token_file else None,
        tls=TLS(**parts) if options.tls or any(parts.values()) else None,
    )


def _token(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"The file of a token must be readable. Received: {file} ({error})"
        ) from error
