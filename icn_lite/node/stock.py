"""Comparing a receipt with what a stock wasmtime counts for the untouched module (`sandbox/engine_stock.py`).

What has to be equal: for a run that completed, everything, fuel to the unit. For one that trapped, the trap; fuel at a
trap is the meter's own, charged by points. For one that ran out of fuel, that it needs more than the limit. Where
only our meter can tell, the answer is `skipped` with the reason, and `verify` asks the prepared module.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.prepared import Prepared

if TYPE_CHECKING:
    from icn_lite.wasm.survey import Instantiation, Survey

ENGINE: Final = "wasmtime-stock"
METERED_ENGINE: Final = "wasmtime"
SPARE_FUEL: Final = 10_000_000  # wasmtime stops loosely at its limit, so it gets more and the counts are compared
MAX_PAGES: Final = 65536
STACK: Final = "call_stack_exhausted"
OUT_OF_FUEL: Final = "out_of_fuel"

Answer: TypeAlias = tuple[Literal["passed", "failed", "skipped"], str]


def untouched(prepared: Prepared, module: bytes, pages: int) -> Prepared:
    """The request's module for this engine: the author's bytes, the exports under their own names."""
    start = _instantiation(module)
    head = (pages, -1 if start.fuel is None else start.fuel, start.copied)
    return replace(
        prepared,
        code=b"".join(number.to_bytes(4, "little", signed=True) for number in head) + module,
        start="icn:start",
        exports=tuple(replace(export, bits=None) for export in prepared.exports),
    )


def obstacle(prepared: Prepared, module: bytes) -> str:
    """Why this module can't be measured so; empty when it can."""
    hidden = prepared.has_memory and prepared.imports and not exports_memory(prepared)
    if hidden and not _survey(module).memory_imported:
        return "the module exports no memory, which only preparing opens to the host"
    return ""


def exports_memory(prepared: Prepared) -> bool:
    """Whether its size can be seen from outside."""
    return any(export.kind == "memory" for export in prepared.exports)


def compare(receipt: ExecutionReceipt, again: ExecutionReceipt, others: list[str], module: bytes) -> Answer:
    """`others` are differences in output, results, exit code and host calls, which no meter can explain."""
    if again.status is ReceiptStatus.FAILED:
        return "skipped", f"it failed here: {again.failure.value if again.failure else 'unknown'}"
    if STACK in (receipt.trap, again.trap):
        return "skipped", "how deep calls may nest is the meter's own"
    if receipt.trap == OUT_OF_FUEL:
        return _compare_exhausted(receipt, again)
    if receipt.status is not again.status or receipt.trap != again.trap:
        return "failed", f"{_ended(receipt)} is {_ended(again)} here"
    if receipt.trap is not None:
        return "skipped", f"the same trap ({receipt.trap}) with the untouched module; fuel at a trap is the meter's own"
    if others:
        return "failed", "; ".join(others)
    more = again.fuel_used - receipt.fuel_used
    if more > 0 and "memory.grow" in _survey(module).features:
        return (
            "skipped",
            f"same output; {more} fuel more here, which can be what wasmtime charges for a memory.grow that fails",
        )
    if more:
        return "failed", f"fuel {receipt.fuel_used} is {again.fuel_used} here"
    return "passed", f"same output, status and fuel ({receipt.fuel_used}) in wasmtime with the untouched module"


def _compare_exhausted(receipt: ExecutionReceipt, again: ExecutionReceipt) -> Answer:
    if receipt.fuel_used != receipt.fuel_limit:
        return "failed", f"a run out of fuel has used its limit, {receipt.fuel_limit}, and not {receipt.fuel_used}"
    if again.fuel_used > receipt.fuel_limit:
        return "passed", f"it needs more than {receipt.fuel_limit} fuel in wasmtime too"
    if again.trap is not None:  # the meter charges ahead: of a loop that counts all rounds, a trap in the first of them
        return "skipped", f"it traps ({again.trap}), and only the meter tells whether its fuel had run out before"
    return "failed", f"{_ended(receipt)} is {_ended(again)} with {again.fuel_used} fuel here"


def _instantiation(module: bytes) -> Instantiation:
    from icn_lite.wasm.survey import instantiation

    return instantiation(module, Limits(memory_pages=MAX_PAGES))


def _survey(module: bytes) -> Survey:
    from icn_lite.wasm.survey import survey

    return survey(module, Limits(memory_pages=MAX_PAGES))


def _ended(receipt: ExecutionReceipt) -> str:
    return f"{receipt.status.value}{f' ({receipt.trap})' if receipt.trap else ''}"
