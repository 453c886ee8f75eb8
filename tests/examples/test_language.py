"""The examples of language policies, as they stand but briefly."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
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
        monkeypatch.setattr(example, "HELD_OUT", ["The book"])
        monkeypatch.setattr(example, "NUM_ENVS", 4)
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 4)
        code = example.main(iterations=2, epochs=1)
        printed = capsys.readouterr().out
        rows = re.findall(rf"^ +(\d+){FIGURE}{FIGURE}{FIGURE}$", printed, re.M)
        assert [int(row[0]) for row in rows] == [4, 8]
        drifts, prices = ([float(row[i]) for row in rows] for i in (2, 3))
        assert drifts[0] == 0.0
        assert drifts[1] != 0.0
        assert prices == [pytest.approx(0.25, abs=2e-3)] * 2
        assert len(re.findall(r"^  The book", printed, re.M)) == 2 * 2
        assert f"where they began, with {1 - code} of 1 seeds." in printed

    @pytest.mark.parametrize(
        ("drift", "settled"), [(0.151, True), (0.119, False), (0.181, False)]
    )
    def test_settled_is_within_a_fifth(self, drift: float, settled: bool) -> None:
        example = load("sentiment")
        assert example.TARGET == 0.15
        assert example.Figures(0.0, 0.0, 1.0, drift, 1.0).settled is settled

    def test_kinder_is_than_the_start_and_than_what_was_learned(self) -> None:
        example = load("sentiment")
        for reviews, before, after, kinder in (
            (0.1, 0.2, 0.3, True),
            (0.1, 0.3, 0.2, False),
            (0.3, 0.1, 0.2, False),
        ):
            figures = example.Figures(reviews, before, after, 0.15, 1.0)
            assert figures.kinder is kinder

    def test_what_is_held_out_is_not_rewarded(self) -> None:
        example = load("sentiment")
        assert {*example.HELD_OUT} < {*example.PARTS[0]}
        assert {about for about, _ in example.reviews()} == {*example.PARTS[0]}

    @pytest.mark.slow
    def test_texts_become_kinder_and_stay_near(self) -> None:
        result = run("sentiment")
        assert result.returncode == 0, result.stdout[-2000:]


class TestTranslation:
    __test__ = (ROOT / "setup.py").is_file()

    def test_dates_are_right_and_new_ones_are_new(self) -> None:
        example = load("translation")
        taught, new = example.dates()
        assert len(new) == example.HELD_OUT and len(taught) == example.TAUGHT
        assert not {french for _, french in taught} & {french for _, french in new}
        date = example.datetime.date(2025, 3, 1)
        forms = [example.in_english(date, form) for form in range(4)]
        assert forms == [
            "Saturday, March 1, 2025",
            "Saturday, the 1st of March 2025",
            "Sat 1 Mar 2025",
            "March 1st, 2025 (Saturday)",
        ]
        assert example.in_french(date) == "samedi 1er mars 2025"
        teens = [example.datetime.date(2025, 8, day) for day in (3, 12, 22)]
        nths = [example.in_english(day, 1).split()[2] for day in teens]
        assert nths == ["3rd", "12th", "22nd"]

    @pytest.mark.slow
    def test_a_short_run_compares_with_doing_nothing(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        example = load("translation")
        for name, size in (("TAUGHT", 16), ("HELD_OUT", 4), ("NUM_ENVS", 8)):
            monkeypatch.setattr(example, name, size)
        code = example.main([3], epochs=1, iterations=1)
        printed = capsys.readouterr().out
        found = re.findall(rf"^(.+?) +ROUGE-L{FIGURE}  right{FIGURE}%", printed, re.M)
        assert [row[0] for row in found] == [
            "seed 3, as it is",
            "supervised start",
            "1 iterations",
        ]
        assert float(found[0][2]) == 0.0
        assert f"Both scores rose with {1 - code} of 1 seeds." in printed


class TestSummarisation:
    __test__ = (ROOT / "setup.py").is_file()

    def test_a_summary_tells_the_facts_of_its_report(self) -> None:
        example = load("summarisation")
        taught, new = example.reports()
        assert len(taught) == example.TAUGHT and len(new) == example.HELD_OUT
        assert not {one.summary for one in taught} & {one.summary for one in new}
        codec = example.make_policy(taught, 0).codec
        for one in new:
            texts = [one.text, one.summary, f" {one.lead}"]
            assert codec.decode(codec.encode(texts)) == texts
            report, *summaries = map(len, codec.encode(texts))
            assert report <= example.MAX_PROMPT_TOKENS
            assert max(summaries) < example.MAX_NEW_TOKENS  # and the end
            event, place, town, hurt = one.facts
            assert one.text.startswith(one.lead) and one.lead.count(".") == 1
            assert f"A {event} hit the {place} in {town}." in one.text
            assert re.search(rf"{hurt.title()} w\w+ hurt\.", one.text)
            assert one.summary == f" {event} at the {place} in {town}, {hurt} hurt"
        wanted = [one.facts for one in new]
        for texts in ([one.summary for one in new], [one.text for one in new]):
            assert example.facts([], texts, wanted) == [1.0] * len(new)
        assert example.facts(
            [], ["A fire in York"], [("fire", "zoo", "Ely", "two")]
        ) == [0.25]

    def test_few_lessons_are_good(self) -> None:
        example = load("summarisation")
        taught, _ = example.reports()
        given = example.lessons(taught, 0)
        pairs = list(zip(given, taught, strict=True))
        assert all(prompt == one.text for (prompt, _), one in pairs)
        good = np.mean([text == one.summary for (_, text), one in pairs])
        lead = np.mean([text == f" {one.lead}" for (_, text), one in pairs])
        assert good + lead == 1.0
        assert good == pytest.approx(example.GOOD, abs=0.05)

    @pytest.mark.slow
    def test_a_short_run_compares_with_doing_nothing(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        example = load("summarisation")
        for name, size in (("TAUGHT", 16), ("HELD_OUT", 4), ("NUM_ENVS", 8)):
            monkeypatch.setattr(example, name, size)
        code = example.main([3], epochs=1, iterations=1)
        printed = capsys.readouterr().out
        found = re.findall(rf"^(.+?) +ROUGE-L{FIGURE}  facts{FIGURE}%", printed, re.M)
        assert [row[0] for row in found] == [
            "seed 3, whole report",
            "first sentence",
            "supervised start",
            "1 iterations",
        ]
        assert float(found[0][2]) == 100.0
        assert f"Both scores rose with {1 - code} of 1 seeds." in printed

    @pytest.mark.slow
    def test_summaries_beat_the_first_sentence(self) -> None:
        result = run("summarisation")
        assert result.returncode == 0, result.stdout[-2000:]


class TestCalculator:
    __test__ = (ROOT / "setup.py").is_file()

    def test_what_is_taught_can_be_said(self) -> None:
        example = load("calculator")
        known, new = example.products()
        assert not {*known} & {*new} and len(known) == example.TAUGHT
        env, codec = example.make_env(known, 0), kpg.text.Codec(example.Signs())
        answered = 0
        for prompt, said in example.lessons(known[:50], 0):
            call = env.tools.answer(said)
            room = env.max_turn_tokens
            if call is not None:
                answered += 1
                assert call == dict(known)[prompt]
                assert len(codec.encode([call])[0]) <= env.max_reply_tokens
            assert len(codec.encode([said])[0]) < room  # and the end
            assert codec.decode(codec.encode([said])) == [said]
        assert 20 < answered < 40

    def test_only_the_last_turn_is_an_answer(self) -> None:
        example = load("calculator")
        turns = [["408"], ["[mul(12,34)]", "408", "408"], ["[mul(12,34)]", "408", "4"]]
        references = ["408"] * 3
        assert example.right([], [], turns, references) == [1.0, 1.0, 0.0]
        assert example.called([], [], turns) == [0.0, 1.0, 1.0]

    @pytest.mark.slow
    def test_it_learns_to_call_in_three_minutes(self) -> None:
        result = run("calculator")
        assert result.returncode == 0, result.stdout[-2000:]
        last = re.findall(rf"{FIGURE}% right{FIGURE}% called", result.stdout)[-1]
        assert float(last[1]) > 90.0
