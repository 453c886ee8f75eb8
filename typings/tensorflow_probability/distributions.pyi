"""Every name is `Any`, as in the package."""

from typing import Any

def __getattr__(name: str) -> Any: ...
