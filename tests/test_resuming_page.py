"""What `docs/resuming.md` says can be copied."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from kpg.cli import flags

PAGE = Path(__file__).resolve().parents[1] / "docs" / "resuming.md"


class TestPage:
    # An installed wheel has no documentation; a checkout always has.
    __test__ = (PAGE.parents[1] / "setup.py").is_file()

    @pytest.mark.usefixtures("one_by_one")
    def test_the_code_prints_what_it_says(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        text = PAGE.read_text(encoding="utf-8")
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        names: dict[str, Any] = {"__name__": "page"}
        # One pass over the rows is enough.
        exec(code.replace("minibatch_size", "num_epochs=1, minibatch_size"), names)
        said = re.findall(r"^print\(.*?\)  # (.*)$", code, re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == said

    def test_the_commands_exist(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        (block,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines():
            kpg, *arguments = shlex.split(line, comments=True)
            options = flags.parser().parse_args(arguments)
            assert (kpg, options.command) == ("kpg", "train")
            assert (options.env is None) == (options.resume is not None)
