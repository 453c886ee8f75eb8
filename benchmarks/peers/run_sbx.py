"""Trains with SBX, which has Stable-Baselines3's interface."""

from __future__ import annotations

from flax import linen
from measuring import read_job
from run_stable_baselines3 import main
from sbx import PPO

if __name__ == "__main__":
    job = read_job()
    main(job, PPO, activation_fn=getattr(linen, job["activation"]))
