"""`ExecutionReceipt`: the signed statement about one run, under 1024 bytes so that it fits one CoAP block.

What can be re-checked by running again: `module`, `entry`, `args`, `input`, `output`, `results`, `status`, `trap`,
`exit_code`, `fuel_used`, `meter`, `peak_pages`, `host_calls`. What is the executor's word: times, health, price.
`seq` and `prev` chain all receipts of an executor: none can be dropped or changed unseen, and two receipts with
one `seq` prove a fork. `core_signature` signs the same outcome in icn-core's byte form, which only the executor
can do; a bridge forwards it (see `icn_core_message`).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model import cose, document
from icn_lite.model.cid import RAW, Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, FailureReason
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.status import StandardJobStatus
from icn_lite.model.units import DurationMs, EpochS, Fuel, Mana, Name, Nonce, Pages, ShardIndex

MAX_SIGNED_BYTES: Final = 1024
NO_SIGNATURE: Final = bytes(cose.SIGNATURE_LENGTH)

Seq: TypeAlias = Annotated[int, Range(0, (1 << 53) - 1)]
TypedValue: TypeAlias = Annotated[str, MaxLen(24, least=5)]  # `i64:-9223372036854775808` is the longest
Signature: TypeAlias = Annotated[bytes, MaxLen(64, least=64)]


class ReceiptStatus(Enum):
    """How a run ended. Running out of fuel is a trap (`trap` = `out_of_fuel`); `failed` is the host's failure."""

    COMPLETED = "completed"
    TRAPPED = "trapped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Health:
    """The device at the time of the run; a reading that was unknown is absent."""

    battery_pct: Annotated[int, Range(0, 100)] | None = None
    charging: bool | None = None
    temp_mc: Annotated[int, Range(-60_000, 150_000)] | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """When: the boot and its uptime order runs of one device, the wall clock is a claim with its source."""

    boot: Nonce
    uptime_ms: DurationMs
    wall_s: EpochS
    source: Annotated[str, MaxLen(16)] = "system"


@dataclass(frozen=True, slots=True)
class ExecutionReceipt:
    """One run by `executor`."""

    KIND: ClassVar[str] = "icn-lite/receipt/1"
    AUTHOR: ClassVar[str] = "executor"
    job: Cid
    shard: ShardIndex
    stage: Annotated[int, Range(0, 63)]
    module: Cid
    input: Cid
    status: ReceiptStatus
    fuel_used: Fuel
    fuel_limit: Fuel
    schedule: Name
    meter: Name
    peak_pages: Pages
    host_calls: Annotated[int, Range(0, 1 << 40)]
    cpu_ms: DurationMs
    wall_ms: DurationMs
    executor: Did
    seq: Seq
    clock: Clock
    price: Mana
    core_signature: Signature
    prev: Cid | None = None
    lease: Cid | None = None
    output: Cid | None = None
    trap: Annotated[str, MaxLen(40, least=1)] | None = None
    failure: FailureReason | None = None
    exit_code: Annotated[int, Range(-(1 << 31), (1 << 32) - 1)] | None = None
    entry: Name | None = None
    args: Annotated[tuple[TypedValue, ...], MaxLen(8)] = ()
    results: Annotated[tuple[TypedValue, ...], MaxLen(4)] = ()
    health: Health | None = None

    def __post_init__(self) -> None:
        if (self.seq == 0) != (self.prev is None):
            raise DocumentError("expected prev exactly when seq is above 0")
        if (self.status is ReceiptStatus.COMPLETED) != (self.output is not None):
            raise DocumentError("expected an output exactly when the run completed")
        if (self.status is ReceiptStatus.TRAPPED) != (self.trap is not None):
            raise DocumentError("expected a trap exactly when the run trapped")
        if (self.status is ReceiptStatus.FAILED) != (self.failure is not None):
            raise DocumentError("expected a failure exactly when the run failed")
        if self.fuel_used > self.fuel_limit:
            raise DocumentError(f"fuel_used {self.fuel_used} exceeds the limit {self.fuel_limit}")

    @property
    def standard_status(self) -> StandardJobStatus:
        """The status in the five standard words."""
        if self.status is ReceiptStatus.COMPLETED:
            return StandardJobStatus.COMPLETED_SUCCESSFULLY
        return StandardJobStatus.FAILED

    @property
    def result(self) -> Cid:
        """The output's CID, or that of no bytes where there is no output: what icn-core calls result_cid."""
        return self.output or Cid.of_raw(b"")


def sign_receipt(receipt: ExecutionReceipt, signer: cose.Signer) -> document.Sealed[ExecutionReceipt]:
    """Sign a receipt in both forms; raises `DocumentError` if it came out over `MAX_SIGNED_BYTES`."""
    complete = replace(receipt, core_signature=signer.sign(icn_core_message(receipt)))
    sealed = document.seal(complete, signer)
    if len(sealed.block) > MAX_SIGNED_BYTES:
        raise DocumentError(f"expected a signed receipt of at most {MAX_SIGNED_BYTES} bytes, made {len(sealed.block)}")
    return sealed


def read_receipt(block: bytes) -> document.Sealed[ExecutionReceipt]:
    """Check both signatures of a signed receipt and read it."""
    sealed = document.unseal(ExecutionReceipt, block, max_bytes=MAX_SIGNED_BYTES)
    receipt = sealed.document
    if not cose.verify_bytes(receipt.executor, icn_core_message(receipt), receipt.core_signature):
        raise DocumentError("the signature over icn-core's byte form does not hold")
    return sealed


def icn_core_message(receipt: ExecutionReceipt) -> bytes:
    """The bytes that icn-core signs: cidstr(job) ‖ did ‖ cidstr(result) ‖ cpu_ms u64-LE ‖ success u8.

    Its CID strings lack the digest's length byte (57 characters); job ids there are raw CIDs, so a job of ours is
    named by the raw CID of its digest's block, translated by `icn_core_cid`.
    """
    success = receipt.status is ReceiptStatus.COMPLETED
    return icn_core_bytes(receipt.job, receipt.executor, receipt.result, receipt.cpu_ms, success=success)


def icn_core_bytes(job: Cid, executor: Did, result: Cid, cpu_ms: int, *, success: bool) -> bytes:
    """The same from its parts."""
    text = icn_core_cid(job) + str(executor) + icn_core_cid(result)
    return text.encode("ascii") + cpu_ms.to_bytes(8, "little") + bytes((success,))


def icn_core_cid(cid: Cid) -> str:
    """A CID as icn-core prints it: without the digest's length byte, 57 characters."""
    data = bytes((1, cid.codec, 0x12)) + cid.digest
    return "b" + base64.b32encode(data).decode("ascii").rstrip("=").lower()


def parse_icn_core_cid(text: str) -> Cid:
    """The CID behind icn-core's 57-character form."""
    body = text[1:].upper()
    data = base64.b32decode(body + "=" * (-len(body) % 8)) if text.startswith("b") and len(text) == 57 else b""
    if len(data) != 3 + hashlib.sha256().digest_size or data[0] != 1 or data[2] != 0x12:
        raise DocumentError(f"expected icn-core's CID form (57 characters), found {text[:16]!r}…")
    return Cid(data[1] or RAW, data[3:])
