"""The flags of a client: what they make of it, and where they are refused."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from kpg.cli import client_flags, flags
from kpg.cli.command_result import UsageError
from tests.command_line import Kpg, one_line
from tests.echo_server import Echo

CERTIFICATES = Path(__file__).parents[2] / "certificates"
KEY, CHAIN = CERTIFICATES / "key.pem", CERTIFICATES / "server.pem"


def asked(*arguments: object) -> list[list[float]]:
    """Returns what the client of a command line is answered."""
    given = ["play", "CartPole-v1", *map(str, arguments)]
    with client_flags.client_of(flags.parser().parse_args(given)) as client:
        answer: list[list[float]] = client.predict([[1.0, 2.0]])["y"].tolist()
        return answer


def test_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    echo = Echo()
    with echo.running() as address:
        asked("--server", address, "--token-file", tmp_path / "token")
        asked("--server", address)
    assert echo.headers[0]["authorization"] == "Bearer secret"
    assert "authorization" not in echo.headers[1]
    with pytest.raises(ValueError, match="token must be readable.*no such"):
        asked("--server", "h:1", "--token-file", tmp_path / "no such")


def test_encryption() -> None:
    pair = (KEY.read_bytes(), CHAIN.read_bytes())
    credentials = grpc.ssl_server_credentials([pair], pair[1], require_client_auth=True)
    own = ("--certificate-chain", CHAIN, "--private-key", KEY)
    with Echo().running(credentials=credentials) as address:
        known = ("--root-certificates", CHAIN, "--server-name", "server")
        assert asked("--server", address, *known, *own) == [[2.0, 4.0]]


def test_encryption_with_the_roots_of_grpc(kpg_command: Kpg) -> None:
    pair = (KEY.read_bytes(), CHAIN.read_bytes())
    credentials = grpc.ssl_server_credentials([pair])
    with Echo().running(credentials=credentials) as address:
        result = kpg_command("play", "CartPole-v1", "--server", address, "--tls")
    assert result.code == 1 and "unavailable" in one_line(result)


@pytest.mark.parametrize("flag", [["--tls"], ["--token-file", "x"]])
def test_without_a_server(flag: list[str], kpg_command: Kpg) -> None:
    result = kpg_command("play", "text:letters", "--prompt", "a", *flag)
    assert result.code == 2
    assert f"{flag[0]} is for a server; name one with --server" in one_line(result)
    with pytest.raises(UsageError):
        client_flags.check(flags.parser().parse_args(["play", "run", *flag]))
