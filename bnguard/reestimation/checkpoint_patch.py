"""A checkpoint with other values for some tensors, and every other byte of the data as it was.

The files are copied, the values and their checksums replaced in the copy, and the copy is read
back. Only then does it get its name, the index last: without that, there is no checkpoint. Tensors
that the checkpoint lacks are written beside the copy, and TensorFlow merges the two.
"""

from __future__ import annotations

from contextlib import contextmanager
from glob import escape, glob
import os
import shutil
import tempfile
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from bnguard import checkpoint_reader
from bnguard.analysis import limits
from bnguard.analysis.checkpoints.crc32c import checksum
from bnguard.analysis.checkpoints.entries import slice_key
from bnguard.analysis.checkpoints.table import (
    BLOCK_TRAILER,
    Located,
    located_entries,
    varint,
)
from bnguard.analysis.ir.protos import DecodeError, message
from bnguard.errors import BnguardError, first_line
from bnguard.runtime.files import open_regular, read_regular

_CHECKSUM_FIELD = 6  # of BundleEntryProto


class Stored(NamedTuple):
    """New values for a tensor of a checkpoint, or for one slice of a partitioned one.

    Attributes:
      key: the name of the tensor in the checkpoint.
      value: the values.
      starts: of a slice, where it starts along each axis; else None.
    """

    key: str
    value: np.ndarray
    starts: Optional[Tuple[int, ...]] = None

    @property
    def encoded(self) -> bytes:
        """The key of the entry in the index."""
        if self.starts is None:
            return self.key.encode()
        return slice_key(self.key, list(zip(self.starts, self.value.shape)))


def check_output(prefix: str, output: str) -> None:
    """Check that a new checkpoint can get a name.

    Raises:
      BnguardError: it is that of the input, or of another checkpoint, or its folder is missing.
    """
    checkpoint_reader.check_name(output)
    if os.path.realpath(output) == os.path.realpath(prefix):
        raise BnguardError(
            f"{output}: the name of the input; expected another, because the input is never "
            "written. Give another --output."
        )
    if os.path.exists(f"{output}.index"):
        raise BnguardError(
            f"{output}: there is a checkpoint of this name; expected a new name. Give another "
            "--output, or remove that checkpoint."
        )
    folder = os.path.dirname(output) or "."
    if not os.path.isdir(folder):
        raise BnguardError(f"{output}: there is no folder {folder}; expected one. Create it first.")


def write_patched(prefix: str, output: str, values: Sequence[Stored], meta: Optional[str]) -> None:
    """Write a copy of a checkpoint with other values for some of its tensors, or with more tensors.

    Args:
      prefix: the checkpoint, which stays as it is.
      output: the prefix of the copy.
      values: the new values, of the shapes and dtypes that are stored, if they are.
      meta: the graph to copy beside it, if any.

    Raises:
      BnguardError: a tensor has another size, a slice of one is not in the checkpoint, a file
        cannot be read or written, or the copy does not read back as it should. There is no copy
        then.
    """
    check_output(prefix, output)
    with _one_line(prefix, output), _staging(output) as staged:
        for shard in _shards(prefix):
            _copy(shard, f"{staged}{shard[len(prefix) :]}")
        index = bytearray(_bytes(f"{prefix}.index"))
        present = {entry.key for entry in located_entries(bytes(index))}
        _patch(prefix, staged, index, [each for each in values if each.encoded in present])
        with open(f"{staged}.index", "wb") as file:
            file.write(index)
        absent = [each for each in values if each.encoded not in present]
        if absent:
            staged = _with_more(prefix, staged, absent)
        copies = _shards(staged)
        if meta is not None:
            _copy(meta, f"{staged}.meta")
            copies.append(f"{staged}.meta")
        _verify(prefix, staged, values)
        for copy in [*copies, f"{staged}.index"]:
            _sync(copy)
            os.replace(copy, f"{output}{copy[len(staged) :]}")


def _patch(prefix: str, staged: str, index: bytearray, values: Sequence[Stored]) -> None:
    entries = {entry.key: entry for entry in located_entries(bytes(index))}
    header = message("BundleHeaderProto").FromString(_value(index, entries[b""]))
    blocks: Dict[int, int] = {}
    for stored in values:
        entry = entries[stored.encoded]
        bundle = message("BundleEntryProto").FromString(_value(index, entry))
        data = np.ascontiguousarray(stored.value).tobytes()
        if bundle.size != len(data) or header.endianness:
            raise BnguardError(
                f"{prefix}: {stored.key} has {bundle.size} bytes in the checkpoint and "
                f"{len(data)} in the graph; expected as many. Give the graph of this checkpoint."
            )
        with open(f"{staged}.data-{bundle.shard_id:05d}-of-{header.num_shards:05d}", "r+b") as file:
            file.seek(bundle.offset)
            file.write(data)
        at = _checksum_position(index, entry)
        index[at : at + 4] = checksum(data).to_bytes(4, "little")
        blocks[entry.block] = entry.block_size
    for block, size in blocks.items():
        at = block + size
        index[at + 1 : at + BLOCK_TRAILER] = checksum(bytes(index[block : at + 1])).to_bytes(
            4, "little"
        )


