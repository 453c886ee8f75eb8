"""Which decoder reads a language model's texts."""

from __future__ import annotations

from kpg.models.language.decoding import CachedDecoder, Decoder
from kpg.models.language.trunk import LanguageTrunk


def decoder_for(trunk: LanguageTrunk) -> Decoder:
    """Returns the fastest decoder that reads a model as the model itself does."""
    return CachedDecoder(trunk)
