"""A trial trains its seeds side by side, each as it would alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kpg.cli.commands.train import build
from kpg.cli.environments import Environments
from kpg.cli.kind import Seeds
from kpg.cli.recording import StopOnSignal
from kpg.cli.trial import Programs, Trials, Until, rungs
from kpg.trainers.seat import Seat
from tests.fragments import traces

SMALL = {
    **{"num_envs": 2, "total_steps": 128, "num_steps": 8, "minibatch_size": 16},
    **{"num_epochs": 1, "steps_per_epoch": 4, "validation_episodes": 2},
    **{"jit_compile": False, "hidden_units": [8]},
}


def test_a_trial_is_judged_at_most_ten_times() -> None:
    assert rungs(50) == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert rungs(4) == [1, 2, 3, 4] and rungs(1) == [1]
    assert Until(3).epoch == 3


@pytest.mark.slow
def test_trials_share_programs_and_train_as_one_fit_does() -> None:
    chosen = Environments().chosen_preset("CartPole-v1", SMALL)
    stop = StopOnSignal()
    trials = Trials([3, 4], ["gamma", "gae_lambda"], stop)
    seen: list[tuple[int, list[float]]] = []

    def judge(epoch: int, returns: list[float]) -> bool:
        seen.append((epoch, returns))
        return goes_on

    goes_on = False
    assert not trials.run(chosen, judge) and [epoch for epoch, _ in seen] == [1]
    (kept,) = trials._kept.values()
    seen.clear()
    other = dataclasses.replace(chosen, trainer={**chosen.trainer, "gamma": 0.5})
    goes_on = True
    assert trials.run(other, judge)
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert list(trials._kept.values()) == [kept]
    assert traces(kept.seat.trainer) == 1
    alone = build(other, Seeds.derived(4))
    alone.trainer.fit(
        alone.env, epochs=2, steps_per_epoch=4, verbose=0, real_steps=True
    )
    wanted = [np.asarray(own) for own in alone.trainer.policy.weights]
    found = [np.asarray(own) for own in kept.seat.members[1].policy.weights]
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, two)
    longer = dataclasses.replace(other, trainer={**other.trainer, "num_steps": 16})
    trials.run(longer, judge)
    assert len(trials._kept) == 2
    stop.received = 2
    with pytest.raises(KeyboardInterrupt):
        trials.run(other, judge)
    trials.close()


@pytest.mark.slow
def test_programs_that_do_not_fit_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Programs] = []
    close = Programs.close

    def noted(self: Programs) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Programs, "close", noted)
    monkeypatch.setattr(Seat, "take", lambda *_: False)
    trials = Trials([3], ["gamma"], StopOnSignal())
    chosen = Environments().chosen_preset("CartPole-v1", SMALL)
    made: list[Programs] = []
    for _ in range(2):
        trials.run(chosen, lambda epoch, returns: False)
        made.append(*trials._kept.values())
    assert made[0] is not made[1] and closed == made[:1]
    trials.close()
    assert closed == made
