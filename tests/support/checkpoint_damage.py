"""Damage to a checkpoint's files, bit by bit and byte by byte, and whether reading it notices."""

from collections import Counter

from bnguard import checkpoint_reader
from bnguard.errors import BnguardError


def sweep(prefix, ending, stride=1):
    """Flip each bit of a file, and cut it at each byte; how often reading said what.

    Args:
      prefix: of a checkpoint.
      ending: of its file to damage.
      stride: every how many bits and bytes.

    Returns:
      `said`: an error of one line; `read the same`: every tensor to the bit, as after a flip in
      padding; `read otherwise`: anything else.
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
        return "said" if len(str(error).splitlines()) == 1 else "read otherwise"
    same = {name: value.tobytes() for name, value in values.items()} == {
        name: value.tobytes() for name, value in intact.items()
    }
    return "read the same" if same else "read otherwise"
