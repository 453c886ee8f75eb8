"""What `docs/tuning.md` says: its code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tuning.md"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of KerasTuner
def test_the_code_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    scope: dict[str, Any] = {}
    for code in blocks:
        exec(compile(code, str(PAGE), "exec"), scope)
    assert (tmp_path / "best.keras").is_file()
    assert "±" in capsys.readouterr().out
