"""Code that only starting ran goes back, nothing else does, and what is run again is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import icn_lite
from icn_lite.sandbox import resident

PRISTINE = b"""\
7f0000000000-7f0000200000 r--p 00000000 fe:00 123 /usr/lib/libpython3.so
Rss: 100 kB
Anonymous: 0 kB
7f0000200000-7f0000500000 r-xp 00200000 fe:00 123    /usr/lib/libpython3.so
Rss:                2900 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
"""
# Written to once (a relocation in the code), not a file's, not code, not shown, and one that may be written to.
OTHERS = b"""\
7f0000500000-7f0000600000 r-xp 00000000 fe:00 124 /usr/lib/libwithrelocations.so
Anonymous:             4 kB
7f0000600000-7f0000700000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7fff00000000-7fff00002000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f0000700000-7f0000800000 r-xp 00000000 fe:00 125 /usr/lib/libsilent.so
Rss: 4 kB
7f0000800000-7f0000900000 rwxp 00000000 fe:00 126 /usr/lib/libwritable.so
Anonymous:             0 kB
7f0000900000-7f0000a00000 rw-p 00000000 fe:00 126 /usr/lib/liba r-xp b.so
Anonymous:             0 kB
"""
SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from icn_lite.sandbox import resident
def rss():
    with open("/proc/self/smaps_rollup", "rb") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(b"Rss:"))
before = rss()
told = resident.let_go()
after = rss()
import json  # runs what was let go, and more
print(before, told, after, sorted(json.loads("[3, 1, 2]")), resident.let_go() > 0)
"""


def test_only_code_of_files_that_nobody_changed_is_let_go() -> None:
    assert resident.code_mappings(PRISTINE.splitlines(keepends=True)) == [(0x7F0000200000, 0x7F0000500000)]
    assert resident.code_mappings(OTHERS.splitlines(keepends=True)) == []
    assert resident.code_mappings([]) == []


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system has no /proc/PID/smaps_rollup")
def test_what_was_let_go_runs_again() -> None:
    root = str(Path(icn_lite.__file__).parents[1])
    done = subprocess.run([sys.executable, "-I", "-S", "-c", SCRIPT, root], capture_output=True, check=True, text=True)
    before_kb, told, after_kb, rest = done.stdout.split(maxsplit=3)
    print(done.stdout)
    assert rest == "[1, 2, 3] True\n"
    assert int(told) > 0
    assert int(after_kb) < int(before_kb)


def test_where_the_system_shows_nothing_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resident, "MAPPINGS", str(tmp_path / "absent"))
    assert resident.let_go() == 0
    monkeypatch.undo()
    monkeypatch.setattr(resident, "AVAILABLE", False)
    assert resident.let_go() == 0
