"""Batch normalization in NumPy, float64, from the papers: the expected values of the layers."""

import numpy as np


class NumpyLayer:
    """The statistics of a layer; `train` and `infer` return its outputs.

    Args:
      shape: the shape of the variables.
      axes: the dimensions to reduce.
      bessel: whether moving_variance receives the unbiased variance, as with the fused kernel.
    """

    def __init__(self, shape, axes=(0,), decay=0.9, epsilon=0.001, bessel=False, zero_debias=False):
        self.axes, self.decay, self.epsilon = tuple(axes), decay, epsilon
        self.bessel, self.zero_debias = bessel, zero_debias
        self.beta, self.gamma = np.zeros(shape), np.ones(shape)
        self.moving_mean, self.moving_variance = np.zeros(shape), np.ones(shape)
        self.biased, self.local_step = np.zeros(shape), 0

    def train(self, x, weights=None):
        mean, variance = self.moments(x, weights)
        y = self.output(x, mean, variance)
        count = x.size / mean.size
        self._move(mean, variance * count / (count - 1) if self.bessel else variance)
        return y

    def infer(self, x):
        return self.output(x, self.moving_mean, self.moving_variance)

    def moments(self, x, weights=None):
        x = np.asarray(x, np.float64)
        weights = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
        weights = np.broadcast_to(weights.reshape([-1] + [1] * (x.ndim - 1)), x.shape)
        mean = np.average(x, self.axes, weights)
        deviation = (x - self.aligned(mean, x)) ** 2
        return mean, np.average(deviation, self.axes, weights)

    def output(self, x, mean, variance):
        mean, variance, beta, gamma = (
            self.aligned(value, x) for value in (mean, variance, self.beta, self.gamma)
        )
        return (x - mean) / np.sqrt(variance + self.epsilon) * gamma + beta

    def aligned(self, value, x):
        """Reshape a value per channel so that it broadcasts over x."""
        return value.reshape([1 if axis in self.axes else -1 for axis in range(x.ndim)])

    def _move(self, mean, variance):
        keep, take = self.decay, 1 - self.decay
        self.moving_variance = keep * self.moving_variance + take * variance
        if not self.zero_debias:
            self.moving_mean = keep * self.moving_mean + take * mean
            return
        self.local_step += 1
        self.biased = keep * self.biased + take * mean
        self.moving_mean = self.biased / (1 - keep**self.local_step)


class NumpyRenorm(NumpyLayer):
    """Batch renormalization as in arXiv:1702.03275, with contrib's variables."""

    def __init__(self, shape, renorm_decay=0.99, clipping=None, **options):
        super().__init__(shape, **options)
        self.renorm_decay, self.clipping = renorm_decay, clipping or {}
        self.renorm_mean = np.zeros(shape)
        self.renorm_stddev, self.moving_stddev = np.ones(shape), np.ones(shape)

    def train(self, x, weights=None):
        mean, variance = self.moments(x, weights)
        stddev = np.sqrt(variance + self.epsilon)
        reference = np.maximum(self.renorm_stddev, np.sqrt(self.epsilon))
        r, d = stddev / reference, (mean - self.renorm_mean) / reference
        r = np.clip(r, self.clipping.get("rmin", 0), self.clipping.get("rmax", np.inf))
        dmax = self.clipping.get("dmax", np.inf)
        r, d = self.aligned(r, x), self.aligned(np.clip(d, -dmax, dmax), x)
        normalized = (x - self.aligned(mean, x)) / self.aligned(stddev, x)
        y = (normalized * r + d) * self.aligned(self.gamma, x) + self.aligned(self.beta, x)
        self._move_all(mean, stddev)
        return y

    def _move_all(self, mean, stddev):
        keep, take = self.renorm_decay, 1 - self.renorm_decay
        self.renorm_mean = keep * self.renorm_mean + take * mean
        self.renorm_stddev = keep * self.renorm_stddev + take * stddev
        self.moving_stddev = self.decay * self.moving_stddev + (1 - self.decay) * stddev
        self._move(mean, 0.0)
        self.moving_variance = np.maximum(self.moving_stddev**2 - self.epsilon, 0)
