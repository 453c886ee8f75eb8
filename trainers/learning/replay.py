"""How an algorithm learns again from what older policies did."""

from __future__ import annotations

import dataclasses

import keras

from kpg import checks
from kpg.values import Value


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class Replay(Value):
    """Experience replay: recent fragments are learned from again, corrected by V-trace.

    After the steps on an iteration's own fragment, `ratio` fragments are drawn from the
    last `num_fragments` that came before it, each equally likely and each time anew,
    and one pass is taken over the rows of each. The advantages are

        ρₜ (rₜ + γ vₜ₊₁ − V(sₜ)),   ρₜ = min(ρ̄, π(aₜ|sₜ) / μ(aₜ|sₜ)),

    as `kpg.advantages.vtrace` has them: π and V are those of now, μ is the policy that
    acted, whose log-probabilities are kept, and vₜ are V-trace targets. With ρ̄ = ∞ the
    expected step on the states that were seen is that of fresh actions. With ρ̄ = 1, the
    paper's, values are those of a policy between μ and π, and the variance is bounded.
    The states are those that older policies came to, which nothing corrects, nor the
    states of a memory at the start of a fragment, which are kept as they were.

    Fragments belong to the training on one environment: they outlive its `fit`s and its
    episodes and are in a `Checkpoint`. They are not in a `.keras` file, and are
    forgotten with another environment, `compile` and `load`. Rewards are kept as the
    environment gave them: their scale, and the price of a drift, are those of now.
    Metrics: `replay_overlap`, the mean of min(1, π/μ) over the replayed rows, which is
    expected to be 1 minus the total variation distance of π and μ, and `replay_age`,
    iterations since the replayed fragments were collected; 1 and 0 where there was
    nothing to replay.

    Args:
        num_fragments: Fragments that are kept, ≥ 1. Defaults to 8.
        ratio: Replayed fragments for each new one, ≥ 1. Defaults to 1.

    Reference: Espeholt et al., "IMPALA: scalable distributed deep-RL with importance
    weighted actor-learner architectures" (2018), sections 4 and 5.2.2,
    https://arxiv.org/abs/1802.01561. There a batch is half replayed; here steps on new
    and on replayed fragments take turns.
    """

    num_fragments: int = 8
    ratio: int = 1

    def __post_init__(self) -> None:
        checks.whole_number("num_fragments", self.num_fragments)
        checks.whole_number("ratio", self.ratio)
