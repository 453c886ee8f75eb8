"""What "module:Name" names, or why it names nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kpg import imports


def test_a_name_in_a_module_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kpg_own_module.py").write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = imports.named("kpg_own_module:Mine")
    assert isinstance(found, type) and found.__name__ == "Mine"
    assert imports.named("kpg.spaces:encode") is not None
    with pytest.raises(ValueError, match="Did you mean Mine.*kpg_own_module:Min'"):
        imports.named("kpg_own_module:Min")


def test_the_error_of_the_module_itself_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kpg_broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="ZeroDivisionError: division by zero"):
        imports.named("kpg_broken_module:Mine")
    with pytest.raises(ValueError, match="No module named 'kpg_no_such_module'"):
        imports.named("kpg_no_such_module:Mine")
