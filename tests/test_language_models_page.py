"""What `docs/language_models.md` says: its code runs, its tables are complete."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest

import kpg
from kpg import values
from kpg.advantages.baselines import BASELINES
from kpg.cli.language.texts import Texts
from kpg.models.language.control.controls import CONTROLS
from kpg.trainers.settings import TrainerSettings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "language_models.md"


class TestPage:
    # An installed wheel has no documentation; a checkout always has.
    __test__ = (PAGE.parents[1] / "setup.py").is_file()

    @pytest.mark.slow
    def test_the_code_runs(
        self, monkeypatch: pytest.MonkeyPatch, one_by_one: None
    ) -> None:
        shallow = functools.partial(kpg.text.gpt2, num_layers=1)
        monkeypatch.setattr(kpg.text, "gpt2", shallow)
        monkeypatch.setattr("kpg.trainers.running.programs.pays_off", lambda *_: False)
        names: dict[str, Any] = {"__name__": "page"}
        for code in re.findall(r"```python\n(.*?)```", self.text(), re.DOTALL):
            # Texts of four tokens take a third of the time.
            exec(re.sub(r"\b12\b", "4", code), names)
        logged = names["history"].history
        assert {"reward/polite", "ended", "reference_kl"} <= logged.keys()
        assert len(names["texts"]) == 1 and names["log_probs"][0] < 0.0
        # The reference of adapters is a copy of them alone, and of the value head's.
        adapters, policy = names["adapted"].reference, names["policy"]
        assert 0 < len(adapters.snapshot) < len(policy.weights) / 2

    def test_tables_are_complete(self) -> None:
        text = self.text()
        known = BASELINES | CONTROLS
        rows = re.findall(r'^\| `(\w+\(.*\))` \| `"(\w+)"` \|', text, re.M)
        assert {name: value for value, name in rows} == {
            name: f"{kind.__name__}({', '.join(values.arguments_of(kind))})"
            for name, kind in known.items()
        }
        tasks = re.findall(r"^\| `(text:\w+)` \|", text, re.M)
        assert tasks == Texts().ids()
        row = r'^\| `(\w+)(?:="\w+")?` \| `(reference_kl_\w+)` \|'
        flat = {name: argument for argument, name in re.findall(row, text, re.M)}
        assert flat == TrainerSettings.options["reference"].flat

    def test_links_lead_somewhere(self) -> None:
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", self.text())
        assert {"benchmarks.md", "rewards.md", "serving.md"} <= {*links}
        assert all((PAGE.parent / link).exists() for link in links)

    def text(self) -> str:
        return PAGE.read_text(encoding="utf-8")
