"""The comparison with other libraries: its logic, and kpg's own speed as a ratio."""

from __future__ import annotations

import argparse
import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpg

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    # They stand beside what they import, as scripts do.
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    return importlib.import_module


def run(
    contender: str, repetition: int, speed: float, work: str = "cart_pole", **more: Any
) -> dict[str, Any]:
    against = {"kpg": "rejax"}.get(contender)
    return {
        "work": work,
        "contender": contender,
        "against": against,
        "repetition": repetition,
        "steps_per_second": speed,
        "startup_seconds": 5.0,
        "threshold_seconds": 8.0,
        "return_mean": 500.0,
        "peak_mb": 900.0,
        "machine": "2 cores",
        **more,
    }


class TestComparison:
    # An installed wheel has no benchmarks; a checkout always has.
    __test__ = BENCHMARKS.is_dir()

    def test_a_ratio_is_that_of_runs_that_follow_each_other(self, load: Any) -> None:
        comparison = load("comparison")
        # The machine is half as fast in the second repetition, and for both.
        runs = [run("kpg", 0, 60.0), run("kpg", 1, 30.0), run("kpg", 2, 80.0)]
        runs += [run("rejax", 0, 40.0), run("rejax", 1, 20.0), run("rejax", 2, 40.0)]
        pair = load("work").PAIRS[0]
        row = comparison.row(pair, runs)
        assert row.speed == (1.5, 1.5, 2.0)
        assert (row.ours.steps_per_second, row.theirs.steps_per_second) == (60.0, 40.0)
        assert row.repetitions == 3
        assert row.void == ""

    def test_only_complete_repetitions_count(self, load: Any) -> None:
        comparison, pair = load("comparison"), load("work").PAIRS[0]
        assert comparison.row(pair, [run("kpg", 0, 60.0)]) is None
        runs = [run("kpg", 0, 60.0), run("kpg", 1, 90.0), run("rejax", 1, 30.0)]
        row = comparison.row(pair, runs)
        assert (row.repetitions, row.speed.median) == (1, 3.0)

    def test_runs_against_another_peer_are_not_taken(self, load: Any) -> None:
        comparison, pair = load("comparison"), load("work").PAIRS[0]
        other = run("kpg", 0, 99.0, against="sbx")
        assert comparison.row(pair, [other, run("rejax", 0, 1.0)]) is None

    @pytest.mark.parametrize(
        ("ours", "theirs", "reason"),
        [
            (500.0, 480.0, ""),
            (474.0, 500.0, "kpg did not reach 475"),
            (500.0, math.nan, "rejax did not reach 475"),
            (501.0, 475.5, "the returns differ by more than 25"),
            (475.5, 501.0, "the returns differ by more than 25"),
        ],
    )
    def test_a_row_is_void_unless_both_learned_the_same(
        self, load: Any, ours: float, theirs: float, reason: str
    ) -> None:
        pair = load("work").PAIRS[0]
        assert load("comparison").why_void(pair, ours, theirs) == reason

    def test_one_bad_seed_voids_nothing_and_two_of_three_do(self, load: Any) -> None:
        comparison, pair = load("comparison"), load("work").PAIRS[0]
        peers = [run("rejax", seed, 1.0) for seed in range(3)]
        bad: dict[str, Any] = {"return_mean": 9.0}
        runs = [run("kpg", 0, 2.0, **bad), run("kpg", 1, 2.0), run("kpg", 2, 2.0)]
        assert comparison.row(pair, runs + peers).void == ""
        runs[1] |= bad
        assert comparison.row(pair, runs + peers).void != ""

    def test_who_does_not_reach_the_threshold_loses(self, load: Any) -> None:
        comparison, pair = load("comparison"), load("work").PAIRS[0]

        def sooner(ours: float | None, theirs: float | None) -> Any:
            runs = [
                run("kpg", 0, 1.0, threshold_seconds=ours),
                run("rejax", 0, 1.0, threshold_seconds=theirs),
            ]
            return comparison.row(pair, runs).sooner.median

        assert sooner(8.0, 20.0) == 2.5
        assert sooner(8.0, None) == math.inf
        assert sooner(None, 20.0) == sooner(None, None) == 0.0

    def test_memory_is_held_against_the_fastest_peer(self, load: Any) -> None:
        comparison = load("comparison")
        runs = [
            run("kpg", 0, 50.0),
            run("rejax", 0, 40.0, peak_mb=600.0),
            run("kpg", 0, 50.0, against="sbx", peak_mb=990.0),
            run("sbx", 0, 20.0, peak_mb=300.0),
        ]
        rows = comparison.rows(runs)
        assert [row.pair.theirs for row in rows] == ["rejax", "sbx"]
        assert [comparison.memory_ratio(row, rows) for row in rows] == [1.5, None]


