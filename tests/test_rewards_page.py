"""What `docs/rewards.md` says: its code runs, its table is complete, its traps hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kpg import rewards

PAGE = Path(__file__).resolve().parents[1] / "docs" / "rewards.md"
REFERENCE = "The old man saw a small house at the end of the road."


def rows(heading: str) -> list[list[str]]:
    """Returns the cells of the table below a line that starts so."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(heading)) + 2
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        cells = re.split(r"(?<!\\)\|", line)[1:-1]
        table.append([cell.strip() for cell in cells])
    return table


class TestPage:
    # An installed wheel has no documentation; a checkout always has.
    __test__ = (PAGE.parents[1] / "setup.py").is_file()

    def test_the_code_runs(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = PAGE.read_text(encoding="utf-8")
        names: dict[str, Any] = {"__name__": "page"}
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(code, names)
        bleu = (4 / 5 * 2 / 4 * 1 / 3 * (1 / 2) / 2) ** (1 / 4)
        assert names["scores"] == [pytest.approx(bleu + 0.5)]
        assert names["found"].means()["polite"] == 1.0
        assert "same_number_of_lines" in capsys.readouterr().out
        assert names["again"].word == "thanks"

    def test_every_reward_is_in_the_table_with_its_options_and_columns(self) -> None:
        listed = {}
        for call, _, _, needs in rows("| reward | range"):
            found = re.fullmatch(r"`(\w+)\((.*)\)`", call)
            assert found is not None
            listed[found[1]] = (found[2].split(", ") if found[2] else [], needs)
        for name, (options, needs) in listed.items():
            shipped = getattr(rewards, name)
            code = getattr(shipped, "__init__", shipped)
            names = getattr(shipped, "__code__", getattr(code, "__code__", None))
            assert names is not None
            arguments = names.co_varnames[: names.co_argcount]
            assert [a for a in arguments if a not in ("self", "name")] == options
            assert all(
                f"`{column}`" in needs for column in getattr(shipped, "requires", ())
            )
        public = {
            name
            for name, kind in vars(rewards).items()
            if isinstance(kind, type) and issubclass(kind, rewards.Reward)
        }
        public -= {"Reward", "TextReward"}
        assert listed.keys() == public | {"bleu_and_grammar"}

    def test_the_traps_are_traps(self) -> None:
        for code, text, score in rows("| reward | text"):
            reward = eval(code.strip("`"), dict(vars(rewards)))
            (found,) = reward([""], [text], references=[REFERENCE])
            assert f"{found + 0.0:.2f}" == score
