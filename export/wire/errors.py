"""The two ways in which exporting and serving fail."""

from __future__ import annotations


class ServingError(RuntimeError):
    """A request, a loaded version or a server that failed; `str(error)` is one line.

    Attributes:
        code: Name of the gRPC status, such as "NOT_FOUND".
        message: What went wrong, if it can in TensorFlow Serving's words.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{' '.join(message.split())} ({code})")
        self.code = code
        self.message = message


class VerificationError(ValueError):
    """An exported model that does not do what the live one does."""


def invalid(message: str) -> ServingError:
    """Makes the error of a request that asks for what there is not."""
    return ServingError("INVALID_ARGUMENT", message)


def explained(code: str, details: str, target: str, timeout: float) -> ServingError:
    """Makes an error of the status and details of a call to `target`, with advice."""
    if code == "UNAVAILABLE":
        details = (
            f"The server at {target} is unavailable; start one with `kpg serve`, or "
            f"give the address of one that is running. Received: {details}"
        )
    elif code == "DEADLINE_EXCEEDED":
        details = (
            f"The server at {target} did not answer within {timeout:g} seconds; give "
            "the client a longer timeout"
        )
    return ServingError(code, details)


def one_line(error: BaseException) -> str:
    """Returns the kind and the message of an error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
