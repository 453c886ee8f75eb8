"""Samples from the same language model with KerasHub's `generate()`."""

from __future__ import annotations

from typing import Any

import numpy as np
from measuring import Job, Stopwatch, peak_megabytes, read_job
from run_kpg_sampling import language_model
from texts import END, lengths, prompts


def main(job: Job) -> None:
    watch = Stopwatch(job)
    lm: Any = language_model(job)
    how = {"jit_compile": True} if job["backend"] == "xla" else {}
    lm.compile(sampler="random", **how)
    size, room = job["batch_size"], job["prompt_tokens"]
    counts: list[int] = []
    for chunk in range(job["chunks"]):
        given = prompts(job, size, [job["seed"], chunk])
        tokens = np.pad(given, [(0, 0), (0, job["new_tokens"])])
        known = np.broadcast_to(np.arange(tokens.shape[1]) < room, tokens.shape)
        watch.start()
        written = lm.generate(
            {"token_ids": tokens, "padding_mask": known}, stop_token_ids=(END,)
        )
        found = lengths(written["token_ids"][:, room:])
        watch.stop(int(found.sum()))
        counts += found.tolist()
    watch.report(counts, peak_mb=peak_megabytes())


if __name__ == "__main__":
    main(read_job())
