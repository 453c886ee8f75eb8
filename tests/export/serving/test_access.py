"""The token, and the log of requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kpg.export.serving.access import AccessLog, Token


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        ("Bearer secret", True),
        ("bearer  secret ", True),
        ("Bearer Secret", False),
        ("Bearer secre", False),
        ("Bearer secrets", False),
        ("Basic secret", False),
        ("secret", False),
        ("", False),
        ("Bearer sécret", False),
    ],
)
def test_a_token(tmp_path: Path, header: str, allowed: bool) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert Token(str(tmp_path / "token")).allows(header) is allowed


def test_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="must not be empty.*Received: .*token"):
        Token(str(tmp_path / "token"))


def test_the_log_has_a_line_for_each_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in "ab":  # a second one goes on with the same file
        log = AccessLog(str(tmp_path / "log"))
        log.write(method="Predict", model='"\n', seconds=0.1)
        log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    entry = json.loads(lines[1])
    assert entry.pop("time") > 1e9
    assert entry == {"method": "Predict", "model": '"\n', "seconds": 0.1}
    log = AccessLog("-")
    log.write(method="Predict")
    log.close()
    assert json.loads(capsys.readouterr().err)["method"] == "Predict"
