"""Exporting and serving policies. Names load on use: a client needs no TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kpg import imports

if TYPE_CHECKING:
    from kpg.export.client.async_client import AsyncClient as AsyncClient
    from kpg.export.client.channel import TLS as TLS
    from kpg.export.client.client import Client as Client
    from kpg.export.client.player import Player as Player
    from kpg.export.serving.server import Server as Server
    from kpg.export.serving.server import serve as serve
    from kpg.export.wire.errors import ServingError as ServingError
    from kpg.export.wire.errors import VerificationError as VerificationError
    from kpg.export.writing.models_config import configure as configure
    from kpg.export.writing.saved_model import Export as Export
    from kpg.export.writing.saved_model import export_policy as export_policy
    from kpg.export.writing.saved_model import publish as publish
    from kpg.export.writing.staging import prune as prune
    from kpg.export.writing.verification import verify as verify

__getattr__, __dir__ = imports.lazily(
    __name__,
    {
        "kpg.export.client.async_client": "AsyncClient",
        "kpg.export.client.channel": "TLS",
        "kpg.export.client.client": "Client",
        "kpg.export.wire.errors": "ServingError VerificationError",
        "kpg.export.client.player": "Player",
        "kpg.export.writing.models_config": "configure",
        "kpg.export.writing.saved_model": "Export export_policy publish",
        "kpg.export.writing.staging": "prune",
        "kpg.export.serving.server": "Server serve",
        "kpg.export.writing.verification": "verify",
    },
)
