"""Random checkpoints whose checksums are right, with lies in their entries, tables and files."""

import os

from bnguard.analysis.checkpoints.stored_checkpoint import read_checkpoint
from bnguard.checkpoint_reader import Checkpoint
from bnguard.errors import BnguardError
from bnguard.statistics.snapshots import snapshot
from support.checkpoints import handmade_checkpoints as handmade

ODD = (
    *(-(2**63), -(2**31), -8, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 100, 254, 255, 999, 2**16),
    *(2**31 - 1, 2**31, 2**32, 2**36, 2**40, 2**62, 2**63 - 1),
)
NAMES = (
    *(b"bn/moving_mean", b"bn/moving_variance", b"bn/moving_mean/biased", b"w", b"global_step"),
    *(b"x" * 300, b"a\nb/moving_mean", b"a|b\x1b[0m/moving_mean", "\u202e/é".encode()),
)
ODD_KEYS = (b"\0", b"\0bn\0\1\0", b"\xff\xfe", b"y" * 5000, b"_CHECKPOINTABLE_OBJECT_GRAPH")
ITEM_BYTES = {1: 4, 2: 8, 3: 4, 4: 1, 8: 8, 9: 8, 10: 1, 14: 2, 19: 2}
TEXT = handmade.STRING


def files_of(choices):
    """Return the index and the shards of a random checkpoint; a shard may be None, for missing.

    Args:
      choices: returns a number below another one.
    """
    shards = [bytearray() for _ in range(1 + choices(2))]
    entries = []
    for name in NAMES[choices(3) : 3 + choices(len(NAMES) - 3)] or NAMES[:1]:
        entries += _tensor(name, shards, choices)
    head = {"shards": len(shards)}
    for _ in range(choices(4)):
        _lie(entries, head, choices)
    index = _table([(key, _entry(fields)) for key, fields in entries], head, choices)
    if not choices(8):
        index = _flipped(index, choices)
    return index, [_damaged(bytes(shard), choices) for shard in shards]


def write(prefix, files):
    """Write the files of a checkpoint in the place of the one that is there."""
    index, shards = files
    for name in os.listdir(os.path.dirname(prefix)):
        os.remove(os.path.join(os.path.dirname(prefix), name))
    with open(f"{prefix}.index", "wb") as file:
        file.write(index)
    for number, shard in enumerate(shards):
        if shard is not None:
            with open(f"{prefix}.data-{number:05}-of-{len(shards):05}", "wb") as file:
                file.write(shard)


def read_all(prefix):
    """Read a checkpoint in every way; return what is read, or None if it is refused.

    Raises:
      AssertionError: an error is not one line about this checkpoint.
      Exception: whatever else the readers raise, which they must not.
    """
    ways = (_audited, _examined, lambda path: Checkpoint(path).check_restorable(Everything()))
    for way in ways:
        try:
            way(prefix)
        except BnguardError as error:
            _check_line(prefix, error)
    try:
        return Checkpoint(prefix).read()
    except BnguardError as error:
        _check_line(prefix, error)
        return None


class Everything:
    """A collection that contains every name."""

    def __contains__(self, name):
        return True


def is_restorable(prefix):
    """Return whether TensorFlow would be asked to restore all tensors of a checkpoint."""
    try:
        Checkpoint(prefix).check_restorable(Everything())
    except BnguardError:
        return False
    return True


def _check_line(prefix, error):
    text = str(error)
    assert text.isprintable(), text
    assert text.startswith(prefix) or "contains text" in text, text
    assert len(text) < 1500, text


def _audited(prefix):
    stored = read_checkpoint(prefix)
    for name in sorted(stored.names):
        stored.value(name)
        stored.smallest(name)


def _examined(prefix):
    found = snapshot(prefix)
    lines = str(found).splitlines()
    assert len(lines) <= 3 + len(found)
    assert all(line.isprintable() for line in lines)
    found.to_dict()


