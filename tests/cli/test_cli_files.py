"""Files that people name: bounded when read, whole or absent when written, links and devices left as they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from icn_lite.cli.files import read_file, read_module, write_file
from icn_lite.model.errors import StoreError, UsageError


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(str(path), most=5, what="file") == b"12345"
    with pytest.raises(UsageError, match="at most 4 bytes"):
        read_file(str(path), most=4, what="file")
    assert read_module(str(path), 3) == b"1234"  # enough to be refused
    for name in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="can't read the file"):
            read_file(str(name), most=5, what="file")


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_file(str(path), b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(StoreError, match="can't write"):
        write_file(str(tmp_path / "none" / "file"), b"x")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Regression 1: `--output /dev/stdout` into a file would have replaced /dev/stdout."""
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_file(str(link), b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_file(str(path), b"data")
    assert os.read(reader, 10) == b"data"
    os.close(reader)
    assert not path.is_file()
