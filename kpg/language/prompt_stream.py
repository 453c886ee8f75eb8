"""Prompts that come one after another, and are never all in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from kpg import checks
from kpg.language.rows import in_order


class PromptStream:
    """Reads prompts as a training needs them, such as from a `tf.data.Dataset`.

    They keep their order: a data set shuffles itself. One that can be read again
    starts anew when it ends; a generator cannot. A trainer that goes on from a saved
    one skips what it has read, so equal data sets give equal prompts.

    Args:
        rows: Strings, messages or dictionaries, see `kpg.environments.TextGeneration`.
        patience: Seconds, > 0, that the next row may take. Defaults to 60.

    Raises:
        ValueError: If the rows have no order, as those of a set; when they are taken,
            if there are none, a generator has ended, or none comes in time.
    """

    def __init__(self, rows: Iterable[Any], patience: float = 60.0) -> None:
        self._rows = in_order("rows", rows)
        self.patience = checks.positive("patience", patience)
        self._iterator: Iterator[Any] = iter(rows)
        self._first = self._read = self._in_pass = 0
        self._held: list[Any] = []
        self._error: Exception | None = None

    def take(self, first: int, count: int) -> list[Any]:
        """Returns rows `first` … `first + count − 1` of an endless sequence.

        Rows before `first` are forgotten, and read again if they are asked for later.
        """
        if first < self._first:
            if self._once:
                self._refuse("is read once and its earlier rows are gone: make a list")
            self._iterator, self._held = iter(self._rows), []
            self._first = self._read = self._in_pass = 0
        self._await(first, first + count)
        del self._held[: first - self._first]
        self._first = first
        return self._held[:count]

    @property
    def _once(self) -> bool:
        return self._iterator is self._rows

    def _await(self, first: int, end: int) -> None:
        """Reads up to a row, in a thread that may never come back."""
        thread = threading.Thread(target=self._fill, args=(first, end), daemon=True)
        before = self._read
        thread.start()
        while thread.is_alive():
            thread.join(self.patience)
            if thread.is_alive() and self._read == before:
                raise ValueError(
                    "The next prompt must come in time; look at what the data set "
                    "waits for, or make a `kpg.text.PromptStream` with more "
                    f"`patience`. Received: none in {self.patience:g} s after "
                    f"{self._read} prompts of {type(self._rows).__name__}"
                )
            before = self._read
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _fill(self, first: int, end: int) -> None:
        try:
            while self._read < end:
                self._next(first)
        except Exception as error:  # a data set may raise anything
            self._error = error

    def _next(self, first: int) -> None:
        """Reads one row, and forgets what is before the first that is wanted."""
        for row in self._iterator:
            self._held.append(row)
            self._read += 1
            self._in_pass += 1
            if self._read <= first:
                self._held.clear()
                self._first = self._read
            return
        if self._in_pass == 0:
            self._refuse("must yield at least one prompt")
        if self._once:
            self._refuse("has ended, and cannot begin anew: make a list of it")
        self._iterator, self._in_pass = iter(self._rows), 0

    def _refuse(self, wanted: str) -> NoReturn:
        raise ValueError(
            f"A stream of prompts {wanted}, or a `tf.data.Dataset`, which is read "
            f"again. Received: {type(self._rows).__name__} after {self._read} prompts"
        )
