"""Runs CleanRL's ppo.py as it is, with the settings it was published with."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path
from typing import Any

import cleanrl_utils
import numpy as np
import torch
from measuring import Job, Stopwatch, finish, read_job


def main(job: Job) -> None:
    torch.set_num_threads(job["threads"])
    watch = Stopwatch(job)
    script = Path(cleanrl_utils.__file__).parents[1] / "cleanrl" / "ppo.py"
    steps = job["chunk"] * job["chunks"] * job["num_envs"] * job["num_steps"]
    sys.argv = [str(script), "--seed", str(job["seed"]), "--env-id", job["env"]]
    sys.argv += ["--total-timesteps", str(steps)]
    # It writes a log for TensorBoard into the folder that it runs in.
    names: dict[str, Any] = runpy.run_path(str(script), run_name="__main__")
    watch.add(steps, time.time() - names["start_time"])
    agent = names["agent"]

    def act(observations: Any) -> Any:
        with torch.no_grad():
            logits = agent.actor(torch.as_tensor(np.asarray(observations)))
        return logits.argmax(-1).numpy()

    finish(watch, act)


if __name__ == "__main__":
    main(read_job())
