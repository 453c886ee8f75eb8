"""Advantages and returns: how much better than expected each step turned out.

Arrays are time-major: `rewards`, `values` (V of the observation acted on) and
`next_values` are `[T, B]` float32, `terminated`, `truncated` and `valid` `[T, B]` bool.
The discount `gamma` is in [0, 1].

Two flags end an episode. After `terminated` nothing follows, so the value of what
follows is 0. After `truncated` the episode went on unseen: only the *trace* to the next
row, of another episode, is cut, and the value of what follows still counts.

`next_values[t]` is V of the true next observation of step `t`: the final one where an
episode ended, never that after the reset. It is not read where `terminated` holds, and
may be `nan` there.

Rows that are no steps (the resets of a NEXT_STEP vector environment) need no care where
a function takes no `valid`: the row before them ended its episode, so nothing flows
from them into a valid row.

Gradients flow through every function; the losses of `kpg.losses` stop them.
"""

from __future__ import annotations

import kpg.backend  # noqa: F401  # refuses another backend of Keras
from kpg.advantages.baselines import Baseline as Baseline
from kpg.advantages.baselines import BatchMean as BatchMean
from kpg.advantages.baselines import CriticBaseline as CriticBaseline
from kpg.advantages.baselines import GroupNormalized as GroupNormalized
from kpg.advantages.baselines import LeaveOneOut as LeaveOneOut
from kpg.advantages.baselines import MovingAverage as MovingAverage
from kpg.advantages.baselines import NoBaseline as NoBaseline
from kpg.advantages.baselines import SelfCritical as SelfCritical
from kpg.advantages.estimator import Estimates as Estimates
from kpg.advantages.estimator import Estimator as Estimator
from kpg.advantages.estimator import Gains as Gains
from kpg.advantages.estimators import GAE as GAE
from kpg.advantages.estimators import MonteCarlo as MonteCarlo
from kpg.advantages.estimators import NStep as NStep
from kpg.advantages.estimators import TDError as TDError
from kpg.advantages.estimators import VTrace as VTrace
from kpg.advantages.gae import gae as gae
from kpg.advantages.gae import n_step as n_step
from kpg.advantages.gae import td_error as td_error
from kpg.advantages.gae import vtrace as vtrace
from kpg.advantages.groups import group_normalized as group_normalized
from kpg.advantages.groups import leave_one_out as leave_one_out
from kpg.advantages.returns import discount_weights as discount_weights
from kpg.advantages.returns import discounted_returns as discounted_returns
from kpg.advantages.returns import total_returns as total_returns