def _tensor(name, shards, choices):
    """Return the entries of a tensor, and add its bytes to the shards."""
    kind = choices(5)
    if kind == 0:
        texts = [b"t" * choices(4) for _ in range(choices(3))]
        lengths = None if choices(4) else [ODD[choices(len(ODD))] for _ in texts]
        data, crc = handmade.text_data(texts, lengths)
        return [(name, _stored(data, [len(texts)], TEXT, shards, choices, crc))]
    if kind == 1:
        whole = {"dtype": 1, "sizes": [4], "shard": 0, "offset": 0, "size": 0, "crc": 0}
        slices = [[[0, 2]], [[2, 2]]]
        entries = [(name, {**whole, "slices": slices})]
        for pairs in slices:
            key = handmade.ordered_slice_key(name, pairs)
            entries.append((key, _stored(bytes(8), [2], 1, shards, choices)))
        return entries
    dtype = list(ITEM_BYTES)[choices(len(ITEM_BYTES))]
    sizes = [choices(4) for _ in range(choices(4))]
    count = 1
    for size in sizes:
        count *= size
    data = bytes(choices(256) for _ in range(count * ITEM_BYTES[dtype]))
    return [(name, _stored(data, sizes, dtype, shards, choices))]


def _stored(data, sizes, dtype, shards, choices, crc=None):
    shard = choices(len(shards))
    fields = {"dtype": dtype, "sizes": sizes, "shard": shard, "offset": len(shards[shard])}
    shards[shard] += data
    crc = handmade.masked_crc(data) if crc is None else crc
    return {**fields, "size": len(data), "crc": crc, "slices": []}


def _entry(fields):
    if isinstance(fields, bytes):
        return fields
    return handmade.entry(b"", **fields)


def _lie(entries, head, choices):
    """Make one thing that is said a lie."""
    place = choices(len(entries))
    key, fields = entries[place]
    odd = ODD[choices(len(ODD))]
    kind = choices(13)
    if kind == 0:
        head[("shards", "endianness", "producer", "min_consumer")[choices(4)]] = odd
    elif kind == 1:
        entries[place] = (ODD_KEYS[choices(len(ODD_KEYS))], fields)
    elif kind == 2:
        entries.append(entries[place])
    elif kind == 3 and len(entries) > 1:
        del entries[place]
    elif kind == 4:
        entries[place] = (key, bytes(choices(256) for _ in range(choices(30))))
    elif isinstance(fields, bytes):
        return
    elif kind == 5:
        fields["sizes"] = [*fields["sizes"], odd]
    elif kind == 6 and fields["sizes"]:
        fields["sizes"] = [odd, *fields["sizes"][1:]]
    elif kind == 7 and fields["slices"] and all(fields["slices"]):
        pair = fields["slices"][choices(len(fields["slices"]))][0]
        pair[choices(2)] = odd if choices(3) else None if pair[0] == 0 else 1
        pair[0] = pair[0] or 0
    elif kind == 8:
        fields["slices"] = [*fields["slices"], [[0, odd] for _ in fields["sizes"]]]
    elif kind == 9:
        fields["shape"] = handmade.field(2, handmade.field(3, 1))
    elif kind == 10:  # a lie that fits: as many elements, another type or place
        fields["size"], fields["sizes"] = odd, [odd // ITEM_BYTES.get(fields["dtype"], 1)]
    else:
        name = ("dtype", "shard", "offset", "size", "crc")[choices(5)]
        fields[name] = odd & 0xFFFFFFFF if name == "crc" else odd


def _table(entries, head, choices):
    """Return the table of entries, in which the order and the whole keys may be lies."""
    entries = [(b"", handmade.header(**head)), *entries] if choices(30) else entries
    if not choices(10):
        entries = sorted(entries)
        at = choices(len(entries))
        entries.insert(choices(len(entries)), entries.pop(at))
        return handmade.table_of(entries, order=list, per_block=1 + choices(4))
    if not choices(10):
        content = handmade.block(
            [(choices(3), key, value) for key, value in sorted(entries)],
            [ODD[choices(len(ODD))] & 0xFFFFFFFF for _ in range(choices(3))],
        )
        return handmade.table(content, bytes([choices(2)]), times=1 + choices(2))
    return handmade.table_of(entries, per_block=1 + choices(9))


def _flipped(data, choices):
    changed = bytearray(data)
    for _ in range(1 + choices(3)):
        changed[choices(len(changed))] ^= 1 << choices(8)
    return bytes(changed)


def _damaged(shard, choices):
    kind = choices(20)
    if kind == 0:
        return None
    if kind == 1:
        return shard[: choices(len(shard) + 1)]
    return _flipped(shard, choices) if kind == 2 and shard else shard
