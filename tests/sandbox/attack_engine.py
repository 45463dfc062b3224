"""An engine that runs Python in place of a guest: what a guest could do that had taken over its engine.

It is loaded by the zygote like any engine, so whatever an attack reaches or not is what a real child reaches or not.
"""

from __future__ import annotations

# What attacks need is loaded before the jail closes, as an attacker's code would be.
import _ctypes
import _socket
import mmap
import os
import resource
import select
import sys
import time

from icn_lite.sandbox.engine import Engine, EngineError, HostLink, Trap
from icn_lite.sandbox.prctl import Prctl

NAMES = (_ctypes, _socket, mmap, os, resource, select, sys, time, Prctl, EngineError, Trap)


class AttackEngine(Engine):
    """`load` keeps Python source, `call` runs it."""

    name = "attack"

    def __init__(self, stack_bytes: int) -> None:
        self._globals: dict[str, int] = {}
        self._code = ""

    def load(self, code: bytes, links: list[HostLink]) -> None:
        self._code = code.decode()

    def get_global(self, name: str) -> int:
        return self._globals[name]

    def set_global(self, name: str, value: int) -> None:
        self._globals[name] = value

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        space = {**globals(), "result": 0}
        exec(self._code, space)  # noqa: S102 - the test's own text
        return [int(space["result"]) % (1 << 32)]

    def memory(self) -> memoryview:
        return memoryview(b"")