class TestRunning:
    __test__ = BENCHMARKS.is_dir()

    def test_kpg_and_its_peers_take_turns(self, load: Any, tmp_path: Path) -> None:
        compare = load("compare")
        pairs = compare.chosen(argparse.Namespace(work=["lunar_lander"], peer=None))
        turns = list(compare.missing(tmp_path / "none.jsonl", pairs, 2))
        order = ["kpg", "stable_baselines3", "kpg_envpool", "stable_baselines3"]
        assert [(turn[1], turn[2]) for turn in turns] == [
            (name, seed) for seed in range(2) for name in order
        ]

    def test_what_was_run_is_not_run_again(self, load: Any, tmp_path: Path) -> None:
        compare, path = load("compare"), tmp_path / "runs.jsonl"
        works, taken = ["cart_pole", "lunar_lander"], []
        pairs = compare.chosen(argparse.Namespace(work=works, peer=None))
        for turn in compare.missing(path, pairs, 1):
            taken.append(turn[1])
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(compare.description(turn)) + "\n")
        # kpg runs beside every peer, and a peer once for all rows of its work.
        order = ["kpg", "rejax", "kpg", "stable_baselines3", "kpg", "sbx"]
        order += ["kpg", "tf_agents", "kpg", "stable_baselines3", "kpg_envpool"]
        assert taken == order
        assert not list(compare.missing(path, pairs, 1))
        assert len(list(compare.missing(path, pairs[-1:], 2))) == 2

    def test_a_part_can_be_chosen(self, load: Any) -> None:
        def chosen(work: Any, peer: Any) -> Any:
            pairs = load("compare").chosen(argparse.Namespace(work=work, peer=peer))
            return [(pair.work, pair.theirs) for pair in pairs]

        assert len(chosen(None, None)) == len(load("work").PAIRS)
        assert chosen(["cart_pole"], ["rejax", "sbx"]) == [
            ("cart_pole", "rejax"),
            ("cart_pole", "sbx"),
        ]

    def test_runs_of_other_settings_or_versions_are_dropped(self, load: Any) -> None:
        compare = load("compare")
        turn = (load("work").PAIRS[0], "rejax", 0)
        now = compare.description(turn)
        older = {**now, "version": "0.0.1"}
        changed = {**now, "settings": {**now["settings"], "gamma": 0.5}}
        gone = {**now, "work": "chess"}
        assert compare.current([now, older, changed, gone]) == [now]
        assert now["version"] == load("installations").pinned("rejax", "rejax")

    def test_every_peer_is_pinned_and_has_its_script(self, load: Any) -> None:
        work = load("work")
        for contender in work.CONTENDERS.values():
            assert (BENCHMARKS / "peers" / contender.script).is_file()
            assert load("compare").version(contender)[0].isdigit()
        for pair in work.PAIRS + work.TEXT_PAIRS:
            assert pair.work in work.WORKS
            assert {pair.ours, pair.theirs} <= set(work.CONTENDERS)

    def test_requirements_without_the_package_are_refused(self, load: Any) -> None:
        with pytest.raises(ValueError, match="must pin kpg. Received"):
            load("installations").pinned("rejax", "kpg")


