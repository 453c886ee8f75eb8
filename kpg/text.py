"""Tokenizers that need no files, and language models; KerasHub is imported late."""

from __future__ import annotations

from kpg.language.pretrained.gguf_models import load_gguf as load_gguf
from kpg.language.pretrained.presets import pretrained as pretrained
from kpg.language.pretrained.small_models import gpt2 as gpt2
from kpg.language.prompt_stream import PromptStream as PromptStream
from kpg.language.rewards.lexicons import LetterShare as LetterShare
from kpg.language.tokenizers.bpe_tokenizer import BPETokenizer as BPETokenizer
from kpg.language.tokenizers.bpe_tokenizer import byte_symbols as byte_symbols
from kpg.language.tokenizers.codec import Codec as Codec
from kpg.language.tokenizers.codec import check_tokenizer as check_tokenizer
from kpg.language.tokenizers.phrases import phrases as phrases
from kpg.language.tokenizers.tokenizer import ByteTokenizer as ByteTokenizer
from kpg.language.tokenizers.word_tokenizer import WordTokenizer as WordTokenizer
