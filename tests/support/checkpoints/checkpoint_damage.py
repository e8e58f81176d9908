"""Damage a checkpoint's files, bit by bit and byte by byte, and read it."""

from collections import Counter
import glob

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError


def parts(prefix):
    """Return the files of a checkpoint."""
    return sorted(glob.glob(glob.escape(prefix) + ".*"))


def sweep(prefix, ending, stride=1):
    """Flip each bit of a file, and cut it at each byte; count the outcomes of reading it.

    Args:
      prefix: the checkpoint's.
      ending: the ending of the file to damage.
      stride: damage every so many bits and bytes.

    Returns:
      How often reading ended in `reported`: an error of one line; `harmless`: the same tensors to
      the bit, as after a flip in padding; `missed`: anything else.
    """
    path = prefix + ending
    with open(path, "rb") as file:
        content = file.read()
    intact, outcomes = checkpoint_reader.read(prefix), Counter()
    for damaged in (*_flipped(content, stride), *_cut(content, stride)):
        with open(path, "wb") as file:
            file.write(damaged)
        outcomes[_outcome(prefix, intact)] += 1
    with open(path, "wb") as file:
        file.write(content)
    return outcomes


def _flipped(content, stride):
    for place in range(0, 8 * len(content), stride):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        yield bytes(damaged)


def _cut(content, stride):
    return (content[:length] for length in range(0, len(content), stride))


def _outcome(prefix, intact):
    try:
        values = checkpoint_reader.read(prefix)
    except BnguardError as error:
        return "reported" if len(str(error).splitlines()) == 1 else "missed"
    same = {name: value.tobytes() for name, value in values.items()} == {
        name: value.tobytes() for name, value in intact.items()
    }
    return "harmless" if same else "missed"