def _with_more(prefix: str, staged: str, values: Sequence[Stored]) -> str:
    """Return the prefix of a merged checkpoint: the staged one, and tensors that it lacks."""
    for stored in values:
        if stored.starts is not None:
            raise BnguardError(
                f"{prefix}: the checkpoint lacks a slice of {stored.key}; expected the whole "
                "statistic, or nothing of it. Restore the checkpoint in a session, call "
                "bnguard.reestimate, and save all variables."
            )
    more, merged = f"{staged}-more", f"{staged}-merged"
    with tf.Graph().as_default(), tf.Session() as session:
        save = tf.raw_ops.SaveV2(
            prefix=more,
            tensor_names=[stored.key for stored in values],
            shape_and_slices=[""] * len(values),
            tensors=[stored.value for stored in values],
        )
        with tf.control_dependencies([save]):
            merge = tf.raw_ops.MergeV2Checkpoints(
                checkpoint_prefixes=[staged, more],
                destination_prefix=merged,
                delete_old_dirs=False,
            )
        session.run(merge)
    return merged


def _checksum_position(index: bytearray, entry: Located) -> int:
    """Return where the checksum in an entry is, a number of four bytes."""
    data, at = bytes(index), entry.start
    while at < entry.end:
        tag, at = varint(data, at)
        field, wire_type = tag >> 3, tag & 7
        if field == _CHECKSUM_FIELD and wire_type == 5:
            return at
        if wire_type == 0:
            _, at = varint(data, at)
        elif wire_type == 2:
            length, at = varint(data, at)
            at += length
        else:
            at += 4 if wire_type == 5 else 8
    raise ValueError("an entry has no checksum")


def _value(index: bytearray, entry: Located) -> bytes:
    return bytes(index[entry.start : entry.end])


def _verify(prefix: str, staged: str, values: Sequence[Stored]) -> None:
    """Read the copy: TensorFlow checks each checksum, and the others are those of the input."""
    replaced = {stored.encoded for stored in values}
    before, after = (_entries(path, without=replaced) for path in (prefix, staged))
    if before != after:
        raise BnguardError(f"{prefix}: the copy differs in other tensors, so it was not kept.")
    reader = tf.train.load_checkpoint(staged)
    for name in reader.get_variable_to_shape_map():
        reader.get_tensor(name)
    for stored in values:
        if stored.starts is None and reader.get_tensor(stored.key).tobytes() != (
            np.ascontiguousarray(stored.value).tobytes()
        ):
            raise BnguardError(f"{prefix}: {stored.key} was not written as it should be.")


def _entries(prefix: str, without: Set[bytes]) -> Dict[bytes, bytes]:
    """Return the entries of an index by key, but for the number of the file that has the tensor."""
    index = bytearray(_bytes(f"{prefix}.index"))
    entries = {}
    for entry in located_entries(bytes(index)):
        if entry.key and entry.key not in without:  # the header has no key
            bundle = message("BundleEntryProto").FromString(_value(index, entry))
            bundle.ClearField("shard_id")
            entries[entry.key] = bundle.SerializeToString(deterministic=True)
    return entries


def _shards(prefix: str) -> List[str]:
    return sorted(glob(f"{escape(prefix)}.data-?????-of-?????"))


def _bytes(path: str) -> bytes:
    return read_regular(path, limits.INDEX_BYTES)


def _copy(source: str, target: str) -> None:
    with open_regular(source) as original, open(target, "wb") as copy:
        shutil.copyfileobj(original, copy)


def _sync(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _staging(output: str) -> Iterator[str]:
    """Yield a prefix in a new folder beside the output, which is removed at the end."""
    folder, name = os.path.split(output)
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=folder or ".") as staging:
        yield os.path.join(staging, name)


@contextmanager
def _one_line(prefix: str, output: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BnguardError(
            f"{error.filename or output}: cannot be copied or written ({error.strerror}); nothing "
            "was kept. Expected a readable checkpoint and a writable folder with enough space."
        ) from error
    except (DecodeError, IndexError, LookupError, ValueError, RuntimeError) as error:
        raise BnguardError(
            f"{prefix}: not a whole checkpoint ({first_line(error)}); nothing was kept. Expected "
            "a checkpoint with its .index and .data files as TensorFlow wrote them."
        ) from error
    except tf.errors.OpError as error:
        raise BnguardError(
            f"{prefix}: a tensor cannot be read ({first_line(error)}); nothing was kept. Restore "
            "the files from a copy."
        ) from error