class TestPage:
    __test__ = BENCHMARKS.is_dir()

    def test_tables_say_what_holds(self, load: Any, tmp_path: Path) -> None:
        page = load("page")
        path, picture = tmp_path / "page.md", tmp_path / "page.png"
        path.write_text(f"above\n{page.BEGIN}stale{page.END}\nbelow\n", "utf-8")
        runs = [
            run("kpg", 0, 55_000.0),
            run("rejax", 0, 50_000.0, threshold_seconds=6.0),
            run("kpg", 0, 50_000.0, against="stable_baselines3", threshold_seconds=2.5),
            run("stable_baselines3", 0, 5000.0, return_mean=9.5, peak_mb=450.0),
        ]
        page.write_page(runs, path, picture)
        text = path.read_text("utf-8")
        assert text.startswith("above\n") and text.endswith("\nbelow\n")
        assert "stale" not in text
        speed, threshold, memory = text.split("## ")[1:]
        assert "| 55,000 | 50,000 | 1.10 (1.10–1.10) | ≥ 1.2 **missed** |" in speed
        assert "**void**: Stable-Baselines3 did not reach 475 | 500 / 9.50 |" in speed
        assert "| 8 | 6 | 0.75 (0.75–0.75) | ≥ 1 **missed** |" in threshold
        assert "| 2.50 | 8 | 3.20 (3.20–3.20) | ≥ 4 **missed** |" in threshold
        assert "| 900 | 900 | 1.00 | ≤ 1.5 holds |" in memory
        assert "| 900 | 450 | 2.00 |  |" in memory
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_a_page_without_markers_is_refused(self, load: Any, tmp_path: Path) -> None:
        path = tmp_path / "page.md"
        path.write_text("nothing", "utf-8")
        with pytest.raises(ValueError, match="must hold"):
            load("page").write_page([], path)

    def test_bars_leave_out_what_was_not_reached(self, load: Any) -> None:
        runs = [run("kpg", 0, 2.0), run("rejax", 0, 1.0, threshold_seconds=None)]
        rows = load("comparison").rows(runs)
        labels = ["CartPole-v1: kpg", "CartPole-v1: rejax"]
        bars = load("charts").bars
        assert [bar[0] for bar in bars(rows, "steps_per_second")] == labels
        assert [bar[0] for bar in bars(rows, "threshold_seconds")] == labels[:1]


class TestMeasuring:
    __test__ = BENCHMARKS.is_dir()

    def test_the_first_chunk_counts_as_start_up(
        self, load: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        measuring, clock = load("measuring"), [100.0]
        monkeypatch.setattr(measuring.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])
        watch = measuring.Stopwatch({"started": 90.0, "threshold": 10.0})
        for seconds, value in ((7.0, 1.0), (2.0, 12.0), (4.0, 99.0)):
            watch.start()
            clock[0] += seconds
            watch.stop(300)
            clock[0] += 1.0  # an evaluation; training stands
            watch.judge(lambda value=value: value)
        watch.report([1.0, 3.0], peak_mb=5.0)
        report = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert report == {
            "steps": 900,
            "seconds": 6.0,
            "steps_per_second": 100.0,
            "startup_seconds": 17.0 - 3.0,
            "threshold_seconds": 10.0 + 7.0 + 1.0 + 2.0 + 1.0,
            "return_mean": 2.0,
            "return_std": 1.0,
            "peak_mb": 5.0,
        }

    def test_episodes_are_played_to_their_first_end(self, load: Any) -> None:
        # Pushing left alone, every pole falls within 8 to 10 steps.
        returns = load("measuring").play(
            "CartPole-v1", lambda rows: np.zeros(len(rows), int), seed=0, episodes=20
        )
        assert returns.shape == (20,)
        assert returns.min() >= 8 and returns.max() <= 10


