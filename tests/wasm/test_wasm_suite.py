"""The specification's own test suite through preparation: verdicts, and fuel compared to wasmtime's.

`test_wasm_suite_sandbox.py` runs the same assertions on wasm3 in the sandbox.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import wasm_engines as engines
import wasm_suite
from wasm_suite import LIMITS, NEEDED, SPECTEST, Instance

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.prepare import prepare

pytestmark = NEEDED
HOSTS = {name: (lambda *args: None) for _, name in SPECTEST}


@pytest.fixture(scope="module", autouse=True)
def folder_goes() -> Iterator[None]:
    yield
    wasm_suite.clean_up()


def verdict(module: bytes) -> str:
    try:
        prepare(module, LIMITS, SPECTEST)
    except ModuleError as error:
        return error.reason
    return "accepted"


def test_every_invalid_or_malformed_module_is_refused() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for refusal in wasm_suite.load().refusals:
        if refusal.kind in ("assert_invalid", "assert_malformed"):
            found = verdict(refusal.path.read_bytes())
            assert found != "accepted", str(refusal)
            seen[refusal.kind, found] += 1
    print(dict(seen))
    assert sum(seen.values()) == 2211


def test_what_cannot_be_linked_or_instantiated_does_not_run() -> None:
    """Refused, or trapping in the start function; a memory is env's here, so its size is nobody else's."""
    seen: Counter[tuple[str, str]] = Counter()
    for refusal in wasm_suite.load().refusals:
        if refusal.kind in ("assert_unlinkable", "assert_uninstantiable"):
            try:
                prepared = prepare(refusal.path.read_bytes(), LIMITS, SPECTEST)
            except ModuleError as error:
                seen[refusal.kind, error.reason] += 1
                continue
            started = engines.WasmtimeRun(prepared, HOSTS).start()
            assert started is not None, str(refusal)
            assert started.trapped, str(refusal)
            seen[refusal.kind, "trapped"] += 1
    print(dict(seen))
    assert sum(seen.values()) == 83 + 34


def test_every_valid_module_is_accepted_or_of_an_unsupported_feature() -> None:
    seen = Counter(verdict(instance.module) for instance in wasm_suite.load().instances)
    print(dict(seen))
    assert set(seen) <= {"accepted", "unsupported"}
    assert seen["accepted"] == 936


def compare(instance: Instance, seen: Counter[str]) -> None:
    """One module prepared beside the same untouched."""
    try:
        prepared = prepare(instance.module, LIMITS, SPECTEST)
    except ModuleError:
        return
    ours, theirs = engines.WasmtimeRun(prepared, HOSTS), engines.Reference(instance.module, SPECTEST, HOSTS)
    started = ours.start()
    assert theirs.used() == (0 if started is None else engines.PLENTY - started.fuel_left), str(instance)
    for call in instance.calls:
        if call.is_get:
            continue
        outcome: Any = ours.call(call.name, call.args)
        where = (str(instance), call, outcome)
        assert outcome.trapped == (call.trap is not None), where
        if call.kind == "assert_exhaustion":
            continue  # the depth at which wasmtime stops by itself is its own
        reference = theirs.call(call.name, call.args)
        if not outcome.trapped:
            assert call.kind == "action" or call.holds(outcome.results), where
            assert engines.PLENTY - outcome.fuel_left == reference.fuel_used, (where, reference)
        seen[call.kind] += 1


def test_fuel_is_what_wasmtime_counts() -> None:
    seen: Counter[str] = Counter()

    def all_modules() -> None:
        for instance in wasm_suite.load().instances:
            compare(instance, seen)

    engines.in_big_thread(all_modules)
    print(dict(seen))
    assert (seen["assert_return"], seen["assert_trap"], seen["action"]) == (19796, 504, 92)
