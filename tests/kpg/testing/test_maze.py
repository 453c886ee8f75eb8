"""Mazes against breadth-first search, and against a published solution."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.environments import GraphEnvironment, Rng
from kpg.testing.maze import Maze

# Two ways lead to the goal; the cell at the upper right is walled in.
ROWS = [
    "S....#.",
    ".##.####",
    ".#...#.G",
    "...#....",
    "S#...##.",
]
ROWS = [row.ljust(8, "#") for row in ROWS]


def steps_to_goal(rows: list[str]) -> dict[tuple[int, int], int]:
    """Breadth-first search backwards from the goals."""
    cells = {
        (y, x): mark
        for y, row in enumerate(rows)
        for x, mark in enumerate(row)
        if mark != "#"
    }
    queue = deque(cell for cell, mark in cells.items() if mark == "G")
    distances = dict.fromkeys(queue, 0)
    while queue:
        y, x = queue.popleft()
        for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if near in cells and near not in distances:
                distances[near] = distances[y, x] + 1
                queue.append(near)
    return distances


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_values_are_those_of_the_shortest_path(discount: float) -> None:
    maze = Maze(ROWS, discount)
    distances = steps_to_goal(ROWS)
    assert maze.cells == sorted(distances)
    expected = [
        -sum(discount**step for step in range(distances[cell])) for cell in maze.cells
    ]
    np.testing.assert_allclose(maze.value_iteration().values, expected, atol=1e-8)
    # With a discount of 1 the first policy of policy iteration still reaches the goal.
    np.testing.assert_allclose(maze.policy_iteration().values, expected, atol=1e-8)


def test_both_ways_to_the_optimum_agree_when_moves_slip() -> None:
    maze = Maze(ROWS, 0.95, slip=0.3)
    first, second = maze.value_iteration(), maze.policy_iteration()
    np.testing.assert_allclose(first.values, second.values, atol=1e-7)
    np.testing.assert_array_equal(first.policy, second.policy)
    straight = Maze(ROWS, 0.95).value_iteration().values
    alive = ~maze.terminal_states
    assert (first.values[alive] < straight[alive]).all()


def test_the_published_values_of_a_world_that_slips() -> None:
    """Russell and Norvig, figure 17.3: utilities for a step reward of −0.04."""
    maze = Maze(["...+", ".#.-", "S..."], 1.0, 0.2, -0.04, ends={"+": 1.0, "-": -1.0})
    values = maze.value_iteration().values
    # The book gives the end states their reward as utility; here it is paid on arrival.
    book = [0.812, 0.868, 0.918, 0, 0.762, 0.660, 0, 0.705, 0.655, 0.611, 0.388]
    np.testing.assert_allclose(values, book, atol=6e-4)


def test_moves_and_slips_go_where_they_should() -> None:
    maze = Maze(["#.#", ".S.", "#G#"], slip=0.2)
    # In reading order: up 0, left 1, the start 2, right 3, the goal 4.
    expected = np.zeros((4, 5))
    for action, (ahead, *sides) in enumerate(
        [(0, 1, 3), (3, 0, 4), (4, 1, 3), (1, 0, 4)]
    ):
        expected[action, ahead] = 0.8
        expected[action, sides] = 0.1
    np.testing.assert_allclose(maze.transitions[2], expected)
    # Against the wall above: it stays, or slips into the walls at both sides.
    np.testing.assert_allclose(maze.transitions[0, 0], [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(maze.terminal_states, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(maze.initial_probabilities, [0, 0, 1, 0, 0])
    np.testing.assert_allclose(maze.rewards, [[-1] * 4] * 4 + [[0] * 4])


def test_the_optimal_policy_walks_the_shortest_path_in_the_graph() -> None:
    maze = Maze(ROWS, 1.0, max_episode_steps=40)
    env = GraphEnvironment(maze)
    assert env.max_episode_steps == 40
    best = tf.constant(maze.value_iteration().policy.argmax(axis=1))
    copies = 16
    states = env.initial(Rng(tf.constant([3, 4]), copies))
    assert {ROWS[y][x] for y, x in (maze.cells[s] for s in states.numpy())} == {"S"}
    assert len(set(states.numpy())) == 2
    left = np.array([steps_to_goal(ROWS)[maze.cells[s]] for s in states.numpy()])
    for count in range(left.max()):
        assert (env.terminal(states).numpy() == (left <= count)).all()
        rng = Rng(tf.constant([count, 5]), copies)
        actions = tf.gather(best, states)
        following = env.transition(states, actions, rng)
        rewards = env.reward(states, actions, following).numpy()
        np.testing.assert_array_equal(rewards, np.where(left > count, -1.0, 0.0))
        states = following
    assert env.terminal(states).numpy().all()


def test_refuses_what_is_no_maze() -> None:
    bad: list[tuple[Any, str]] = [
        (["SG", "."], r"rows of equal length.*Received: rows=\['SG', '.'\]"),
        (["S?G"], "'S' for starts and .*Received"),
        ([], "rows of equal length"),
        (["..G"], "must have a start 'S'.*Received"),
        (["S.."], r"an end, one of \['G'\].*Received"),
        (["S#G"], "Every start must have a way.*Received"),
    ]
    for rows, message in bad:
        with pytest.raises(ValueError, match=message):
            Maze(rows)
    with pytest.raises(ValueError, match=r"`slip` must.*Received: slip=1.5"):
        Maze(["SG"], slip=1.5)
