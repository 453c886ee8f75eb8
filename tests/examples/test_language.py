"""The examples of language policies, as they stand but briefly."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import kpg

ROOT = Path(__file__).resolve().parents[2]
FIGURE = r" +(-?\d+\.\d+)"


def load(name: str) -> Any:
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What `NamedTuple` and the annotations look for.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes models of one layer, whose graphs are built in half the time."""
    made = functools.partial(kpg.text.gpt2, num_layers=1)
    monkeypatch.setattr(kpg.text, "gpt2", made)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


class TestBleuAndGrammar:
    # An installed wheel has no examples; a checkout always has.
    __test__ = (ROOT / "setup.py").is_file()

    def test_a_short_run_prints_every_reward(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        example = load("bleu_and_grammar")
        given = example.sentences()
        few = example.Sentences(*(part[:12] for part in given))
        monkeypatch.setattr(example, "sentences", lambda: few)
        monkeypatch.setattr(example, "HELD_OUT", 2)
        monkeypatch.setattr(example, "NUM_ENVS", 10)
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 4)
        code = example.main(iterations=1, epochs=1, coefficient=0.25)
        printed = capsys.readouterr().out
        found = re.findall(rf"^(\w+, \w+){FIGURE}{FIGURE}{FIGURE}$", printed, re.M)
        rows = {name: [float(figure) for figure in row] for name, *row in found}
        assert list(rows) == [
            "known, before",
            "new, before",
            "known, after",
            "new, after",
        ]
        for bleu, grammar, total in rows.values():
            assert total == pytest.approx(bleu + 0.25 * grammar, abs=2e-3)
        before, after = rows["known, before"][2], rows["known, after"][2]
        assert before == after or (after > before) == (code == 0)

    def test_sentences_are_whole_and_have_a_beginning(self) -> None:
        given = load("bleu_and_grammar").sentences()
        assert len(given.prompts) > 500
        for prompt, rest in zip(*given, strict=True):
            assert len(prompt.split()) == 4
            assert rest.startswith(" ") and rest.endswith(".")
            assert 8 <= len((prompt + rest).split()) <= 20

    def test_the_first_word_of_a_completion_may_be_small(self) -> None:
        env = load("bleu_and_grammar").make_env(
            load("bleu_and_grammar").sentences(), 1.0, 0
        )
        _, grammar = env.task.reward.rewards
        assert grammar([""], [" value is returned."]) == [1.0]

    @pytest.mark.slow
    def test_the_reward_rises(self) -> None:
        result = run("bleu_and_grammar")
        assert result.returncode == 0, result.stdout[-2000:]


class TestSentiment:
    __test__ = (ROOT / "setup.py").is_file()

    @pytest.mark.slow
    def test_a_short_run_prints_its_table(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        example = load("sentiment")
        monkeypatch.setattr(example, "PARTS", [part[:2] for part in example.PARTS])
        monkeypatch.setattr(example, "NUM_ENVS", 4)
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 4)
        code = example.main(iterations=2, epochs=1)
        printed = capsys.readouterr().out
        rows = re.findall(rf"^ +(\d+){FIGURE}{FIGURE}{FIGURE}$", printed, re.M)
        assert [int(row[0]) for row in rows] == [4, 8]
        drifts, prices = ([float(row[i]) for row in rows] for i in (2, 3))
        assert drifts[0] == 0.0
        assert drifts[1] != 0.0
        assert prices == [pytest.approx(0.15, abs=1e-3)] * 2
        assert code in (0, 1)
        assert len(re.findall(r"^  (?:The|This|My|Our)", printed, re.M)) == 2 * 4

    @pytest.mark.parametrize(
        ("drift", "settled"), [(0.151, True), (0.119, False), (0.181, False)]
    )
    def test_settled_is_within_a_fifth(self, drift: float, settled: bool) -> None:
        example = load("sentiment")
        assert example.TARGET == 0.15
        assert example.Figures(0.0, 1.0, drift, 0.1, 1.0).settled is settled

    @pytest.mark.slow
    def test_texts_become_kinder_and_stay_near(self) -> None:
        result = run("sentiment")
        assert result.returncode == 0, result.stdout[-2000:]


OLD = ["Thou art [the] man", "He saith unto them", "And it was so.", "I say unto you"]
NEW = ["You are the man", "He says to them", "It was so.", "I tell you"]


def translation(verses: list[str]) -> Any:
    """Returns what a package of a translation holds; verse 3 is in the old one only."""
    return types.SimpleNamespace(
        verse_start_indices={number: 0 for number in range(len(verses))},
        get_scripture=lambda number: f" {verses[number]}\n",
    )


class TestModernEnglish:
    __test__ = (ROOT / "setup.py").is_file()

    def test_verses_are_those_of_both_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        example = load("modern_english")
        texts = {example.OLD: OLD, example.NEW: [*NEW[:2], "So"]}
        for package, verses in texts.items():
            module: Any = types.ModuleType(f"{package}.plain_text_readers_bible")
            module.bible = translation(verses)
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        assert example.verses() == [
            ("Thou art the man", "You are the man"),
            ("He saith unto them", "He says to them"),
        ]

    def test_says_what_to_install(self) -> None:
        with pytest.raises(ImportError, match=r"kpg\[examples\]"):
            load("modern_english").bible("no_such_translation")

    def test_no_verse_is_learned_and_held_out(self) -> None:
        example = load("modern_english")
        pairs = [(f"old {number % 90}", f"new {number}") for number in range(100)]
        data = example.divided(pairs)
        held_out, learned = (
            {old for old, _ in part} for part in (data.held_out, data.learned)
        )
        assert len(data.held_out) == len(held_out) >= 9
        assert not held_out & learned
        assert len(held_out | learned) == 90
        assert example.divided(pairs) == data

    def test_long_verses_are_left_out(self) -> None:
        example = load("modern_english")
        tokenizer = kpg.text.ByteTokenizer()
        pairs = [("a" * 24, "b"), ("a" * 25, "b"), ("a", "b" * 25)]
        assert example.within(pairs, tokenizer) == [("a" * 24 + "\n", "b")]

    @pytest.mark.slow
    def test_a_short_run_compares_before_and_after(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        example = load("modern_english")
        monkeypatch.setattr(example, "NUM_ENVS", 8)
        monkeypatch.setattr(example, "MAX_TOKENS", 12)
        monkeypatch.setattr(example, "HIDDEN_DIM", 8)
        monkeypatch.setattr(example, "JIT_COMPILE", False)
        monkeypatch.setattr(example, "CONTROL_EPOCHS", 1)
        pairs = [
            (f"{old} {name}", f"{new} {name}")
            for old, new in zip(OLD, NEW, strict=True)
            for name in ("Adam", "Eve", "Abel")
        ]
        code = example.main([3], epochs=1, iterations=1, control=True, pairs=pairs)
        printed = capsys.readouterr().out
        found = re.findall(rf"^(\D+)(?:\d+ \D+)?{FIGURE}{FIGURE}$", printed, re.M)
        assert len(found) == 4
        start, rewarded = ([float(figure) for figure in row[1:]] for row in found[1:3])
        rose = rewarded[0] > start[0] and rewarded[1] > start[1]
        assert rose or code == 1
        assert f"Both scores rose with {1 - code} of 1 seeds." in printed

    def test_better_means_both(self) -> None:
        example = load("modern_english")
        start, up = example.Scores(0.5, 0.3), example.Scores(0.6, 0.4)
        assert example.Outcome(start, up, None).better
        for worse in (start, example.Scores(0.6, 0.3), example.Scores(0.4, 0.4)):
            assert not example.Outcome(start, worse, None).better
