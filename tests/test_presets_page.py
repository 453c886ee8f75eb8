"""What `docs/presets.md` says: a preset is trained, saved, and served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_nlp
import pytest

from tests import pages
from tests.texts import bpe, gpt2

PAGE = pages.DOCS / "presets.md"


class TestPage:
    # An installed wheel has no documentation; a checkout always has.
    __test__ = (pages.ROOT / "setup.py").is_file()

    @pytest.mark.slow
    def test_the_code_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("kpg.trainers.running.programs.pays_off", lambda *_: False)
        tokenizer = bpe()
        backbone = gpt2(tokenizer.vocabulary_size(), max_tokens=48).backbone
        preprocessor = keras_nlp.models.GPT2CausalLMPreprocessor(tokenizer)
        lm = keras_nlp.models.GPT2CausalLM(backbone, preprocessor)
        lm.save_to_preset("preset")
        names: dict[str, Any] = {"__name__": "page"}
        for block in pages.blocks(PAGE):
            exec(compile(block.code, PAGE.name, "exec"), names)
        policy, served = names["policy"], names["served"]
        written = policy.generate(["it is"], 12, seed=1)
        assert served == written
        moved = zip(policy.trunk.lm.weights, lm.weights, strict=True)
        assert any((new.numpy() != old.numpy()).any() for new, old in moved)
        assert type(names["lm"]) is keras_nlp.models.GPT2CausalLM
