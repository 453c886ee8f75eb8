"""The two ways in which exporting and serving fail."""

from __future__ import annotations


class ServingError(RuntimeError):
    """A request, a servable or a server that failed, with the gRPC status of it.

    Attributes:
        code: Name of the gRPC status, such as "NOT_FOUND".
        message: What went wrong, in TensorFlow Serving's words where it has words for
            it; it can have several lines, while `str(error)` always is one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{' '.join(message.split())} ({code})")
        self.code = code
        self.message = message


class VerificationError(ValueError):
    """An exported model that does not do what the live one does."""


def explained(code: str, details: str, target: str, timeout: float) -> ServingError:
    """Makes an error of what a call ended with, and says what helps.

    Args:
        code: Name of the gRPC status.
        details: What came with it.
        target: The server's address.
        timeout: Seconds that the call was given.
    """
    if code == "UNAVAILABLE":
        details = (
            f"The server at {target} is unavailable; start one with `kpg "
            f"serve`, or give the address of one that runs. Received: {details}"
        )
    elif code == "DEADLINE_EXCEEDED":
        details = (
            f"The server at {target} did not answer within {timeout:g} "
            "seconds; give the client a longer timeout"
        )
    return ServingError(code, details)
