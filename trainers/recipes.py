"""PPO's settings as papers on language models have them, by name.

Each function takes a policy, a seed and any setting of `kpg.trainers.PPO`, and returns
one with a baseline in place of a critic. All have γ = 1, advantages that are not
standardised once more, no penalty on drift (add `reference=kpg.trainers.KL(…)`) and one
step on all texts of an iteration, whose ratios are 1: `num_epochs` or `minibatch_size`
make more of them, and only then does a clip matter. The task says how many texts a
group has, `group_size=`.

In the formulas n texts i of lengths |yᵢ| and rewards rᵢ, of groups of G, are in a
minibatch; ρ = π / π_old of a token; Aᵢ is the advantage, whose mean and std are those
of the group; clip keeps a ratio in [1 − ε, 1 + ε].
"""

from __future__ import annotations

from typing import Any

from typing_extensions import Unpack

from kpg.models.policy import Policy
from kpg.trainers.ppo import PPO, PPOArguments
from kpg.types import Config

_COMMON: Config = {
    "gamma": 1.0,
    "normalize_advantages": False,
    "num_epochs": 1,
    "minibatch_size": None,
}
SETTINGS: dict[str, Config] = {
    "grpo": {
        **_COMMON,
        "baseline": "group_normalized",
        "loss_normalization": "episodes",
    },
    "dr_grpo": {
        **_COMMON,
        "baseline": "group_normalized",
        "group_scale": "none",
        "loss_normalization": "constant",
    },
    "dapo": {
        **_COMMON,
        "baseline": "group_normalized",
        "clip_range_high": 0.28,
        "dynamic_sampling": 4,
        "mask_truncated": True,
    },
    "gspo": {
        **_COMMON,
        "baseline": "group_normalized",
        "loss_normalization": "episodes",
        "ratio_level": "sequence",
        "clip_range": 3e-4,
        "clip_range_high": 4e-4,
    },
    "rloo": {
        **_COMMON,
        "baseline": "leave_one_out",
        "loss_normalization": "constant",
    },
}


def grpo(
    policy: Policy, seed: int | None = None, **settings: Unpack[PPOArguments]
) -> PPO:
    """Makes GRPO: L = −1/n Σᵢ 1/|yᵢ| Σₜ min(ρAᵢ, clip(ρ)Aᵢ), Aᵢ = (rᵢ − mean) / std.

    The paper's penalty is `reference=kpg.trainers.KL(0.04, inside="loss")`; see there
    for its ratio and its mean over tokens, in which kpg differs.

    Reference: Shao et al. (2024), https://arxiv.org/abs/2402.03300, equation 3.
    """
    return _made("grpo", policy, seed, settings)


def dr_grpo(
    policy: Policy, seed: int | None = None, **settings: Unpack[PPOArguments]
) -> PPO:
    """Makes Dr. GRPO: L = −1/n Σᵢ 1/T Σₜ min(ρAᵢ, clip(ρ)Aᵢ), Aᵢ = rᵢ − mean.

    T is `num_steps`, the longest text that there may be. Neither its length nor the
    spread of its group changes the weight of a text.

    Reference: Liu et al. (2025), https://arxiv.org/abs/2503.20783, section 3.2.
    """
    return _made("dr_grpo", policy, seed, settings)


def dapo(
    policy: Policy, seed: int | None = None, **settings: Unpack[PPOArguments]
) -> PPO:
    """Makes DAPO: L = −1/Σᵢ|yᵢ| Σᵢ Σₜ min(ρAᵢ, clip(ρ)Aᵢ), Aᵢ = (rᵢ − mean) / std.

    clip keeps ρ in [0.8, 1.28]. Groups without spread give way to others in up to 4
    rounds, and texts without an end are left out of the loss. The paper's punishment of
    long texts is a reward, `kpg.rewards.SoftOverlong`.

    Reference: Yu et al. (2025), https://arxiv.org/abs/2503.14476, equations 8 to 13.
    """
    return _made("dapo", policy, seed, settings)


def gspo(
    policy: Policy, seed: int | None = None, **settings: Unpack[PPOArguments]
) -> PPO:
    """Makes GSPO: L = −1/n Σᵢ min(sᵢAᵢ, clip(sᵢ)Aᵢ), Aᵢ = (rᵢ − mean) / std.

    sᵢ, the ratio of the whole text to the power of 1/|yᵢ|, is kept in [1 − 0.0003,
    1 + 0.0004].

    Reference: Zheng et al. (2025), https://arxiv.org/abs/2507.18071, equation 5.
    """
    return _made("gspo", policy, seed, settings)


def rloo(
    policy: Policy, seed: int | None = None, **settings: Unpack[PPOArguments]
) -> PPO:
    """Makes RLOO: ∇L = −1/n Σᵢ Aᵢ ∇log π(yᵢ) / T, Aᵢ = rᵢ − the mean of the others.

    T is `num_steps`. Further steps on the same texts have PPO's ratio and clip. The
    paper's penalty on drift is `reference=kpg.trainers.KL(β)`, in the reward.

    Reference: Ahmadian et al. (2024), https://arxiv.org/abs/2402.14740, section 3.2.
    """
    return _made("rloo", policy, seed, settings)


def _made(name: str, policy: Policy, seed: int | None, settings: Any) -> PPO:
    chosen = {**SETTINGS[name], **settings}
    if "baseline" in settings and "group_scale" not in settings:
        chosen.pop("group_scale", None)  # which a finished value has itself
    return PPO(policy, None, seed, **chosen)
