"""How a client reaches its server: sockets, encryption, tokens, tries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from kpg.export import TLS, Client, ServingError
from kpg.export.client.channel import Route
from tests.echo_server import Echo

ROWS = [[1.0, 2.0]]
# A certificate for "server" and "localhost", which vouches for itself, and its key.
CERTIFICATES = Path(__file__).parents[2] / "certificates"


@pytest.fixture
def echo() -> Echo:
    return Echo()


def test_a_socket_of_unix(echo: Echo, tmp_path: Path) -> None:
    with (
        echo.running(f"unix:{tmp_path}/s") as address,
        Client(address) as client,
    ):
        assert client.predict(ROWS)["y"].tolist() == [[2.0, 4.0]]


def test_a_token(echo: Echo) -> None:
    with echo.running() as address:
        with Client(address, token="abc") as client:
            client.predict(ROWS)
        with Client(address) as client:
            client.predict(ROWS)
    assert echo.headers[0]["authorization"] == "Bearer abc"
    assert "authorization" not in echo.headers[1]


@pytest.mark.parametrize("token", ["", "secret\n"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(ValueError, match=r"strip the line break.* \d characters") as e:
        Client(token=token)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("mutual", [False, True])
def test_encryption(echo: Echo, mutual: bool) -> None:
    key, chain = CERTIFICATES / "key.pem", CERTIFICATES / "server.pem"
    pair = (key.read_bytes(), chain.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], pair[1] if mutual else None, require_client_auth=mutual
    )
    own = {"certificate_chain": chain, "private_key": key} if mutual else {}
    tls = TLS(chain, server_name="server", **own)
    with echo.running(credentials=credentials) as address:
        with Client(address, tls=tls, token="abc") as client:
            assert client.predict(ROWS)["y"].tolist() == [[2.0, 4.0]]
        for wrong in (None, TLS(chain), TLS(server_name="server")):
            with Client(address, tls=wrong, timeout=2, retries=0) as client:
                with pytest.raises(ServingError, match="UNAVAILABLE"):
                    client.predict(ROWS)
        if mutual:
            stranger = TLS(chain, server_name="server")
            with Client(address, tls=stranger, timeout=2, retries=0) as client:
                with pytest.raises(ServingError, match="UNAVAILABLE"):
                    client.predict(ROWS)
    assert [one["authorization"] for one in echo.headers] == ["Bearer abc"]


def test_certificates_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"file that can be read.*no\.pem \(No such"):
        Client(tls=TLS(tmp_path / "no.pem"))
    with pytest.raises(ValueError, match="`private_key` must be given together"):
        TLS(private_key=tmp_path / "key.pem")


PASSING, FINAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("retries", "failures", "asked", "answered"),
    [
        (2, [PASSING, grpc.StatusCode.ABORTED], 3, True),
        (2, [PASSING] * 3, 3, False),
        (0, [PASSING], 1, False),
        (2, [FINAL], 1, False),
        (2, [PASSING, FINAL], 2, False),
    ],
)
def test_tries(
    echo: Echo, retries: int, failures: Any, asked: int, answered: bool
) -> None:
    echo.failures = list(failures)
    with echo.running() as address, Client(address, retries=retries) as client:
        if answered:
            assert client.predict(ROWS)["y"].tolist() == [[2.0, 4.0]]
        else:
            with pytest.raises(ServingError, match="as told") as caught:
                client.predict(ROWS)
            assert caught.value.code == failures[-1].name
    assert len(echo.requests) == asked


class Refusal(grpc.RpcError):
    def code(self) -> Any:
        return PASSING

    def details(self) -> str:
        return "no"


def test_no_try_begins_after_the_deadline() -> None:
    route = Route("host:1", 10.0, 99, None, None)
    tries = route.tries(0.4)
    pauses = []
    with pytest.raises(ServingError, match="host:1 is unavailable.*Received: no"):
        while True:
            pauses.append(tries.pause(Refusal()))
            tries.deadline -= pauses[-1]
    assert len(pauses) >= 2 and sum(pauses) < 0.4 < sum(pauses) + 4 * pauses[-1]
    assert 0.025 <= pauses[0] <= 0.05 and pauses[1] >= pauses[0] / 2
    assert tries.left() <= 0.4 - sum(pauses)


@pytest.mark.parametrize("retries", [-1, 1.5])
def test_how_many_tries(retries: Any) -> None:
    with pytest.raises(ValueError, match="`retries` must be a whole number"):
        Client(retries=retries)
