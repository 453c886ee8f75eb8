from __future__ import annotations

from pathlib import Path

import pytest

from kpg.export.loading import versions


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("0", 0),
        ("00000123", 123),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("-1", None),
        ("1.0", None),
        ("1_0", None),
        ("²", None),
        ("٣", None),
        ("", None),
        (".tmp-1", None),
        ("v1", None),
    ],
)
def test_names(name: str, version: int | None) -> None:
    assert versions.parse(name) == version


def test_published_and_next(tmp_path: Path) -> None:
    assert versions.next_free(tmp_path) == 1
    for name in ("1", "01", "3", ".tmp-9", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file is no version")
    expected = {1: tmp_path / "1", 3: tmp_path / "3"}
    assert versions.published(tmp_path) == expected
    assert versions.next_free(tmp_path) == 4


def test_fingerprint_notices_new_and_changed_files(tmp_path: Path) -> None:
    assert versions.fingerprint(tmp_path / "missing") == ()
    seen = [versions.fingerprint(tmp_path)]
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "index").write_text("a")
    seen.append(versions.fingerprint(tmp_path))
    (tmp_path / "variables" / "index").write_text("ab")
    seen.append(versions.fingerprint(tmp_path))
    assert len(set(seen)) == 3
    assert versions.fingerprint(tmp_path) == seen[-1]
