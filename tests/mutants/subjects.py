"""Every function that has identities and mutants."""

from __future__ import annotations

from tests.mutants.chunks import CHUNKS
from tests.mutants.critic import VALUE
from tests.mutants.distributions import (
    CATEGORICAL,
    CATEGORICAL_ENTROPY,
    MASKS,
    NORMAL,
    NORMAL_ENTROPY,
    TANH_NORMAL,
)
from tests.mutants.divergence import K1, K2, K3
from tests.mutants.gae import GAE
from tests.mutants.groups import GROUP_NORMALIZED, GROUP_SCALE, LEAVE_ONE_OUT
from tests.mutants.micro_batches import MICRO_BATCHES
from tests.mutants.moments import MOMENTS
from tests.mutants.policy_gradient import POLICY_GRADIENT
from tests.mutants.preferences import BRADLEY_TERRY
from tests.mutants.recipes import RECIPES
from tests.mutants.reference import REFERENCE_K1, REFERENCE_K2, REFERENCE_K3
from tests.mutants.repetition import PENALIZED
from tests.mutants.replay import REPLAY
from tests.mutants.returns import DISCOUNT_WEIGHTS, N_STEP, RETURNS, TOTAL_RETURNS
from tests.mutants.subject import Subject
from tests.mutants.surrogate import SURROGATE
from tests.mutants.vtrace import VTRACE

SUBJECTS: tuple[Subject, ...] = (
    GAE,
    RETURNS,
    N_STEP,
    TOTAL_RETURNS,
    DISCOUNT_WEIGHTS,
    VTRACE,
    LEAVE_ONE_OUT,
    GROUP_NORMALIZED,
    GROUP_SCALE,
    POLICY_GRADIENT,
    SURROGATE,
    VALUE,
    K1,
    K2,
    K3,
    REFERENCE_K1,
    REFERENCE_K2,
    REFERENCE_K3,
    CATEGORICAL,
    CATEGORICAL_ENTROPY,
    MASKS,
    NORMAL,
    NORMAL_ENTROPY,
    TANH_NORMAL,
    MOMENTS,
    *RECIPES,
    CHUNKS,
    MICRO_BATCHES,
    BRADLEY_TERRY,
    PENALIZED,
    REPLAY,
)
