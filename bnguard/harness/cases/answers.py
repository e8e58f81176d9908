"""Answers: questions that come with the symptoms of the catalogue, and are no case of it."""

from __future__ import annotations

from typing import NamedTuple, Tuple


class Answer(NamedTuple):
    """An answer.

    Attributes:
      name: what it is about; with hyphens, unlike the name of a case.
      question: the question, as a title.
      text: the answer.
      page: the page of the documentation that says more.
      also_said_as: the question in other words.
    """

    name: str
    question: str
    text: str
    page: str
    also_said_as: Tuple[str, ...]


ANSWERS: Tuple[Answer, ...] = (
    Answer(
        "not-available-with-keras-3",
        "tf.layers.batch_normalization is not available with Keras 3.",
        "In graph mode tf_slim fails since TensorFlow 2.15, and tf.layers since 2.16, unless "
        "tf_keras replaces Keras 3. bnguard.batch_norm and bnguard.batch_normalization take the "
        "same arguments and work there.",
        "layers.md",
        (
            "AttributeError when I call tf.compat.v1.layers after an upgrade of TensorFlow",
            "tf.layers deprecated, what is the replacement for batch_normalization",
            "module has no attribute layers, removed in the new version",
            "tf.contrib is gone: No module named tensorflow.contrib",
            "slim batch_norm fails: ops has no attribute Tensor",
            "how to migrate contrib layers to TensorFlow 2",
        ),
    ),
    Answer(
        "renorm-is-gone",
        "Batch renormalization: the argument renorm does not exist any more.",
        "Keras 3 has no renorm. bnguard.batch_norm and bnguard.batch_normalization have renorm, "
        "renorm_clipping and renorm_decay.",
        "layers.md",
        (
            "unexpected keyword argument renorm, renorm_clipping, renorm_momentum",
            "how do I use batch renorm with small batches in current versions",
        ),
    ),
    Answer(
        "half-precision",
        "Half precision: batch norm on float16 or bfloat16.",
        "The layers take float16 and bfloat16 inputs and keep their variables in float32, so that "
        "small updates are not lost.",
        "layers.md",
        (
            "fp16 input: type error, scale and offset must be float32",
            "mixed precision training gives NaN or statistics that overflow or stand still",
            "support half in contrib batch_norm",
        ),
    ),
    Answer(
        "statistics-per-replica",
        "Statistics differ between workers, ranks or replicas.",
        "Data-parallel training averages gradients, not running statistics: each rank has those "
        "of its shard, and rank 0 saves its own. `bnguard diff` compares two checkpoints. "
        "bnguard.average pools them; an average of the variances alone would be too small.",
        "guard.md",
        (
            "Horovod: every rank reports another evaluation accuracy",
            "distributed training, each worker has moving averages of its own",
            "synchronize batch norm across GPUs, sync batch norm, share the mean and variance",
            "cross replica sum on TPU: is the average of variances right",
            "MirroredStrategy with batch norm raises an error or saves one replica's statistics",
            "MPI allreduce of moving_mean and moving_variance",
        ),
    ),
    Answer(
        "averaged-weights",
        "Averaged weights need statistics of their own.",
        "After stochastic weight averaging, or with any other weights than those of training, the "
        "running statistics do not fit the network. `bnguard reestimate` computes them anew from "
        "training data.",
        "rescue.md",
        (
            "SWA: recalculate the statistics after averaging the weights of several checkpoints",
            "ensemble of checkpoints averaged into one, accuracy collapses",
            "update_bn, recompute batch statistics with a pass over the data",
            "checkpoint from training has bad statistics, can they be repaired without retraining",
        ),
    ),
    Answer(
        "weights-in-keras",
        "Weights of a TensorFlow 1 checkpoint in an equivalent Keras model.",
        "A Keras layer has gamma, beta, moving_mean and moving_variance in this order, and another "
        "default epsilon (0.001) and momentum. Assign all four by name and compare the outputs of "
        "one batch; `bnguard diff` compares the statistics.",
        "guard.md",
        (
            "load weights into Keras, inference differs from the original graph",
            "convert checkpoint to h5, set_weights order of batch normalization",
            "port a model from TF1 to TF2, outputs are not the same",
        ),
    ),
    Answer(
        "batch-of-one",
        "A batch of one row, or one value for each channel.",
        "The variance of one value is 0, and its unbiased estimate is 0/0: NaN on a GPU. Train "
        "with more rows, or use the running statistics after global pooling. The layers warn if "
        "the shape shows it.",
        "layers.md",
        (
            "Nan in summary histogram for moving_variance",
            "moving_variance becomes NaN or inf with batch size 1",
            "image pooling branch with 1x1 feature map gives NaN",
            "variance tends to zero, output is always beta",
            "online training with a single sample",
        ),
    ),
    Answer(
        "unbiased-variance",
        "The fused kernel's variance differs from the one of the batch.",
        "The fused kernel averages the unbiased variance, n/(n-1) of the batch's. For a batch of 4 "
        "values this is 4/3. Pass fused=False for the biased one.",
        "layers.md",
        (
            "moving_variance is larger than expected by a factor, Bessel correction",
            "fused and non fused batch norm give different moving variances",
            "mismatch between NumPy variance and running variance on small batches",
        ),
    ),
    Answer(
        "layer-normalization",
        "A layer or instance normalization that looks like a batch norm in training mode.",
        "Keras' LayerNormalization calls the fused kernel with is_training=True on a reshaped "
        "input. That is right: it normalizes each row. The audit ignores it.",
        "rules/BN103.md",
        (
            "converter treats LayerNormalization as FusedBatchNormV3 in training mode",
            "group norm, instance norm exported as batch norm",
        ),
    ),
    Answer(
        "saved-model-mode",
        "Is this SavedModel in inference mode?",
        "`bnguard audit export/` tells for each signature whether it uses the batch's statistics "
        "or writes the running ones. TensorFlow is not needed.",
        "audit.md",
        (
            "how to check if an exported graph was frozen for inference or training",
            "no is_training input to feed in the exported model, which mode is it in",
            "verify that a pb file uses the moving averages",
        ),
    ),
    Answer(
        "other-framework",
        "Momentum and decay: what the number means.",
        "decay in contrib and momentum in Keras and tf.layers is the weight of the old average "
        "(0.999, 0.99). In PyTorch, momentum is the weight of the new batch (0.1).",
        "layers.md",
        (
            "momentum convention, decay=0.1 makes the statistics noisy",
            "which momentum corresponds to PyTorch's default",
        ),
    ),
)
