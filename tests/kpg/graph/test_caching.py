"""Compiled graphs on disk: where, for whom, and that they are found again."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import kpg
from kpg.graph import caching

TRAIN = """
import sys, kpg
assert kpg.cache_compilations(sys.argv[1])
for pair in sys.argv[2:]:
    seed, num_steps = map(int, pair.split(":"))
    env = kpg.make("CartPole-v1", num_envs=4, seed=seed)
    small = {"hidden_units": (), "seed": seed}
    policy = kpg.models.Policy(env.observation_space, env.action_space, **small)
    critic = kpg.models.Critic(env.observation_space, **small)
    trainer = kpg.trainers.ActorCritic(policy, critic, seed=seed, num_steps=num_steps)
    trainer.compile(jit_compile=True)
    history = trainer.fit(env, steps_per_epoch=3, verbose=0).history
    print(history["loss"][-1])
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TF_XLA_FLAGS", caching.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def test_another_package_of_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container it is tensorflow-cpu, which has a version of its own name."""
    original = metadata.version

    def version(name: str) -> str:
        if name == "tensorflow":
            raise metadata.PackageNotFoundError(name)
        return "2.21.0" if name == "tensorflow-cpu" else original(name)

    monkeypatch.setattr(metadata, "version", version)
    packages = {"tensorflow": ["tensorflow-cpu"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: packages)
    place = caching.cache_compilations(tmp_path)
    assert place is not None and place.parent == tmp_path


def trained(directory: Path, *runs: str) -> list[str]:
    """Returns the last loss of each `seed:num_steps`, all in one new process."""
    command = [sys.executable, "-c", TRAIN, str(directory), *runs]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.slow
def test_a_graph_is_found_again_whatever_the_seed(tmp_path: Path) -> None:
    short, long = trained(tmp_path, "0:4", "0:5")
    known = set(tmp_path.glob("xla-*/*.pb"))
    assert len(known) == 2
    other, same = trained(tmp_path, "1:4", "0:5")
    assert other != short and same == long
    assert set(tmp_path.glob("xla-*/*.pb")) == known


def test_the_variable_chooses_the_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(caching.VARIABLE, str(tmp_path / "chosen"))
    folder = kpg.cache_compilations()
    assert folder is not None and folder.parent == tmp_path / "chosen"
    assert str(folder) in os.environ["TF_XLA_FLAGS"]


def test_the_default_is_the_users_cache(tmp_path: Path) -> None:
    folder = kpg.cache_compilations()
    assert folder is not None and folder.parent == tmp_path / "home" / "kpg"


def test_an_empty_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(caching.VARIABLE, "")
    assert kpg.cache_compilations() is None
    assert "TF_XLA_FLAGS" not in os.environ


def test_flags_of_the_user_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_clustering_debug")
    assert kpg.cache_compilations(tmp_path) is not None
    assert os.environ["TF_XLA_FLAGS"].startswith("--tf_xla_clustering_debug --tf_xla_p")
    before = os.environ["TF_XLA_FLAGS"]
    assert kpg.cache_compilations(tmp_path) is None
    assert os.environ["TF_XLA_FLAGS"] == before


def test_a_place_that_cannot_be_written_to_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kpg.cache_compilations(tmp_path / "file") is None
    assert "TF_XLA_FLAGS" not in os.environ


def test_a_path_that_xla_would_split_is_no_cache(tmp_path: Path) -> None:
    assert kpg.cache_compilations(tmp_path / "a home") is None
    assert "TF_XLA_FLAGS" not in os.environ
    assert not (tmp_path / "a home").exists()


def test_other_flags_of_the_compiler_have_a_folder_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = kpg.cache_compilations(tmp_path)
    monkeypatch.delenv("TF_XLA_FLAGS")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert kpg.cache_compilations(tmp_path) not in (None, plain)


def test_the_oldest_files_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "xla-of-another-version"
    folder.mkdir()
    for age, name in enumerate(("new", "middle", "old")):
        file = folder / f"{name}.pb"
        file.write_bytes(b"0123456789")
        os.utime(file, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(caching, "_LARGEST", 20)
    kpg.cache_compilations(tmp_path)
    assert sorted(file.stem for file in folder.iterdir()) == ["middle", "new"]
