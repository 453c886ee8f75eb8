"""What an update needs is known before it starts."""

from __future__ import annotations

import pytest

from kpg.trainers.language import engine
from kpg.trainers.language.room import Update, check_room, update_of
from tests.text_training import make_trainer, small_policy, task

GPT2 = Update(
    weights=124_000_000,
    blocks=12,
    width=768,
    inner=3072,
    heads=12,
    vocabulary_size=50257,
    texts=32,
    at_a_time=32,
    length=96,
    new_tokens=64,
    remat=False,
)


def test_less_at_a_time_needs_less() -> None:
    needed = [GPT2._replace(at_a_time=size).bytes for size in (16, 8, 4, 1)]
    assert needed == sorted(needed, reverse=True)
    assert GPT2._replace(remat=True).bytes < GPT2.bytes
    # By hand: gradients, what 12 blocks keep of 32 * 96 tokens, four chunks of logits.
    kept = 32 * 96 * 12 * (10 * 768 + 4 * 3072 + 2 * 12 * 96)
    assert GPT2.bytes == 4 * (124_000_000 + kept + 4 * 2**24)


@pytest.mark.parametrize(
    ("gigabytes", "advice"),
    [
        (3, "set micro_batch_size=16[.] Received"),
        (1.7, "set micro_batch_size=4[.] Received"),
        (1.1, "set micro_batch_size=1 and the policy's `remat=True`"),
        (0.5, "smaller model, shorter texts, or adapters"),
    ],
)
def test_what_does_not_fit_is_said_with_what_to_set(
    gigabytes: float, advice: str
) -> None:
    with pytest.raises(ValueError, match=f"needs about 4.0 GB.*are free: .*{advice}"):
        check_room(GPT2, int(gigabytes * 1e9))


def test_what_fits_or_is_unknown_is_let_be() -> None:
    check_room(GPT2, GPT2.bytes)
    check_room(GPT2, None)


def test_it_is_said_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, one_by_one: None
) -> None:
    trainer = make_trainer(small_policy("abc"), "REINFORCE", micro_batch_size=3)
    update = update_of(trainer.training_on(6), 5)
    assert update is not None
    assert (update.texts, update.at_a_time, update.length) == (6, 3, 8)
    monkeypatch.setattr(engine, "free_memory", lambda: 1000)
    env = task()
    with pytest.raises(ValueError, match=r"0\.0 GB.*Received: micro_batch_size=3"):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    assert env.completed is None
