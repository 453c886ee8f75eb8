"""Exporting policies, serving them, and asking a server for actions.

Names are imported on first use: a client has no need of TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kpg.export.client import Client as Client
    from kpg.export.errors import ServingError as ServingError
    from kpg.export.errors import VerificationError as VerificationError
    from kpg.export.player import Player as Player
    from kpg.export.saved_model import Export as Export
    from kpg.export.saved_model import export_policy as export_policy
    from kpg.export.saved_model import publish as publish
    from kpg.export.server import Server as Server
    from kpg.export.server import serve as serve
    from kpg.export.verification import verify as verify

_MODULES = {
    "Client": "client",
    "ServingError": "errors",
    "VerificationError": "errors",
    "Player": "player",
    "Export": "saved_model",
    "export_policy": "saved_model",
    "publish": "saved_model",
    "Server": "server",
    "serve": "server",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"kpg.export.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'kpg.export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
