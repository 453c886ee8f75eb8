"""What the programs for a GPU do; this file runs in every environment."""

from __future__ import annotations

import dataclasses
import json
import lzma
from pathlib import Path
from typing import Any

# Where the programs go; git ignores it.
BUILD = Path(__file__).resolve().parents[2] / "build" / "gpu"


@dataclasses.dataclass(frozen=True)
class Control:
    """PPO on an environment in the graph; learning rate and coefficients stay."""

    env: str
    num_envs: int
    num_steps: int
    num_minibatches: int
    num_epochs: int = 4
    learning_rate: float = 1e-3
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0
    max_grad_norm: float = 0.5
    normalize: bool = False
    hidden_units: tuple[int, ...] = (64, 64)

    @property
    def rows(self) -> int:
        """Environment steps of an iteration."""
        return self.num_envs * self.num_steps

    @property
    def updates(self) -> int:
        """Gradient steps of an iteration."""
        return self.num_epochs * self.num_minibatches

    @property
    def title(self) -> str:
        """Its name in tables."""
        units = "" if self.hidden_units == (64, 64) else ", 256 × 256"
        return f"{self.env}, {self.num_envs:,} × {self.num_steps}{units}"


@dataclasses.dataclass(frozen=True)
class Text:
    """Writing texts with a GPT-2 of random weights, or learning from what it wrote."""

    part: str
    batch_size: int = 64
    prompt_tokens: int = 16
    new_tokens: int = 112
    vocabulary_size: int = 50257
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 768

    @property
    def rows(self) -> int:
        """Tokens that are written or learned from."""
        return self.batch_size * self.new_tokens

    @property
    def updates(self) -> int:
        """Gradient steps of an iteration."""
        return 1

    @property
    def title(self) -> str:
        """Its name in tables."""
        what = {"write": "writing", "update": "an update"}[self.part]
        return f"GPT-2 {self.num_layers} × {self.hidden_dim}, {what}"


def _cart_pole(num_envs: int, **settings: Any) -> Control:
    return Control("CartPole-v1", num_envs, 32, 4, **settings)


def _mountain_car(num_envs: int) -> Control:
    # kpg's preset, but for its schedules.
    settings = {"gamma": 0.995, "gae_lambda": 0.98, "ent_coef": 0.01}
    return Control("MountainCar-v0", num_envs, 64, 8, normalize=True, **settings)


WORKS: dict[str, Control | Text] = {
    "cart_pole_1024": _cart_pole(1024),
    "cart_pole_4096": _cart_pole(4096),
    "cart_pole_16384": _cart_pole(16384),
    "cart_pole_65536": _cart_pole(65536),
    "cart_pole_4096_wide": _cart_pole(4096, hidden_units=(256, 256)),
    "mountain_car_4096": _mountain_car(4096),
    "text_write": Text("write"),
    "text_update": Text("update"),
    # For trying out the scripts.
    "cart_pole_tiny": _cart_pole(16),
    "mountain_car_tiny": _mountain_car(16),
    "text_write_tiny": Text("write", 4, 4, 4, 258, 1, 2, 16),
    "text_update_tiny": Text("update", 4, 4, 4, 258, 1, 2, 16),
}
# What is measured, the most important first.
MEASURED = (
    *("cart_pole_4096", "mountain_car_4096"),
    *("cart_pole_16384", "cart_pole_1024", "cart_pole_65536", "cart_pole_4096_wide"),
    *("text_write", "text_update"),
)


def read(path: Path) -> bytes:
    """Reads a compressed file."""
    return lzma.decompress(path.read_bytes())


def write(path: Path, content: bytes) -> None:
    """Compresses a file, where most of it is numbers of four bytes."""
    filters: list[dict[str, Any]] = [
        {"id": lzma.FILTER_DELTA, "dist": 4},
        {"id": lzma.FILTER_LZMA2, "preset": 6},
    ]
    path.write_bytes(lzma.compress(content, lzma.FORMAT_XZ, filters=filters))


def describe(path: Path) -> dict[str, Any]:
    """Reads what `export.py` says about a program."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found
