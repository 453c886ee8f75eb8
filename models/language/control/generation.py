"""A small policy that steers a large language model, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate

from kpg.environments.environment import checked_num_envs
from kpg.language.task import Array, Completed, TextTask, check_counts
from kpg.models.language.control.controls import (
    SHARPNESS,
    STRENGTH,
    Options,
    make_control,
)
from kpg.models.language.control.infos import put
from kpg.models.language.control.interaction import Interaction
from kpg.models.language.control.partner import ExecutorPartner, Turn
from kpg.models.language.control.text_buffer import ControlledTexts
from kpg.models.language.control.writer import ExecutorWriter
from kpg.models.language.decoding.rowwise import (
    Executor,
    check_executor,
    reader_for,
)
from kpg.rewards import RewardFunction


class ControlledGeneration(VectorEnv[Any, Any, Any]):
    """Texts that an executor writes and a policy steers.

    The executor is a language model. An ordinary policy (an MLP, or one with a memory)
    takes an action before each token; the executor writes it. It stays as it is, unless
    a trainer is given it: `kpg.trainers.PPO(policy, critic, executor=executor, …)`. An
    episode is one completion: it ends with the end token or after `max_new_tokens`, and
    either is a termination. Its reward comes with its last step and is what the rewards
    sum up to; 0 if one of them is `None`, so that it could not be scored.

    It is a `gymnasium.vector.VectorEnv`: give it to a trainer's `fit` and `evaluate` as
    it is. `kpg.environments.SingleEnv` makes a plain `gymnasium.Env` of it.

    Actions, by `control`:

    - "token": `Discrete(V)`, the next token itself. The executor reads along.
    - "bias": `Box(-1, 1)`, a number for each word class, or without classes for each
      token: `strength` times the number is added to the logits.
    - "instructions": `Discrete`, in the order of `instructions`: "continue"; "stop",
      which writes the end token; "sharpen", which multiplies the logits by `sharpness`;
      "boost" for each word class, which adds `strength` to the logits; and "insert" for
      each phrase, which writes all of it.

    The executor samples from what its logits then are, at its own temperature, `top_k`
    and `top_p`. A word class is raised through the tokens that go on with one of its
    words: the next token of a word that the completion ends with a beginning of, else
    the first of each.

    Observations, a `Dict` by `interaction`. "one_way": only what the policy knows
    without the executor's output:

    - `last_action`: as an action, counted from 1 if it is discrete; 0 at first;
    - `prompt`: `[F]`, the mean of the executor's embeddings of the prompt's tokens;
    - `step`: `[1]`, the share of `max_new_tokens` that is written, in [0, 1].

    "two_way" adds what the executor answers:

    - `entropy`: `[1]`, of its distribution over the next token, in nats;
    - `features`: `[F]`, its hidden features behind the last token;
    - `last_token`: the last token of the text;
    - `log_likelihood`: `[1]`, the log-probability that the executor alone gave to the
      token of the last step (of a phrase, to its first), in nats; 0 at first;
    - `top_log_probs`: `[8]`, those of its most likely next tokens, from the top.

    Example:
        lm = kpg.text.gpt2(258, seed=0)
        executor = kpg.models.CausalLMPolicy(lm, kpg.text.ByteTokenizer())
        env = kpg.environments.ControlledGeneration(
            executor, ["The cat "], rewards=[polite], max_new_tokens=24,
            word_classes={"polite": [" please", " thank"]}, phrases=[", sir"],
        )
        policy = kpg.models.Policy(env.single_observation_space,
                                   env.single_action_space)

    Args:
        executor: A `kpg.models.CausalLMPolicy`, that is a language model and its
            tokenizer.
        prompts: See `kpg.environments.TextGeneration`.
        references: See `kpg.environments.TextGeneration`.
        rewards: See `kpg.environments.TextGeneration`.
        control: "token", "bias" or "instructions". Defaults to "instructions".
        interaction: "one_way" or "two_way". Defaults to "two_way".
        word_classes: For each name a list of words, written as they stand in a text: a
            space in front where the tokenizer makes it part of a word. For "bias" and
            "instructions". Defaults to none.
        phrases: What can be inserted, for "instructions". Defaults to none.
        strength: What a boost, or a bias of 1, adds to logits, > 0, in nats. Defaults
            to 5.
        sharpness: What sharpening multiplies logits by, > 1. Defaults to 4.
        deterministic: Whether the executor takes the most likely token in place of a
            sample. Defaults to `False`.
        max_prompt_tokens: Longest prompt, ≥ 1; a longer one is refused.
        max_new_tokens: Tokens of a completion at most, the end token included, ≥ 1.
        num_envs: Texts at a time, B. Defaults to 32.
        reward_weights: See `kpg.environments.TextGeneration`.
        columns: See `kpg.environments.TextGeneration`.
        autoreset_mode: When a text that ended gives way to the next one, a
            `gymnasium.vector.AutoresetMode` or its value. Defaults to `SAME_STEP`,
            which wastes no step.
        seed: Seed of the order of the prompts and of the executor's samples, until
            `reset` is given one. Defaults to 0.
        jit_compile: Whether XLA compiles a step. The first one then takes seconds, and
            the others half the time or less. Defaults to `True`.

    Attributes:
        task: The prompts, and the rewards.
        instructions: Names of the actions of "instructions"; else empty.

    Raises:
        ValueError: If an argument is wrong or would have no effect, the executor is no
            language policy, its tokenizer cannot make a word or phrase, a phrase or
            prompt is too long, or the executor cannot read so much.
    """

    def __init__(
        self,
        executor: Executor,
        prompts: Sequence[str],
        references: Sequence[Any] | None = None,
        rewards: Sequence[RewardFunction] = (),
        control: str = "instructions",
        interaction: str = "two_way",
        word_classes: Mapping[str, Sequence[str]] | None = None,
        phrases: Sequence[str] = (),
        strength: float = STRENGTH,
        sharpness: float = SHARPNESS,
        deterministic: bool = False,
        max_prompt_tokens: int = 128,
        max_new_tokens: int = 64,
        num_envs: int = 32,
        reward_weights: Sequence[float] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        seed: int = 0,
        jit_compile: bool = True,
    ) -> None:
        check_executor(executor)
        check_counts(max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens)
        self.num_envs = checked_num_envs(num_envs)
        self.task = TextTask(
            prompts, references, rewards, reward_weights, columns, max_new_tokens
        )
        self.executor = executor
        self._control = make_control(
            executor,
            control,
            Options(
                word_classes or {},
                phrases,
                strength,
                sharpness,
                deterministic,
                max_new_tokens,
            ),
        )
        tokens, lengths = self.task.padded(executor, max_prompt_tokens)
        self._interaction = Interaction(executor, self._control.space, interaction)
        end = int(executor.tokenizer.end_token_id)
        self._texts = ControlledTexts(
            tokens, lengths, self._control.classes, num_envs, max_new_tokens, end
        )
        self._jit_compile = jit_compile
        self._partner: ExecutorPartner | None = None
        again = any(len(row) > 1 for row in self._control.phrases)
        self._writer = self._make_writer(again)
        self._mode = _mode(autoreset_mode)
        self._describe()
        self._last_actions = self._interaction.no_actions(num_envs)
        self._seed, self._places, self._steps = seed, 0, 0
        self._begun = False

    def _make_writer(self, again: bool) -> ExecutorWriter:
        """Makes the device's side; `again` is as in `reader_for`."""
        rooms = self._texts.prompt_room, self.task.max_new_tokens
        reader = reader_for(self.executor, *rooms, again)
        return ExecutorWriter(
            self._control, self._interaction, reader, self._jit_compile
        )

    def _describe(self) -> None:
        """Sets what Gymnasium wants to know of a vector environment."""
        limit = self.task.max_new_tokens
        self.metadata = {"autoreset_mode": self._mode}
        self.spec = EnvSpec("ControlledGeneration", max_episode_steps=limit)
        observation, action = self._interaction.space, self._control.space
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)

    @property
    def instructions(self) -> tuple[str, ...]:
        """Names of the actions of "instructions"; else empty."""
        return getattr(self._control, "names", ())

    @property
    def completed(self) -> Completed | None:
        """The completions that were scored last, if there were any."""
        return self.task.completed

    def measured(self) -> dict[str, float]:
        """See `kpg.environments.Environment.measured`: of the texts that ended."""
        return self.task.measured()

    def partner(self) -> ExecutorPartner:
        """Returns the executor as what can learn; the next call must be `reset`.

        Raises:
            ValueError: See `ExecutorPartner`.
        """
        if self._partner is None:
            self._partner = ExecutorPartner(self._control, self._read_all)
            self._writer, self._begun = self._make_writer(again=True), False
        return self._partner

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins a new text in every copy, or in those of `options["reset_mask"]`.

        Args:
            seed: Begins with the first prompt of the order of this seed. Defaults to
                `None`: goes on with the next prompts.
            options: `reset_mask`, `[B]` bool. Defaults to `None`, all copies.

        Returns:
            Observations, a dictionary of `[B, ...]`, and an empty dictionary.

        Raises:
            ValueError: If the mask has another shape, or there was no reset yet.
        """
        if seed is not None:
            self._seed, self._places, self._steps = int(seed), 0, 0
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            rows = np.flatnonzero(self._checked_mask(mask))
            self._begin(rows)
            self._read(rows)
            return self._observations(), {}
        self._begin(np.arange(self.num_envs))
        texts = self._texts
        self._writer.start(texts.tokens[:, : texts.prompt_room], texts.lengths)
        self._begun = True
        return self._observations(), {}

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Lets the executor write on, one action for each text.

        Args:
            actions: `[B, ...]`, members of the action space.

        Returns:
            Observations, rewards `[B]` float64, terminated `[B]`, truncated `[B]`
            (never), and what is known of the texts that ended: `completion`, and with
            SAME_STEP `final_obs`.

        Raises:
            ValueError: If `reset` was never called, the actions have another shape, or
                a text has ended that nothing resets.
        """
        actions = self._checked_actions(actions)
        before = self._texts.ended
        self._write(actions, np.flatnonzero(~before))
        # With NEXT_STEP, what ended in the last step begins anew in this one.
        resets = np.flatnonzero(before)
        self._begin(resets)
        self._read(resets)
        ended = self._texts.ended
        rewards, infos = np.zeros(self.num_envs), dict[str, Any]()
        observations = self._observations()
        if ended.any():
            finished = np.flatnonzero(ended)
            rewards[finished] = self._score(finished, infos)
            if self._mode is AutoresetMode.SAME_STEP:
                rows = list(iterate(self.observation_space, observations))
                finals = [rows[row] for row in finished]
                put(infos, "final_obs", self.num_envs, finished, finals)
                self._begin(finished)
                self._read(finished)
                observations = self._observations()
        return observations, rewards, ended, np.zeros_like(ended), infos

    def _write(self, actions: Array, rows: Array) -> None:
        """Writes one token in each of `[R]` rows, or all of a phrase."""
        texts = self._texts
        # What ended has no next place; whatever is read there is dropped by the reset.
        lengths = np.minimum(texts.lengths, texts.tokens.shape[1] - 1)
        self._steps += 1
        key = [self._seed & 0x7FFFFFFF, self._steps]
        tokens = self._writer.write(actions, texts.states, lengths, key)
        if self._partner is not None:
            told = (texts.tokens.copy(), lengths, texts.states.copy(), actions)
            self._partner.turn = Turn(*told, tokens)
        texts.append(rows, tokens[rows])
        self._last_actions[rows] = self._interaction.as_last(actions[rows])
        unread = []
        for row in rows if len(self._control.phrases) else ():
            phrase = self._control.phrase(actions[row])
            if phrase is not None and len(phrase) > 1 and not texts.ended[row]:
                texts.insert(row, phrase[1:])
                unread.append(row)
        self._read(np.array(unread, np.int64))

    def _begin(self, rows: Array) -> None:
        """Begins texts in rows, with the next prompts."""
        places = range(self._places, self._places + len(rows))
        self._places += len(rows)
        self._texts.begin(rows, self.task.drawn(places, self._seed))
        self._last_actions[rows] = 0

    def _read(self, rows: Array) -> None:
        """Has the executor read the texts in rows as they now are."""
        if not len(rows):
            return
        texts = self._texts
        begun = not texts.counts[rows].any()
        room = texts.prompt_room if begun else texts.tokens.shape[1]
        tokens, lengths = texts.tokens[rows, :room], texts.lengths[rows]
        self._writer.replace(rows, tokens, lengths, begun)

    def _read_all(self) -> None:
        """Has the executor, which has become another one, read all texts again."""
        texts = self._texts
        rows = np.arange(self.num_envs)
        self._writer.replace(rows, texts.tokens, texts.lengths, begun=False)

    def _score(self, rows: Array, infos: dict[str, Any]) -> Array:
        """Returns what the texts in rows are rewarded with."""
        texts = self._texts
        prompts = [texts.prompt_ids(row) for row in rows]
        written = [texts.completion_ids(row) for row in rows]
        completions = self.executor.texts(written)
        stopped = texts.stopped[rows].tolist()
        put(infos, "completion", self.num_envs, rows, completions)
        indices = texts.indices[rows]
        scores = self.task.score(indices, completions, prompts, written, stopped)
        rewards: Array = scores.total.sum(axis=1)
        return rewards

    def _observations(self) -> dict[str, Array]:
        texts = self._texts
        shares = texts.counts / self.task.max_new_tokens
        known = {
            **self._interaction.own(shares, self._last_actions),
            **{name: part.copy() for name, part in self._writer.view.items()},
        }
        if not self._interaction.two_way:
            return known
        last = texts.tokens[np.arange(self.num_envs), texts.lengths - 1]
        return {
            **known,
            "last_token": last.astype(np.int64),
            "log_likelihood": self._writer.log_likelihoods[:, np.newaxis].copy(),
        }

    def _checked_actions(self, actions: Any) -> Array:
        if not self._begun:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        space = self.single_action_space
        values: Array = np.asarray(actions, space.dtype)
        wanted = (self.num_envs, *(space.shape or ()))
        if values.shape != wanted:
            raise ValueError(
                f"`actions` must have the shape {wanted}. Received: {values.shape}"
            )
        if not self.action_space.contains(values):
            raise ValueError(
                f"`actions` must be members of {space}. Received: {values.tolist()}"
            )
        ended = int(self._texts.ended.sum())
        if ended and self._mode is AutoresetMode.DISABLED:
            raise ValueError(
                "With DISABLED autoreset, texts that ended must be reset before the "
                f'next step, by reset(options={{"reset_mask": …}}). Received: {ended} '
                "that ended"
            )
        return values

    def _checked_mask(self, mask: Any) -> Array:
        given: Array = np.asarray(mask)
        if given.shape != (self.num_envs,) or given.dtype != bool or not self._begun:
            raise ValueError(
                f"`reset_mask` must be {self.num_envs} booleans, after a first reset "
                f"of all. Received: shape={given.shape}, dtype={given.dtype}, "
                f"{'after' if self._begun else 'before'} a first reset"
            )
        return given


def _mode(mode: AutoresetMode | str) -> AutoresetMode:
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        known = [known.value for known in AutoresetMode]
        raise ValueError(
            f"`autoreset_mode` must be one of {known}. Received: {mode!r}"
        ) from error
