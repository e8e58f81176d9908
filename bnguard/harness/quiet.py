"""Import TensorFlow without its start-up chatter.

The chatter comes from C++ before any logging level applies (the notes on oneDNN and CUDA,
and the one on absl's own log), so it is held back at the file descriptor. Where the import
fails, what was held back is shown.
"""

from __future__ import annotations

from contextlib import contextmanager
import importlib.util
import os
import sys
import tempfile
from typing import Iterator
import warnings

from bnguard.errors import BnguardError


def import_tensorflow() -> None:
    """Import TensorFlow, and keep it quiet from here on.

    Raises:
      BnguardError: TensorFlow is not installed.
      ImportError: it is installed and does not load.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if importlib.util.find_spec("tensorflow") is None:
        raise BnguardError(
            "TensorFlow is not installed, and running a case needs it; any from 1.15 to 2.21 "
            "will do. Install it with: pip install tensorflow"
        )
    with _stderr_held_back(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TF 1.15 under NumPy 1.17+: FutureWarning on dtypes
        import tensorflow.compat.v1 as tf
    tf.logging.set_verbosity(tf.logging.ERROR)


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    sys.stderr.flush()
    try:
        saved = os.dup(2)
    except OSError:  # no stderr to hold back
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
