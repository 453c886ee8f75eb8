"""A small policy that steers a large language model, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from typing_extensions import override

from kpg import checks, values
from kpg.language.rewards.likelihood import TOLD
from kpg.language.rewards.reward import RewardFunction
from kpg.language.task import Completed, TextTask
from kpg.models.language.control.controls import CONTROLS, Control
from kpg.models.language.control.interaction import Interaction
from kpg.models.language.control.partner import ExecutorPartner, Turn
from kpg.models.language.control.steering import Steering
from kpg.models.language.control.text_buffer import TextBuffer
from kpg.models.language.control.writer import ExecutorWriter
from kpg.models.language.decoding.rowwise import rowwise_decoder_for
from kpg.models.language.language_policy import LanguagePolicy
from kpg.types import Array, Config


class ControlledGeneration(VectorEnv[Any, Any, Any]):
    """Texts that an executor writes and a policy steers; trainers take it as it is.

    The executor is a language model. An ordinary policy (an MLP, or one with a memory)
    acts before each token, which the executor then writes. The executor stays as it is,
    unless a trainer is given it: `kpg.trainers.PPO(policy, critic, executor=executor)`.
    An episode is one completion; it terminates with the end token or after
    `max_new_tokens`. A reward of the whole completion comes with its last step. One of
    single tokens, such as `kpg.rewards.ExecutorLogLikelihood(executor)`, is asked about
    the text so far in every step (the others in the first one, which tells them apart),
    and the step gets what its tokens add to the sum. A
    completion that all rewards refuse (`None`) gets 0, and trainers leave it out.
    `kpg.environments.SingleEnv` makes a plain `gymnasium.Env` of it.

    Actions are those of `control`. The executor samples from what its logits then are,
    at its own temperature, `top_k` and `top_p`. A word class is raised through the
    tokens that continue one of its words: if the completion ends with the beginning of
    a word, its next token, otherwise the first token of each.

    Observations are a `Dict`. With `interaction="one_way"` it holds only what the
    policy knows without the executor's output:

    - `last_action`: as an action, counted from 1 if it is discrete; 0 at first;
    - `prompt`: `[F]`, the mean of the executor's embeddings of the prompt's tokens;
    - `step`: `[1]`, the share of `max_new_tokens` that is written, in [0, 1].

    "two_way" adds what the executor answers, log-probabilities in nats:

    - `entropy`: `[1]`, of its distribution over the next token;
    - `features`: `[F]`, its hidden features behind the last token;
    - `last_token`: the last token of the text;
    - `log_likelihood`: `[1]`, its own of the last token (a phrase's first); 0 at first;
    - `top_log_probs`: `[8]`, those of its most likely next tokens, from the top.

    Args:
        executor: A `kpg.models.CausalLMPolicy` or `kpg.models.Seq2SeqLMPolicy`: a
            language model and its tokenizer.
        prompts: See `kpg.environments.TextGeneration`.
        references: The same.
        rewards: The same.
        reward_weights: The same.
        columns: The same.
        control: `kpg.environments.Instructions(…)`, `Biases(…)`, `NextToken()` or a
            `Control` of your own; or "instructions" (the default), "bias" or "token",
            made with those of the next five arguments that are given.
        word_classes: Of `control`, if that is a name.
        phrases: The same.
        strength: The same.
        sharpness: The same.
        deterministic: The same.
        interaction: "one_way" or "two_way". Defaults to "two_way".
        max_prompt_tokens: Longest prompt, ≥ 1; a longer one is refused.
        max_new_tokens: The most tokens of a completion, the end token included, ≥ 1.
        num_envs: Texts at a time, B. Defaults to 32.
        autoreset_mode: When a text that ended gives way to the next one. Defaults to
            `gymnasium.vector.AutoresetMode.SAME_STEP`, which wastes no step.
        seed: Seed of the order of the prompts and of the executor's samples, until
            `reset` is given one. Defaults to 0.
        jit_compile: Whether XLA compiles a step. The first one then takes seconds, and
            the others half the time or less. Defaults to `True`.

    Attributes:
        unscored: `[B]` bool, the texts that ended in the last step and that no reward
            scored.

    Raises:
        ValueError: If an argument is wrong or not one of the control's, the executor is
            not a language policy, its tokenizer cannot write a word or phrase, a
            phrase or prompt is too long, or the executor cannot read that much.
    """

    def __init__(
        self,
        executor: LanguagePolicy,
        prompts: Sequence[str],
        references: Sequence[object] | None = None,
        rewards: Sequence[RewardFunction] = (),
        control: Control | type[Control] | Config | str = "instructions",
        interaction: str = "two_way",
        word_classes: Mapping[str, Sequence[str]] | None = None,
        phrases: Sequence[str] = (),
        strength: float | None = None,
        sharpness: float | None = None,
        deterministic: bool = False,
        max_prompt_tokens: int = 128,
        max_new_tokens: int = 64,
        num_envs: int = 32,
        reward_weights: Sequence[float] | None = None,
        columns: Mapping[str, Sequence[object]] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        seed: int = 0,
        jit_compile: bool = True,
    ) -> None:
        room = checks.whole_number("max_prompt_tokens", max_prompt_tokens)
        max_new_tokens = checks.whole_number("max_new_tokens", max_new_tokens)
        self.num_envs = checks.whole_number("num_envs", num_envs)
        self.task = TextTask(
            prompts, references, rewards, reward_weights, columns, max_new_tokens
        )
        self.executor = executor
        flat: Config = {"word_classes": word_classes, "phrases": phrases}
        flat |= {"strength": strength, "sharpness": sharpness}
        flat |= {"deterministic": deterministic or None}
        flat = {name: checks.plain(value) for name, value in flat.items()}
        # What is empty or not given stays the control's own default.
        given = {k: v for k, v in flat.items() if v or isinstance(v, (int, float))}
        self.control = values.get("control", control, Control, CONTROLS, given)
        self._steering = Steering(self.control, executor, max_new_tokens)
        tokens, lengths = self.task.padded(executor, room)
        self._interaction = Interaction(executor, self._steering.space, interaction)
        lexicon = self._steering.lexicon
        self._texts = TextBuffer(
            tokens, lengths, lexicon.classes, num_envs, max_new_tokens, lexicon.end
        )
        self._jit_compile = jit_compile
        self._partner: ExecutorPartner | None = None
        self._writer = self._make_writer(again=self._steering.inserts)
        modes = [mode.value for mode in AutoresetMode]
        mode = getattr(autoreset_mode, "value", autoreset_mode)
        self._mode = AutoresetMode(checks.choice("autoreset_mode", mode, modes))
        self._describe()
        self._last_actions = self._interaction.no_actions(num_envs)
        self._seed, self._places, self._steps = checks.seed(seed) or 0, 0, 0
        self._begun = False
        self.unscored = np.zeros(num_envs, bool)
        # Copies whose texts are only there because the others go on; see `measured`.
        self.left_out = np.zeros(num_envs, bool)
        self._earned = np.zeros(num_envs)  # by each text, so far

    def _make_writer(self, again: bool) -> ExecutorWriter:
        """Makes the device's side; `again` is as in `rowwise_decoder_for`."""
        rooms = self._texts.prompt_room, self.task.max_new_tokens
        decoder = rowwise_decoder_for(self.executor.trunk, *rooms, again)
        return ExecutorWriter(
            self._steering, self._interaction, decoder, self._jit_compile
        )

    def _describe(self) -> None:
        """Sets what Gymnasium wants to know of a vector environment."""
        limit = self.task.max_new_tokens
        self.metadata = {"autoreset_mode": self._mode, "truncates": False}
        self.spec = EnvSpec("ControlledGeneration", max_episode_steps=limit)
        observation, action = self._interaction.space, self._steering.space
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, self.num_envs)
        self.action_space = batch_space(action, self.num_envs)

    @property
    def instructions(self) -> tuple[str, ...]:
        """Names of the control's actions, if they have some."""
        return self.control.names

    @property
    def completed(self) -> Completed | None:
        """The completions that were scored last, if there were any."""
        return self.task.completed

    def measured(self) -> dict[str, float]:
        """See `kpg.environments.Environment.measured`: of the texts that ended.

        Without those of copies that were `left_out` then.
        """
        return self.task.measured()

    def partner(self) -> ExecutorPartner:
        """Returns the executor as something that can learn; then call `reset`.

        Raises:
            ValueError: If the executor never chooses a token, or not at random.
        """
        if self._partner is None:
            self._partner = ExecutorPartner(self._steering, self._read_all)
            self._writer, self._begun = self._make_writer(again=True), False
        return self._partner

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begins a new text in every copy, or in those of `options["reset_mask"]`.

        Args:
            seed: Begins with the first prompt of this seed's order. Defaults to `None`:
                the next prompts follow.
            options: `reset_mask`, `[B]` bool. Defaults to `None`, all copies.

        Raises:
            ValueError: If the mask has another shape, or there was no reset yet.
        """
        if seed is not None:
            self._seed, self._places, self._steps = int(seed), 0, 0
        mask = (options or {}).get("reset_mask")
        rows = np.arange(self.num_envs)
        self._begin(rows if mask is None else rows[self._checked_mask(mask)])
        self._begun = True
        return self._observations(), {}

    @override
    def step(
        self, actions: Array
    ) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]:
        """Lets the executor write on, one action `[B, ...]` for each text.

        Returns:
            Observations, rewards `[B]` float64, terminated `[B]`, truncated `[B]`
            (never), and for texts that ended `completion`, with SAME_STEP `final_obs`.

        Raises:
            ValueError: If `reset` was never called, the actions have another shape, or
                a text has ended that nothing resets.
        """
        actions = self._checked_actions(actions)
        before = self._texts.ended
        self._write(actions, np.flatnonzero(~before))
        # With NEXT_STEP, what ended in the last step begins anew in this one.
        self._begin(np.flatnonzero(before))
        ended, infos = self._texts.ended, dict[str, Any]()
        self.unscored = np.zeros(self.num_envs, bool)
        observations = self._observations()
        earned = self._earned.copy()
        going_on = np.flatnonzero(~ended & (self._texts.counts > 0))
        if len(going_on) and self.task.scores_tokens:
            known = self._written(going_on)
            earned[going_on] = self.task.so_far(*known, **self._told(going_on))
        finished = np.flatnonzero(ended)
        if len(finished):
            earned[finished] = self._score(finished, infos)
        rewards, self._earned = earned - self._earned, earned
        if len(finished):
            if self._mode is AutoresetMode.SAME_STEP:
                rows = list(iterate(self.observation_space, observations))
                self._inform(infos, "final_obs", finished, [rows[i] for i in finished])
                self._begin(finished)
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
            told = (texts.tokens.copy(), lengths, texts.own_prompts)
            self._partner.turn = Turn(*told, texts.states.copy(), actions, tokens)
        texts.append(rows, tokens[rows], self._writer.log_likelihoods[rows])
        self._last_actions[rows] = self._interaction.as_last(actions[rows])
        unread = []
        for row, phrase in self._steering.phrases(actions, rows):
            if not texts.ended[row]:
                texts.insert(row, phrase[1:])
                unread.append(row)
        self._read(np.array(unread, np.int64))

    def _begin(self, rows: Array) -> None:
        """Begins texts in rows, with the next prompts, and has them read."""
        places = range(self._places, self._places + len(rows))
        self._places += len(rows)
        self._texts.begin(rows, self.task.drawn(places, self._seed))
        self._last_actions[rows] = 0
        self._earned[rows] = 0.0
        self._read(rows)

    def _read(self, rows: Array) -> None:
        """Has the executor read the texts in rows as they now are."""
        if not len(rows):
            return
        texts = self._texts
        begun = not texts.counts[rows].any()
        room = texts.prompt_room if begun else texts.tokens.shape[1]
        known = (texts.tokens[rows, :room], texts.lengths[rows])
        self._writer.replace(rows, *known, texts.own_prompts[rows], begun)

    def _read_all(self) -> None:
        """Has the executor, whose weights have changed, read all texts again."""
        texts = self._texts
        rows = np.arange(self.num_envs)
        known = (texts.tokens, texts.lengths, texts.own_prompts)
        self._writer.replace(rows, *known, begun=False)

    def _score(self, rows: Array, infos: dict[str, Any]) -> Array:
        """Returns what the texts in rows, which ended, earned in all."""
        written = self._written(rows)
        self._inform(infos, "completion", rows, written[1])
        more = {**self._told(rows), "counted": ~self.left_out[rows]}
        scores = self.task.score(*written, **more)
        self.unscored[rows] = ~scores.scored
        totals = scores.total.sum(axis=1, dtype=np.float64)
        return np.where(scores.scored, totals, self._earned[rows])

    def _written(
        self, rows: Array
    ) -> tuple[Array, list[str], list[Array], list[Array], list[bool]]:
        """Returns what `TextTask.score` takes, for the texts in rows as they are."""
        texts = self._texts
        prompts = [texts.prompt_ids(row) for row in rows]
        written = [texts.completion_ids(row) for row in rows]
        stopped: list[bool] = texts.stopped[rows].tolist()
        completions = self.executor.texts(written)
        return texts.indices[rows], completions, prompts, written, stopped

    def _told(self, rows: Array) -> dict[str, Any]:
        """Returns what the executor gave to the tokens of the texts in rows."""
        texts, executor = self._texts, self.executor
        parts = [texts.likelihoods[row, : texts.counts[row]].copy() for row in rows]
        return {TOLD: [(executor, part) for part in parts]}

    def _inform(
        self, infos: dict[str, Any], name: str, rows: Array, known: Sequence[object]
    ) -> None:
        """Puts what is known of `[R]` rows into a step's infos, as Gymnasium does."""
        column, mask = np.full(self.num_envs, None), np.zeros(self.num_envs, bool)
        for row, value in zip(rows, known, strict=True):
            column[row], mask[row] = value, True
        infos[name], infos[f"_{name}"] = column, mask

    def _observations(self) -> dict[str, Array]:
        texts = self._texts
        shares = texts.counts / self.task.max_new_tokens
        known = {
            "last_action": self._last_actions.copy(),
            "step": shares.astype(np.float32)[:, np.newaxis],
            **{name: part.copy() for name, part in self._writer.view.items()},
        }
        if self._interaction.two_way:
            last = texts.tokens[np.arange(self.num_envs), texts.lengths - 1]
            known["last_token"] = last.astype(np.int64)
            likelihoods = self._writer.log_likelihoods[:, np.newaxis]
            known["log_likelihood"] = likelihoods.copy()
        return known

    def _checked_actions(self, actions: object) -> Array:
        if not self._begun:
            raise ValueError("Call `reset` before `step`. Received: no reset so far.")
        space = self.single_action_space
        given: Array = np.asarray(actions, space.dtype)
        wanted = (self.num_envs, *(space.shape or ()))
        if given.shape != wanted:
            raise ValueError(
                f"`actions` must have the shape {wanted}. Received: {given.shape}"
            )
        if not self.action_space.contains(given):
            raise ValueError(
                f"`actions` must be members of {space}. Received: {given.tolist()}"
            )
        ended = int(self._texts.ended.sum())
        if ended and self._mode is AutoresetMode.DISABLED:
            raise ValueError(
                "With DISABLED autoreset, texts that ended must be reset before the "
                f'next step, by reset(options={{"reset_mask": …}}). Received: {ended} '
                "that ended"
            )
        return given

    def _checked_mask(self, mask: object) -> Array:
        given: Array = np.asarray(mask)
        if given.shape != (self.num_envs,) or given.dtype != bool or not self._begun:
            raise ValueError(
                f"`reset_mask` must be {self.num_envs} booleans, after a first reset "
                f"of all. Received: shape={given.shape}, dtype={given.dtype}, "
                f"{'after' if self._begun else 'before'} a first reset"
            )
        return given
