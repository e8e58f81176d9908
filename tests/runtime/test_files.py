"""Files are opened so that nothing blocks, and read up to a limit."""

import os
import socket
import subprocess
import time

import pytest

from bnguard.runtime.files import (
    NotRegularError,
    TooLargeError,
    open_regular,
    read_file_or_pipe,
    read_regular,
)


@pytest.fixture
def other(tmp_path):
    """Make something that is no regular file."""

    def make(kind):
        path = str(tmp_path / kind)
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a directory":
            os.mkdir(path)
        elif kind == "a device":
            os.symlink("/dev/zero", path)
        else:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path)
        return path

    return make


@pytest.mark.parametrize("kind", ["a pipe", "a directory", "a device", "a socket"])
@pytest.mark.parametrize("read", [open_regular, lambda path: read_regular(path, 10)])
def test_what_is_no_regular_file_is_refused_at_once(other, kind, read):
    with pytest.raises(NotRegularError, match=f"it is {kind}, not a regular file") as caught:
        read(other(kind))
    assert caught.value.what == kind


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(other, tmp_path, monkeypatch):
    """It is there when the file is opened, though a regular file was there before."""
    path, before = other("a pipe"), os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda path: before)
    for read in (open_regular, lambda path: read_file_or_pipe(path, 10)):
        with pytest.raises(NotRegularError, match="it is a pipe"):
            read(path)


def test_the_writer_of_a_pipe_that_is_refused_is_not_disturbed(other):
    """A reader that opens and closes a pipe lets its writer open it, and ends that by SIGPIPE."""
    path = other("a pipe")
    with subprocess.Popen(["sh", "-c", f"echo text > '{path}'"]) as writer:
        for _ in range(50):
            with pytest.raises(NotRegularError):
                open_regular(path)
            time.sleep(0.002)
        assert read_file_or_pipe(path, 10) == b"text\n"
    assert writer.returncode == 0


@pytest.mark.parametrize("read", [read_regular, read_file_or_pipe])
def test_a_file_is_read_up_to_its_limit(tmp_path, read):
    path = str(tmp_path / "file")
    with open(path, "wb") as file:
        file.write(b"12345")
    assert read(path, 5) == b"12345"
    with pytest.raises(TooLargeError, match="it has more than 4 bytes, the limit"):
        read(path, 4)


def test_a_sparse_file_of_a_terabyte_is_refused_without_reading_it(tmp_path):
    path = str(tmp_path / "file")
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(TooLargeError):
        read_regular(path, 1 << 20)


@pytest.mark.parametrize("size", [3, 1 << 21])
def test_a_pipe_that_may_be_one_is_read_to_its_end_or_its_limit(tmp_path, size):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    for most in (size, size - 1):
        writer = os.fork()
        if not writer:
            try:
                with open(path, "wb") as file:
                    file.write(bytes(size))
            finally:
                os._exit(0)
        if most == size:
            assert read_file_or_pipe(path, most) == bytes(size)
        else:
            with pytest.raises(TooLargeError):
                read_file_or_pipe(path, most)
        os.waitpid(writer, 0)


@pytest.mark.parametrize("kind", ["a directory", "a device"])
def test_nothing_else_than_a_pipe_is_waited_for(other, kind):
    with pytest.raises(NotRegularError):
        read_file_or_pipe(other(kind), 10)


def test_no_descriptor_is_left_open(other):
    pipe = other("a pipe")
    before = os.open(os.devnull, os.O_RDONLY)
    os.close(before)
    for _ in range(3):
        with pytest.raises(NotRegularError):
            open_regular(pipe)
    after = os.open(os.devnull, os.O_RDONLY)
    os.close(after)
    assert after == before
