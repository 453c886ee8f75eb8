"""Strings and tokens: a tokenizer that needs no files, and a small language model.

The package imports no KerasHub by itself, which takes seconds to load: `gpt2` and
`pretrained` do when they are called.
"""

from __future__ import annotations

from kpg.text.bpe_tokenizer import BPETokenizer as BPETokenizer
from kpg.text.bpe_tokenizer import byte_symbols as byte_symbols
from kpg.text.byte_tokenizer import ByteTokenizer as ByteTokenizer
from kpg.text.coding import Codec as Codec
from kpg.text.coding import check_tokenizer as check_tokenizer
from kpg.text.gguf_models import load_gguf as load_gguf
from kpg.text.language_models import gpt2 as gpt2
from kpg.text.letter_share import LetterShare as LetterShare
from kpg.text.phrases import phrases as phrases
from kpg.text.pretrained import pretrained as pretrained
from kpg.text.word_tokenizer import WordTokenizer as WordTokenizer
