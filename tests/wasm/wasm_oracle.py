"""One module on three machines: prepared on wasm3, prepared on wasmtime, untouched on wasmtime with its own fuel.

`check` makes the same calls on all and compares results, traps by name, memory, globals and fuel, bit for bit; then it
makes the calls again with just enough fuel, one too little, and too little by far.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
import wasm_engines as engines
import wasmtime

from icn_lite.wasm.hostfuncs import HostTable
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.prepare import Prepared, prepare
from icn_lite.wasm.types import TrapFlag

Run = engines.Wasm3Run | engines.WasmtimeRun
Call = tuple[str, Sequence[int]]


@dataclass
class Findings:
    """What was compared."""

    completed: int = 0
    trapped: int = 0
    out_of_fuel: int = 0


class Notebook:
    """Host functions that write down what they are given: the bits of floats, which have to be canonical there too."""

    def __init__(self) -> None:
        self.notes: list[bytes] = []

    def note(self, a: int, b: int, c: float, d: float) -> int:
        self.notes.append(struct.pack("<qqdd", a, b, c, d))
        return len(self.notes) & 0xFF

    def mark(self) -> None:
        self.notes.append(b"mark")

    def hosts(self) -> dict[str, engines.Host]:
        return {"note": self.note, "mark": self.mark}


class Checker:
    """All comparisons of one module."""

    def __init__(self, module: bytes, host: HostTable, *, limits: Limits = DEFAULT_LIMITS, exact: bool = True) -> None:
        self.module = module
        self.host = host
        self.exact = exact  # whether the reference's count has to be equal
        self.prepared: Prepared = prepare(module, limits, host)
        self.names = [e.name for e in self.prepared.exports if e.kind == "global"]
        self.findings = Findings()

    def run(self, kind: type[Run], notebook: Notebook) -> Run:
        return kind(self.prepared, notebook.hosts())

    def state(self, run: Run | engines.Reference) -> tuple[str, list[int]]:
        """Digest of the memory, and the exported integer globals."""
        exported = any(e.kind == "memory" for e in self.prepared.exports) or b"\x03env\x06memory" in self.module
        memory = run.memory() if exported else b""
        return hashlib.sha256(memory).hexdigest(), [run.read_global(name) & 0xFFFFFFFF for name in self.names]

    def check(self, calls: Sequence[Call], rng: Random) -> Findings:
        """Compare everything; raises AssertionError."""
        books = [Notebook() for _ in range(3)]
        small, large = self.run(engines.Wasm3Run, books[0]), self.run(engines.WasmtimeRun, books[1])
        started = small.start()
        assert started == large.start(), "the start function"
        if started is not None and started.trapped:
            with_trap(self.module, self.host, books[2], started)
            return self.findings
        reference = engines.Reference(self.module, self.host, books[2].hosts())
        used = 0 if started is None else engines.PLENTY - started.fuel_left
        assert not self.exact or reference.used() == used, f"start: {reference.used()} in the reference, {used} here"
        spent: list[tuple[int, bool]] = []
        for name, args in calls:
            where = f"{name}{tuple(args)}"
            ours = small.call(name, args)
            assert ours == large.call(name, args), where
            theirs = reference.call(name, args)
            assert (ours.results, ours.trap) == (theirs.results, theirs.trap), (where, ours, theirs)
            states = [self.state(run) for run in (small, large, reference)]
            assert states[0] == states[1] == states[2], (where, "memory or globals", states)
            assert books[0].notes == books[1].notes == books[2].notes, (where, "host calls")
            used = engines.PLENTY - ours.fuel_left
            if ours.trapped:
                self.findings.trapped += 1
            else:
                self.findings.completed += 1
                assert not self.exact or used == theirs.fuel_used, (where, used, theirs)
            spent.append((used, not ours.trapped))
        self.edges(calls, spent, rng.randrange(len(calls)), rng)
        return self.findings

    def compare(self, calls: Sequence[Call], fuel: int) -> Findings:
        """Calls that may never end, with little fuel: the two engines that run the prepared module are the same; the
        reference, which stops elsewhere, is asked as long as nothing was stopped.
        """
        books = [Notebook() for _ in range(3)]
        small, large = self.run(engines.Wasm3Run, books[0]), self.run(engines.WasmtimeRun, books[1])
        started = small.start(fuel)
        assert started == large.start(fuel), "the start function"
        if started is not None and started.trapped:
            return self.findings
        reference: engines.Reference | None = engines.Reference(self.module, self.host, books[2].hosts())
        for name, args in calls:
            where = f"{name}{tuple(args)}"
            ours = small.call(name, args, fuel)
            assert ours == large.call(name, args, fuel), where
            assert self.state(small) == self.state(large), (where, "memory or globals")
            if ours.trap in ("out_of_fuel", "call_stack_exhausted"):
                reference = None  # from here on its state is another one
            if reference is not None:
                theirs = reference.call(name, args, 4 * fuel)
                if theirs.trap == "call_stack_exhausted" or self.memory_differs(small, reference):
                    reference = None
                    continue
                assert (ours.results, ours.trap) == (theirs.results, theirs.trap), (where, ours, theirs)
                assert self.state(small) == self.state(reference), (where, "memory or globals of the reference")
                if not ours.trapped and not self.grows:
                    assert fuel - ours.fuel_left == theirs.fuel_used, (where, ours, theirs)
            self.findings.completed += not ours.trapped
            self.findings.trapped += ours.trapped
        return self.findings

    @property
    def grows(self) -> bool:
        """Whether a `memory.grow` may fail, which the reference charges for now and then."""
        return b"\x40\x00" in self.module

    def memory_differs(self, run: Run, reference: engines.Reference) -> bool:
        """A memory that outgrew the limits is the guest's one difference to a run without them."""
        return self.grows and len(reference.memory()) != len(run.memory())

    def edges(self, calls: Sequence[Call], spent: list[tuple[int, bool]], position: int, rng: Random) -> None:
        """One call with exactly enough, with one less, and with any lesser limit, after the calls before it."""
        total, completes = spent[position]
        name, args = calls[position]
        limits = [total, total - 1, rng.randrange(total) if total > 1 else 0]
        for limit in limits:
            if limit < 0:
                continue
            outcomes, states = [], []
            for kind in (engines.Wasm3Run, engines.WasmtimeRun):
                run = self.run(kind, Notebook())
                run.start()
                for earlier, given in calls[:position]:
                    run.call(earlier, given)
                outcomes.append(run.call(name, args, limit))
                states.append(self.state(run))
            where = f"{name}{tuple(args)} with {limit} of {total}"
            assert outcomes[0] == outcomes[1], (where, outcomes)
            assert states[0] == states[1], (where, "memory or globals")
            first = outcomes[0]
            if not completes:
                continue  # where a run traps by itself, what was charged ahead may have run out before
            if limit == total:
                assert first.fuel_left == 0, (where, first)
                assert first.flag != TrapFlag.OUT_OF_FUEL, (where, first)
            else:
                self.findings.out_of_fuel += 1
                assert (first.results, first.flag) == (None, TrapFlag.OUT_OF_FUEL), (where, first)


def with_trap(module: bytes, host: HostTable, notebook: Notebook, started: engines.Outcome) -> None:
    """The untouched module has to trap in its start function too, in the same way."""
    with pytest.raises(wasmtime.Trap) as caught:
        engines.Reference(module, host, notebook.hosts())
    assert engines.wasmtime_trap(caught.value) == started.trap
