"""Mazes drawn with characters, as Markov decision processes with exact answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kpg import checks
from kpg.environments.tabular import TabularMDP
from kpg.types import Array

WALL, START, FREE = "#", "S", ". "
# Up, right, down, left: rows grow downwards.
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
# The end of a maze, and what arriving there earns.
GOAL: Mapping[str, float] = {"G": 0.0}

Cell = tuple[int, int]


class Maze(TabularMDP):
    """A maze: the shortest path from the start to the goal.

    The states are the cells from which an end can be reached, in reading order; the
    actions 0, 1, 2 and 3 move up, right, down and left. A move into a wall or out of
    the drawing goes nowhere and costs the same.

    Reference: Sutton and Barto (2018), "Reinforcement learning", examples 3.5 and 8.1;
    Russell and Norvig, "Artificial intelligence: a modern approach", chapter 17 (slip).

    Args:
        rows: Rows of equal length: "#" is a wall, "." and the blank are free, "S" is a
            start (each as likely), and every character in `ends` is an end.
        discount: γ in [0, 1]. Defaults to 0.99.
        slip: Probability in [0, 1] that a move goes to one of its two sides instead,
            each as likely. Defaults to 0.
        step_reward: What each step earns, the last one included. Defaults to −1.
        ends: What arriving at an end adds, by its character. Defaults to `{"G": 0.0}`.
        max_episode_steps: See `TabularMDP`.

    Attributes:
        cells: The row and column of each state.

    Raises:
        ValueError: If the drawing, or the way from a start to an end, is incomplete.
    """

    def __init__(
        self,
        rows: Sequence[str],
        discount: float = 0.99,
        slip: float = 0.0,
        step_reward: float = -1.0,
        ends: Mapping[str, float] = GOAL,
        max_episode_steps: int | None = None,
    ) -> None:
        checks.fraction("slip", slip)
        drawing = _drawing(rows, ends)
        self.cells = _connected(drawing, ends)
        starts = np.array([drawing[cell] == START for cell in self.cells], float)
        if starts.sum() < sum(mark == START for mark in drawing.values()):
            raise ValueError(
                f"Every start must have a way to an end. Received: {rows=}"
            )
        arrivals = np.array([ends.get(drawing[cell], 0.0) for cell in self.cells])
        over = np.array([drawing[cell] in ends for cell in self.cells])
        moves = _moves(self.cells)
        sides = (np.roll(moves, 1, axis=1) + np.roll(moves, -1, axis=1)) / 2.0
        transitions = (1.0 - slip) * moves + slip * sides
        transitions[over] = np.eye(len(over))[over][:, np.newaxis]
        rewards = step_reward + transitions @ arrivals
        rewards[over] = 0.0
        starts /= starts.sum()
        super().__init__(transitions, rewards, discount, starts, max_episode_steps)


def _drawing(rows: Sequence[str], ends: Mapping[str, float]) -> dict[Cell, str]:
    """Returns the character of each cell that is not a wall."""
    marks, known = set("".join(rows)), {*WALL, *START, *FREE, *ends}
    if len({len(row) for row in rows}) != 1 or not marks <= known:
        raise ValueError(
            "A maze must be drawn in rows of equal length, with '#' for walls, '.' or "
            f"blanks, 'S' for starts and {sorted(ends)} for ends. Received: {rows=}"
        )
    if START not in marks or not marks & set(ends):
        raise ValueError(
            f"A maze must have a start 'S' and an end, one of {sorted(ends)}. "
            f"Received: {rows=}"
        )
    return {
        (y, x): mark
        for y, row in enumerate(rows)
        for x, mark in enumerate(row)
        if mark != WALL
    }


def _connected(drawing: Mapping[Cell, str], ends: Mapping[str, float]) -> list[Cell]:
    """Returns the cells from which an end can be reached, in reading order."""
    edge = [cell for cell, mark in drawing.items() if mark in ends]
    found = set(edge)
    while edge:
        y, x = edge.pop()
        near = {(y + dy, x + dx) for dy, dx in MOVES} & drawing.keys()
        edge += near - found
        found |= near
    return sorted(found)


def _moves(cells: Sequence[Cell]) -> Array:
    """Returns `[S, A, S]`: 1 where a move that does not slip leads."""
    numbers = {cell: number for number, cell in enumerate(cells)}
    moves = np.zeros((len(cells), len(MOVES), len(cells)))
    for (y, x), number in numbers.items():
        for action, (dy, dx) in enumerate(MOVES):
            moves[number, action, numbers.get((y + dy, x + dx), number)] = 1.0
    return moves
