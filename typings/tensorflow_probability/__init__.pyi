"""Every name is `Any`: incomplete types would refuse code that is right."""

from typing import Any

def __getattr__(name: str) -> Any: ...
