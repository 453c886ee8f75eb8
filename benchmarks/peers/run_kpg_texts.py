"""Trains a language model with kpg's REINFORCE, its baseline that of GRPO or RLOO."""

from __future__ import annotations

from typing import Any

import keras
from measuring import Job, Stopwatch, peak_megabytes, read_job
from run_kpg_sampling import language_model
from texts import Reward, strings

import kpg

BASELINES = {"grpo": "group_normalized", "rloo": "leave_one_out"}
DRIFT = {"grpo": "loss", "rloo": "reward"}


class Pauses(keras.callbacks.Callback):
    """Stops the watch at the end of each epoch, which is an iteration."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self.watch = watch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.watch.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.watch.stop(1)


def main(job: Job) -> None:
    watch, reward = Stopwatch(job), Reward(job)
    task = kpg.environments.TextGeneration(
        strings(job),
        rewards=[reward],
        max_prompt_tokens=job["prompt_tokens"],
        max_new_tokens=job["new_tokens"],
        group_size=job["group_size"],
        num_envs=job["batch_size"],
        seed=job["seed"],
    )
    policy = kpg.models.CausalLMPolicy(
        language_model(job), kpg.text.ByteTokenizer(), value_head=False
    )
    trainer = kpg.trainers.REINFORCE(
        policy,
        seed=job["seed"],
        num_steps=job["new_tokens"],
        gamma=1.0,
        returns="total",
        baseline=BASELINES[job["algorithm"]],
        group_size=job["group_size"],
        normalize_advantages=False,
        max_grad_norm=job["max_grad_norm"],
        reference_kl_coef=job["kl_coef"],
        reference_kl_in=DRIFT[job["algorithm"]],
        micro_batch_size=job.get("micro_batch_size"),
    )
    trainer.compile(
        keras.optimizers.AdamW(
            job["learning_rate"], weight_decay=job["weight_decay"], epsilon=1e-8
        ),
        jit_compile=True,
    )
    pauses = [Pauses(watch)]
    trainer.fit(
        task, epochs=job["chunks"], steps_per_epoch=1, callbacks=pauses, verbose=0
    )
    watch.report(reward.shares[-2:], first=reward.shares[0], peak_mb=peak_megabytes())


if __name__ == "__main__":
    main(read_job())