class TestLanguage:
    __test__ = BENCHMARKS.is_dir()

    def test_a_part_is_chosen_among_its_own_pairs(self, load: Any) -> None:
        compare, pairs = load("compare"), load("work").TEXT_PAIRS
        options = argparse.Namespace(work=["grpo", "rloo"], peer=None)
        turns = compare.missing(Path("none"), compare.chosen(options, pairs), 2)
        assert [(turn[0].work, turn[1], turn[2]) for turn in turns] == [
            (work, name, seed)
            for seed in range(2)
            for work in ("grpo", "rloo")
            for name in ("kpg_texts", "trl")
        ]

    def test_the_section_says_what_holds(self, load: Any, tmp_path: Path) -> None:
        language, page = load("language"), tmp_path / "page.md"
        page.write_text(f"above\n{language.BEGIN}stale{language.END}\nbelow\n", "utf-8")
        runs = [
            text_run("kpg_sampling", "sampling_16", 6000.0, 106.0, "keras_hub"),
            text_run("keras_hub", "sampling_16", 1500.0, 105.0),
            text_run("kpg_sampling", "sampling_64", 6000.0, 106.0, "hugging_face"),
            text_run("hugging_face", "sampling_64", 5000.0, 105.0),
            text_run("kpg_texts", "grpo", 0.5, 0.42, "trl"),
            text_run("trl", "grpo", 0.25, 0.4),
            text_run("kpg_texts", "rloo", 0.4, 0.42, "trl"),
            text_run("trl", "rloo", 0.25, 0.25),
        ]
        language.write_section(runs, page)
        text = page.read_text("utf-8")
        assert text.startswith("above\n") and text.endswith("\nbelow\n")
        assert "stale" not in text
        sampling, training, memory = text.split("### ")[1:]
        assert "| 6,000 | 1,500 | 4 (4–4) | ≥ 3.5 holds | 106 / 105 | 1 |" in sampling
        assert "| 1.20 (1.20–1.20) | ≥ 1.3 **missed** |" in sampling
        assert "| 2 | 4 | 0.50 (0.50–0.50) | ≤ 0.65 holds | 0.42 / 0.40 |" in training
        assert "**void**: TRL did not reach" in training
        assert memory.count("| 5.0 | 5.0 | 900 | 900 |") == 4

    def test_a_time_is_held_against_its_own_bar(self, load: Any) -> None:
        judged = load("language").judged_time
        assert judged(0.65, 1 / 0.65) == "≤ 0.65 holds"
        assert judged(0.51, 1 / 0.5) == "≤ 0.5 **missed**"
        assert judged(0.5, None) == ""

    def test_lengths_include_the_end(self, load: Any) -> None:
        rows = np.random.default_rng(0).integers(4, size=(50, 6))
        rows[0], rows[1], rows[2] = [2] * 6, [1] * 6, [2] * 5 + [1]
        wanted = [
            list(row).index(1) + 1 if 1 in row else len(row) for row in rows.tolist()
        ]
        assert load("texts").lengths(rows).tolist() == wanted
        assert wanted[:3] == [6, 1, 6]

    def test_the_reward_counts_tokens(self, load: Any) -> None:
        reward, rows = (
            load("texts").Reward({}),
            [[4, 8, 3, 1], np.array([5]), [0, 12, 7]],
        )
        scores = reward(["a"] * 3, [""] * 3, completion_ids=rows, ended=[True] * 3)
        assert scores == [2.0, 0.0, 2.0]
        assert reward.shares == [0.5]
        reward = load("texts").Reward({"end_logit": 3.5})
        scores = reward(["a"] * 3, [""] * 3, completion_ids=rows)
        assert scores == [0.5, 0.0, 2 / 3]

    def test_prompts_are_of_letters(self, load: Any) -> None:
        texts = load("texts")
        job = {"batch_size": 8, "group_size": 4, "prompt_tokens": 5, "seed": 3}
        strings = texts.strings(job)
        tokens = kpg.text.ByteTokenizer().tokenize(strings).to_tensor().numpy()
        assert tokens.shape == (2, 5)
        np.testing.assert_array_equal(tokens, texts.prompts(job, 2, [3]))
        assert "".join(strings).isalpha() and "".join(strings).islower()


def text_run(
    contender: str, work: str, speed: float, result: float, against: str | None = None
) -> dict[str, Any]:
    more = {"threshold_seconds": None, "return_mean": result, "against": against}
    return run(contender, 0, speed, work, **more)


def test_a_peer_is_given_the_weights_of_kpg(load: Callable[[str], Any]) -> None:
    shape = {"vocabulary_size": 7, "num_layers": 2, "num_heads": 2, "hidden_dim": 8}
    job = {**shape, "prompt_tokens": 3, "new_tokens": 4, "seed": 5}
    made = load("gpt2_weights").weights(job)
    theirs = [made.tokens, made.places, *(w for layer in made.layers for w in layer)]
    backbone = kpg.text.gpt2(**shape, max_tokens=7, seed=5).backbone
    names = ("kernel", "embeddings", "position_embeddings")
    ours = [w for w in backbone.trainable_weights if w.name in names]
    for want, got in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.reshape(want, got.shape), got)
