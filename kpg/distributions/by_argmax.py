"""TensorFlow Probability's categorical distribution, for XLA."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from kpg.distributions.categorical import gumbel


class CategoricalByArgmax(tfp.distributions.Categorical):
    """TFP's categorical distribution, sampled in a way that XLA can compile on CPU.

    XLA has no multinomial sampler on CPU, so a sample is the argmax of the logits plus
    Gumbel noise.

    Reference: Maddison, Tarlow and Minka (2014), https://arxiv.org/abs/1411.0030.
    """

    def _sample_n(self, n: int, seed: Any = None) -> tf.Tensor:
        logits = self.logits_parameter()
        seed = tfp.random.sanitize_seed(seed, salt="categorical")
        noise = gumbel(tf.concat([[n], tf.shape(logits)], axis=0), seed)
        return tf.argmax(logits + noise, axis=-1, output_type=self.dtype)
