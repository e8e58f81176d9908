"""Expected values of the tests: the source's table, and NumPy on the source's data."""

import numpy as np
from scipy import stats

# The three inference rows that the source prints: x, y, check, and mean and var after the row.
SOURCE_ROWS = [
    {
        "x": [-1.782, 100.941],
        "y": [-1.843, 1.388],
        "check": [-1.842, 1.387],
        "moving_mean": [-0.2, 99.93],
        "moving_variance": [0.818, 0.589],
    },
    {
        "x": [-1.245, 101.126],
        "y": [-1.156, 1.557],
        "check": [-1.155, 1.557],
        "moving_mean": [-0.304, 100.05],
        "moving_variance": [0.736, 0.53],
    },
    {
        "x": [-0.107, 99.349],
        "y": [0.23, -0.961],
        "check": [0.23, -0.96],
        "moving_mean": [-0.285, 99.98],
        "moving_variance": [0.662, 0.477],
    },
]
DECAY = 0.9
EPSILON = 0.001


def source_data(train_steps=100, batch_size=4, infer_steps=10, seed=1006):
    """Return the source's training batches and inference rows, drawn as the source draws them."""
    np.random.seed(seed)
    normal = stats.multivariate_normal([0, 100])
    batches = [normal.rvs(batch_size).reshape(batch_size, 2) for _ in range(train_steps)]
    return batches, [normal.rvs(1).reshape(1, 2) for _ in range(infer_steps)]


def running_statistics(batches, mean=(0.0, 0.0), variance=(1.0, 1.0), correction=1.0):
    """Return [mean, variance] before the first batch and after each, by the recurrence, float64."""
    history = [np.array([mean, variance], np.float64)]
    for batch in batches:
        moments = [batch.mean(axis=0), correction * batch.var(axis=0)]
        history.append(DECAY * history[-1] + (1 - DECAY) * np.array(moments))
    return history


def output(x, mean, variance):
    """Return the layer's output for x from these statistics, with beta 0 and gamma 1."""
    return (x - mean) / np.sqrt(variance + EPSILON)
