"""How a language policy writes: its distribution, and what ends its texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import gymnasium as gym

from kpg import checks
from kpg.distributions.categorical import CategoricalFamily
from kpg.distributions.truncated import TruncatedFamily
from kpg.types import Config


@dataclasses.dataclass(frozen=True)
class Writing:
    """The options of `kpg.models.CausalLMPolicy` that say what it writes.

    Raises:
        ValueError: If a number is out of range, or what ends a text is neither a token
            nor a string that is not empty.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    stop: Sequence[str] = ()
    end_tokens: Sequence[str | int] = ()

    def __post_init__(self) -> None:
        checks.make_plain(self)
        if not self.temperature > 0.0:
            raise ValueError(
                "`temperature` must be greater than 0; for the most likely tokens, "
                f"evaluate deterministically. Received: temperature={self.temperature}"
            )
        checks.positive("repetition_penalty", self.repetition_penalty)
        for name in ("stop", "end_tokens"):
            given = getattr(self, name)
            several = (given,) if isinstance(given, (str, int)) else tuple(given)
            object.__setattr__(self, name, several)
        for text in self.stop:
            if not isinstance(text, str) or not text:
                checks.refuse("stop", "must hold strings that are not empty", self.stop)

    def family(self, action_space: gym.spaces.Discrete) -> CategoricalFamily:
        """Returns the distributions over tokens."""
        cuts = (self.top_k, self.top_p, self.min_p)
        if cuts == (None, None, None):
            return CategoricalFamily(action_space)
        return TruncatedFamily(action_space, *cuts)

    def get_config(self) -> Config:
        """Returns the options by name; JSON can hold them."""
        lists = {"stop": list(self.stop), "end_tokens": list(self.end_tokens)}
        return {**dataclasses.asdict(self), **lists}

    @property
    def plain(self) -> bool:
        """Whether only the tokenizer's end ends a text, and no token is penalised."""
        return self.repetition_penalty == 1.0 and not self.stop and not self.end_tokens
