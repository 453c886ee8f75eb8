"""Numbers that are inputs of a compiled program, where others are constants of it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import tensorflow as tf
from typing_extensions import override

from kpg import checks
from kpg.types import InputNumber, Tensor

_Operation = Callable[[Any, Any], Any]


class Number(InputNumber):
    """A setting whose value is not known before its program runs.

    Arithmetic with Python's numbers is in float64, as Python's, and only its result is
    rounded to what a tensor holds, as a constant is: the program computes what it would
    with the number in its place. Python's questions, such as `if number > 0`, decide
    what is computed, so they must have one answer for all values.

    Args:
        name: The setting's, for messages.
        values: Returns all values that it takes.
        read: Builds graph that reads the present one, a scalar float64 tensor.
        asked: Where each question is noted: what answers it, and the answer.
    """

    def __init__(
        self,
        name: str,
        values: Callable[[], list[float]],
        read: Callable[[], Tensor],
        asked: list[tuple[Callable[[], set[bool]], bool]] | None = None,
    ) -> None:
        self.name = name
        self.values = values
        self.read = read
        self._asked = [] if asked is None else asked

    def __tf_tensor__(
        self, dtype: tf.DType | None = None, name: str | None = None
    ) -> Tensor:
        return tf.cast(self.read(), tf.float32 if dtype is None else dtype, name)

    def computed(self, other: object, work: _Operation) -> object:
        """Returns a number if the other operand is one of Python's, else a tensor."""
        if not isinstance(other, (int, float, Number)):
            tensor = tf.convert_to_tensor(other)
            return work(self.__tf_tensor__(tensor.dtype), tensor)

        def results() -> list[float]:
            pairs = zip(self.values(), self._all(other), strict=True)
            return [work(*pair) for pair in pairs]

        def read() -> Tensor:
            exact = other.read() if isinstance(other, Number) else float(other)
            return work(self.read(), exact)

        return Number(self.name, results, read, self._asked)

    def answer(self, other: object, question: _Operation) -> object:
        """Returns the one answer for all values, or a tensor's for a tensor."""
        if not isinstance(other, (int, float, Number)):
            return self.computed(other, question)

        def answers() -> set[bool]:
            pairs = zip(self.values(), self._all(other), strict=True)
            return {bool(question(*pair)) for pair in pairs}

        found = answers()
        if len(found) > 1:
            self._refuse()
        (answer,) = found
        self._asked.append((answers, answer))
        return answer

    def answered(self) -> bool:
        """Whether all that was asked so far has the same answers for today's values."""
        return all(answers() == {answer} for answers, answer in self._asked)

    def _all(self, other: float | Number) -> list[float]:
        own = self.values()
        return other.values() if isinstance(other, Number) else [other] * len(own)

    def _refuse(self) -> NoReturn:
        checks.refuse(
            self.name,
            "decides what the members' program computes, so it must be equal in all, "
            "or differ less (all above 0, for example); train the others in another "
            "population",
            self.values(),
        )

    def __neg__(self) -> object:
        return self.computed(-1.0, operator.mul)

    def __bool__(self) -> bool:
        return bool(self.answer(0.0, operator.ne))

    def __float__(self) -> float:
        self._refuse()

    __int__ = __index__ = __float__

    @override
    def __repr__(self) -> str:
        return f"one of {self.values()}"

    @override
    def __eq__(self, other: object) -> bool:
        return other is not None and bool(self.answer(other, operator.eq))

    __hash__ = object.__hash__


def _swapped(work: _Operation) -> _Operation:
    return lambda own, other: work(other, own)


def _add_operators() -> None:
    """Gives `Number` the operators of Python's numbers."""
    for name in ("add", "sub", "mul", "truediv", "pow"):
        work: _Operation = getattr(operator, name)
        for prefix, done in (("", work), ("r", _swapped(work))):

            def compute(self: Number, other: object, done: _Operation = done) -> object:
                return self.computed(other, done)

            setattr(Number, f"__{prefix}{name}__", compute)
    for name in ("lt", "le", "gt", "ge"):
        question: _Operation = getattr(operator, name)

        def ask(self: Number, other: object, question: _Operation = question) -> object:
            return self.answer(other, question)

        setattr(Number, f"__{name}__", ask)


_add_operators()
