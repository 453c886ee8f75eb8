"""What is compared: the work, those who do it, and how much faster kpg is to be."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """PPO's settings, in words that every library's script translates.

    Attributes:
        env: Gymnasium's id of the environment.
        num_envs: Copies of the environment.
        num_steps: Steps of each copy in an iteration.
        num_epochs: Passes over the rows of an iteration.
        minibatch_size: Rows of a gradient step.
        chunk: Iterations from one pause to the next; the clock stands in the pauses.
        chunks: How many of them make a training; the first counts as start-up.
        threshold: Mean greedy return of 100 episodes that ends the time to the
            threshold; it is looked for in the pauses. `None` does not look.
        learning_rate: Of Adam, whose ε is 1e-5 where the library lets one choose.
        learning_rate_schedule: "constant", or "linear" down to 0.
        gamma: Discount.
        gae_lambda: λ of generalised advantage estimation.
        clip_range: Of the policy's ratio.
        value_clip_range: Of the values; `None` does not clip.
        ent_coef: Weight of the entropy.
        vf_coef: Weight of the mean squared error of the critic.
        max_grad_norm: Largest norm of a gradient.
        target_kl: Divergence that ends the updates of an iteration, or `None`.
        normalize: Whether observations and rewards are normalised.
        hidden_units: Widths of policy and critic, which share no weights.
        activation: "tanh" or "relu".
        log_std_init: First log standard deviation of continuous actions.
        orthogonal: Whether the first weights are orthogonal; if not, those of kpg and
            Stable-Baselines3 are uniform, as PyTorch draws them.
    """

    env: str
    num_envs: int
    num_steps: int
    num_epochs: int = 1
    minibatch_size: int = 64
    chunk: int = 1
    chunks: int = 20
    threshold: float | None = None
    learning_rate: float = 3e-4
    learning_rate_schedule: str = "constant"
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    value_clip_range: float | None = None
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    target_kl: float | None = None
    normalize: bool = False
    hidden_units: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    log_std_init: float = 0.0
    orthogonal: bool = True


@dataclasses.dataclass(frozen=True)
class TextSettings:
    """A GPT-2 with random weights that completes prompts, and perhaps learns to.

    Attributes:
        batch_size: Completions of a call, or of an iteration of training.
        prompt_tokens: Length of every prompt.
        new_tokens: Tokens of a completion at most, the end token included.
        chunk: Calls or iterations from one pause to the next.
        chunks: How many of them make a run; the first counts as start-up.
        threshold: There is none.
        vocabulary_size: Tokens that the model knows.
        num_layers: Its blocks.
        num_heads: Heads of each attention.
        hidden_dim: Its width.
        algorithm: "grpo" or "rloo", how an iteration learns; `None` only samples.
        group_size: Completions of each prompt in an iteration.
        kl_coef: Weight of the divergence from the model as it was at first.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        max_grad_norm: Largest norm of a gradient.
    """

    batch_size: int
    prompt_tokens: int = 16
    new_tokens: int = 112
    chunk: int = 1
    chunks: int = 4
    threshold: float | None = None
    vocabulary_size: int = 1024
    num_layers: int = 4
    num_heads: int = 4
    hidden_dim: int = 256
    algorithm: str | None = None
    group_size: int = 4
    kl_coef: float = 0.05
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0


@dataclasses.dataclass(frozen=True)
class LargeTextSettings(TextSettings):
    """The same with a model of whose completions not all are learned from at once.

    Attributes:
        micro_batch_size: Completions that are learned from at a time, in every library:
            the gradients of an iteration's are added up for one step.
        shared_feature: How much more of the first feature the embeddings of rewarded
            tokens have. By it a few steps find them, which have seen few of them.
    """

    micro_batch_size: int = 4
    shared_feature: float = 0.3


@dataclasses.dataclass(frozen=True)
class UnevenTextSettings(TextSettings):
    """The same with texts of uneven lengths, as of a policy that has learned to end.

    Attributes:
        end_logit: What is added to the logit of the token that ends a text.
    """

    end_logit: float = 3.5


@dataclasses.dataclass(frozen=True)
class Work:
    """Something that several libraries are given to do.

    Attributes:
        name: What it is called in tables and pictures.
        remark: The rest that the tables say about it.
        settings: What to do.
        learned: Median return over the repetitions that both of a pair must reach, and
        tolerance: how far their medians may lie apart; else the row is void. Of texts
        it is the share of rewarded tokens at the end, or without learning the length.
    """

    name: str
    remark: str
    settings: Settings | TextSettings
    learned: float
    tolerance: float


@dataclasses.dataclass(frozen=True)
class Contender:
    """A library that works.

    Attributes:
        title: Its name in the tables.
        package: What gives its version: its name in the requirements, or among what
            kpg needs.
        script: Its script in `peers/`.
        requirements: Its file in `requirements/`, or `None` for kpg's own installation.
        backend: What steps the environments, or compiles, if the library has a choice.
        threads: Threads that it is told to use, if it can be told: the faster number.
    """

    title: str
    package: str
    script: str
    requirements: str | None
    backend: str = "gymnasium"
    threads: int = 2


@dataclasses.dataclass(frozen=True)
class Pair:
    """A row: kpg and a peer, which run in turn.

    Attributes:
        work: Key of `WORKS`.
        ours: Key of `CONTENDERS`.
        theirs: Key of `CONTENDERS`.
        speed_bar: Least ratio of the steps per second; `None` is not judged.
        threshold_bar: Least ratio of the times to the threshold.
    """

    work: str
    ours: str
    theirs: str
    speed_bar: float | None = None
    threshold_bar: float | None = None


# Peak memory of kpg over that of the fastest peer of the same work.
MEMORY_BAR = 1.5

CONTENDERS = {
    "kpg": Contender("kpg", "kpg", "run_kpg.py", None, "auto"),
    "kpg_envpool": Contender("kpg on EnvPool", "kpg", "run_kpg.py", None, "envpool"),
    "kpg_stepping": Contender("kpg", "kpg", "run_kpg_stepping.py", None, "graph"),
    # PyTorch is slower with two threads on networks and minibatches this small.
    "stable_baselines3": Contender(
        "Stable-Baselines3",
        "stable-baselines3",
        "run_stable_baselines3.py",
        "stable_baselines3",
        threads=1,
    ),
    "sbx": Contender("SBX", "sbx-rl", "run_sbx.py", "sbx", threads=1),
    "rejax": Contender("rejax", "rejax", "run_rejax.py", "rejax", "gymnax"),
    "gymnax": Contender("gymnax", "gymnax", "run_gymnax.py", "gymnax", "gymnax"),
    "tf_agents": Contender("TF-Agents", "tf-agents", "run_tf_agents.py", "tf_agents"),
    "cleanrl": Contender("CleanRL", "cleanrl", "run_cleanrl.py", "cleanrl", threads=1),
    "kpg_sampling": Contender("kpg", "kpg", "run_kpg_sampling.py", None),
    "kpg_texts": Contender("kpg", "kpg", "run_kpg_texts.py", None),
    "keras_hub": Contender("KerasHub", "keras-hub", "run_keras_hub.py", None),
    "keras_hub_xla": Contender(
        "KerasHub, XLA", "keras-hub", "run_keras_hub.py", None, "xla"
    ),
    "hugging_face": Contender(
        "Hugging Face", "transformers", "run_hugging_face.py", "hugging_face"
    ),
    "ctranslate2": Contender(
        "CTranslate2, float32", "ctranslate2", "run_ctranslate2.py", "ctranslate2"
    ),
    "trl": Contender("TRL", "trl", "run_trl.py", "hugging_face"),
    "trl_continuous": Contender(
        "TRL, continuous batching", "trl", "run_trl.py", "hugging_face", "continuous"
    ),
}

WORKS = {
    "cart_pole": Work(
        "CartPole-v1",
        "8 × 32, 20 epochs × 1 minibatch",
        Settings(
            "CartPole-v1",
            num_envs=8,
            num_steps=32,
            num_epochs=20,
            minibatch_size=256,
            chunk=20,
            threshold=475.0,
            learning_rate=1e-3,
            learning_rate_schedule="linear",
            gamma=0.98,
            gae_lambda=0.8,
        ),
        learned=475.0,
        tolerance=25.0,
    ),
    "mountain_car": Work(
        "MountainCar-v0",
        "16 × 16, 4 epochs × 4 minibatches",
        Settings(
            "MountainCar-v0",
            num_envs=16,
            num_steps=16,
            num_epochs=4,
            chunk=200,
            threshold=-110.0,
            gae_lambda=0.98,
            normalize=True,
        ),
        learned=-130.0,
        tolerance=15.0,
    ),
    "stepping": Work(
        "4,096 CartPoles",
        "in-graph, random actions",
        Settings("CartPole-v1", num_envs=4096, num_steps=256),
        learned=21.0,
        tolerance=0.5,
    ),
    "half_cheetah": Work(
        "HalfCheetah-v5",
        "rl-zoo3's settings: 1 environment, 256-256 ReLU",
        Settings(
            "HalfCheetah-v5",
            num_envs=1,
            num_steps=512,
            num_epochs=20,
            chunk=20,
            chunks=10,
            learning_rate=2.0633e-05,
            gamma=0.98,
            gae_lambda=0.92,
            clip_range=0.1,
            ent_coef=0.000401762,
            vf_coef=0.58096,
            max_grad_norm=0.8,
            normalize=True,
            hidden_units=(256, 256),
            activation="relu",
            log_std_init=-2.0,
            orthogonal=False,
        ),
        learned=0.0,
        tolerance=300.0,
    ),
    "lunar_lander": Work(
        "LunarLander-v3",
        "rl-zoo3's settings: 16 environments",
        Settings(
            "LunarLander-v3",
            num_envs=16,
            num_steps=1024,
            num_epochs=4,
            chunk=4,
            chunks=16,
            gamma=0.999,
            gae_lambda=0.98,
            ent_coef=0.01,
        ),
        learned=100.0,
        tolerance=60.0,
    ),
    "keras_io": Work(
        "CartPole-v1 as keras.io",
        "the settings of keras.io's PPO example",
        Settings(
            "CartPole-v1",
            num_envs=1,
            num_steps=4000,
            num_epochs=80,
            minibatch_size=4000,
            chunk=3,
            chunks=10,
            gae_lambda=0.97,
            target_kl=0.01,
        ),
        learned=475.0,
        tolerance=25.0,
    ),
    "cleanrl": Work(
        "CartPole-v1 as CleanRL",
        "CleanRL's published settings",
        Settings(
            "CartPole-v1",
            num_envs=4,
            num_steps=128,
            num_epochs=4,
            minibatch_size=128,
            chunk=61,
            chunks=16,
            learning_rate=2.5e-4,
            learning_rate_schedule="linear",
            value_clip_range=0.2,
            ent_coef=0.01,
        ),
        learned=475.0,
        tolerance=25.0,
    ),
    "sampling_16": Work(
        "16 completions", "", TextSettings(16), learned=100.0, tolerance=5.0
    ),
    "sampling_64": Work(
        "64 completions", "", TextSettings(64), learned=100.0, tolerance=5.0
    ),
    "grpo": Work(
        "GRPO",
        "64 completions",
        TextSettings(64, chunks=8, algorithm="grpo", learning_rate=2e-3),
        learned=0.27,
        tolerance=0.15,
    ),
    "grpo_uneven": Work(
        "GRPO, uneven lengths",
        "64 completions, of which each token ends one in 32",
        UnevenTextSettings(64, chunks=8, algorithm="grpo", learning_rate=2e-3),
        learned=0.27,
        tolerance=0.15,
    ),
    "rloo": Work(
        "RLOO",
        "64 completions",
        TextSettings(64, chunks=7, algorithm="rloo"),
        learned=0.27,
        tolerance=0.15,
    ),
    "grpo_gpt2": Work(
        "GRPO, GPT-2's shape",
        "124 M weights, 32 completions, 4 at a time",
        LargeTextSettings(
            32,
            prompt_tokens=32,
            new_tokens=64,
            chunks=6,
            vocabulary_size=50257,
            num_layers=12,
            num_heads=12,
            hidden_dim=768,
            algorithm="grpo",
            group_size=8,
            learning_rate=1e-3,
        ),
        learned=0.5,
        tolerance=0.3,  # the steps are where the share rises fastest
    ),
}

PAIRS = (
    Pair("cart_pole", "kpg", "rejax", speed_bar=1.2, threshold_bar=1.0),
    Pair("cart_pole", "kpg", "stable_baselines3", speed_bar=9.0, threshold_bar=4.0),
    Pair("cart_pole", "kpg", "sbx", speed_bar=5.0),
    Pair("cart_pole", "kpg", "tf_agents", speed_bar=25.0),
    Pair("mountain_car", "kpg", "rejax", speed_bar=1.2, threshold_bar=1.0),
    Pair("mountain_car", "kpg", "stable_baselines3", speed_bar=25.0, threshold_bar=4.0),
    Pair("stepping", "kpg_stepping", "gymnax", speed_bar=1.0),
    Pair("half_cheetah", "kpg", "stable_baselines3", speed_bar=2.5),
    Pair("half_cheetah", "kpg_envpool", "stable_baselines3"),
    Pair("lunar_lander", "kpg", "stable_baselines3", speed_bar=3.0),
    Pair("lunar_lander", "kpg_envpool", "stable_baselines3", speed_bar=5.0),
    Pair("keras_io", "kpg", "stable_baselines3"),
    Pair("cleanrl", "kpg", "cleanrl"),
)

# Bars of training are parts of the peer's time.
TEXT_PAIRS = (
    Pair("sampling_16", "kpg_sampling", "keras_hub", speed_bar=3.5),
    Pair("sampling_16", "kpg_sampling", "keras_hub_xla"),
    Pair("sampling_16", "kpg_sampling", "hugging_face", speed_bar=1.3),
    Pair("sampling_16", "kpg_sampling", "ctranslate2", speed_bar=1.2),
    Pair("sampling_64", "kpg_sampling", "keras_hub", speed_bar=3.5),
    Pair("sampling_64", "kpg_sampling", "keras_hub_xla"),
    Pair("sampling_64", "kpg_sampling", "hugging_face", speed_bar=1.3),
    Pair("sampling_64", "kpg_sampling", "ctranslate2", speed_bar=1.2),
    Pair("grpo", "kpg_texts", "trl", speed_bar=1 / 0.65),
    Pair("rloo", "kpg_texts", "trl", speed_bar=1 / 0.5),
    Pair("grpo_uneven", "kpg_texts", "trl", speed_bar=1 / 0.6),
    Pair("grpo_uneven", "kpg_texts", "trl_continuous", speed_bar=1 / 0.6),
    Pair("grpo_gpt2", "kpg_texts", "trl", speed_bar=1 / 0.7),
)
