"""Exporting and serving policies. Names load on use: a client needs no TensorFlow."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kpg.export.client.client import Client as Client
    from kpg.export.client.player import Player as Player
    from kpg.export.serving.server import Server as Server
    from kpg.export.serving.server import serve as serve
    from kpg.export.wire.errors import ServingError as ServingError
    from kpg.export.wire.errors import VerificationError as VerificationError
    from kpg.export.writing.saved_model import Export as Export
    from kpg.export.writing.saved_model import export_policy as export_policy
    from kpg.export.writing.saved_model import publish as publish
    from kpg.export.writing.verification import verify as verify

_MODULES = {
    "Client": "client.client",
    "ServingError": "wire.errors",
    "VerificationError": "wire.errors",
    "Player": "client.player",
    "Export": "writing.saved_model",
    "export_policy": "writing.saved_model",
    "publish": "writing.saved_model",
    "Server": "serving.server",
    "serve": "serving.server",
    "verify": "writing.verification",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"kpg.export.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'kpg.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
