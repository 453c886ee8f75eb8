"""Files that are not GGUF, or not complete."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from kpg.language.pretrained.gguf_file import GGUFFile
from kpg.text import load_gguf
from tests import gguf_files


def test_reads_metadata_and_tensors(tmp_path: Path) -> None:
    file = GGUFFile(gguf_files.write(tmp_path / "m.gguf"))
    assert file.value("general.architecture") == "llama"
    assert file.value("llama.block_count") == gguf_files.LAYERS
    assert file.value("nothing", None) is None
    with pytest.raises(ValueError, match="must have an entry nothing. Received: none"):
        file.value("nothing")
    tensors = gguf_files.weights()
    assert "token_embd.weight" in file and "nothing" not in file
    assert sorted(tensors) == file.unread()
    for name, tensor in tensors.items():
        assert file.shape(name) == tensor.shape
        np.testing.assert_array_equal(file.array(name), tensor)
    assert file.unread() == []
    with pytest.raises(ValueError, match="every tensor.*no nothing among"):
        file.shape("nothing")


def test_refuses_what_is_no_file_of_gguf(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with pytest.raises(ValueError, match="must be a GGUF file. Received: .*m.gguf"):
        load_gguf(path)
    path.write_bytes(b"PK\x03\x04 a zip")
    with pytest.raises(ValueError, match=r"begins with b'PK\\x03\\x04'"):
        load_gguf(path)
    whole = gguf_files.write(path).read_bytes()
    for cut in (6, 400, len(whole) - 4000):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="must be complete"):
            load_gguf(path)


def test_refuses_a_quantisation_that_nobody_reads(tmp_path: Path) -> None:
    file = GGUFFile(gguf_files.write(tmp_path / "m.gguf"))
    tensor = file._tensors["output_norm.weight"]
    unread = type(tensor.tensor_type).Q8_K
    file._tensors["output_norm.weight"] = tensor._replace(tensor_type=unread)
    with pytest.raises(ValueError, match="Q8_0. Received: output_norm.weight"):
        file.array("output_norm.weight")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ImportError, match=r'pip install "kpg\[gguf\]"'):
        load_gguf("m.gguf")
