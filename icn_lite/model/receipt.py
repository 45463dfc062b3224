"""`ExecutionReceipt`: the signed statement about one run, under 1024 bytes so that it fits one CoAP block.

What can be re-checked by running again: `module`, `entry`, `args`, `input`, `output`, `results`, `status`, `trap`,
`exit_code`, `fuel_used`, `meter`, `peak_pages`, `host_calls`. What is the executor's word: times, health, price.
`seq` and `prev` chain all receipts of an executor: none can be dropped or changed unseen, and two receipts with
one `seq` prove a fork. `core_signature` signs the same outcome in icn-core's byte form, which only the executor
can do; a bridge forwards it (see `icn_core_message`).

A receipt without `entry`, `args` and `results` fits for all values that its bounds allow. Where these three don't fit
beside the rest, `fit_call` moves them into a block of their own, named by `call`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, ClassVar, Final, TypeAlias

from icn_lite.model import cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, FailureReason, SignatureError
from icn_lite.model.schema import Ascii, MaxLen, Range
from icn_lite.model.status import StandardJobStatus
from icn_lite.model.units import DurationMs, EpochS, Fuel, Mana, Name, Nonce, Pages, ShardIndex

MAX_SIGNED_BYTES: Final = 1024
NO_SIGNATURE: Final = bytes(cose.SIGNATURE_LENGTH)

Seq: TypeAlias = Annotated[int, Range(0, (1 << 53) - 1)]
TypedValue: TypeAlias = Annotated[str, MaxLen(24, least=5), Ascii()]  # `i64:-9223372036854775808` is the longest
Label: TypeAlias = Annotated[str, MaxLen(16, least=1), Ascii()]  # `icn-fuel-1`
RunMs: TypeAlias = Annotated[int, Range(0, (1 << 32) - 1)]  # 49 days; one run is minutes
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
    source: Annotated[str, MaxLen(8), Ascii()] = "system"


@dataclass(frozen=True, slots=True)
class Call:
    """What was called, with what, and what it returned: the block that a receipt's `call` names. Not signed itself."""

    KIND: ClassVar[str] = "icn-lite/call/1"
    AUTHOR: ClassVar[str] = ""
    entry: Name | None = None
    args: Annotated[tuple[TypedValue, ...], MaxLen(8)] = ()
    results: Annotated[tuple[TypedValue, ...], MaxLen(4)] = ()


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
    schedule: Label
    meter: Label
    peak_pages: Pages
    host_calls: Annotated[int, Range(0, (1 << 32) - 1)]
    cpu_ms: RunMs
    wall_ms: RunMs
    executor: Did
    seq: Seq
    clock: Clock
    price: Mana
    core_signature: Signature
    prev: Cid | None = None
    lease: Cid | None = None
    output: Cid | None = None
    trap: Annotated[str, MaxLen(40, least=1), Ascii()] | None = None
    failure: FailureReason | None = None
    exit_code: Annotated[int, Range(-(1 << 31), (1 << 32) - 1)] | None = None
    entry: Name | None = None
    args: Annotated[tuple[TypedValue, ...], MaxLen(8)] = ()
    results: Annotated[tuple[TypedValue, ...], MaxLen(4)] = ()
    call: Cid | None = None
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
        if self.call is not None and (self.entry is not None or self.args or self.results):
            raise DocumentError("expected either call, or entry, args and results")
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


def fit_call(receipt: ExecutionReceipt) -> tuple[ExecutionReceipt, bytes | None]:
    """The receipt, with `call` in place of `entry`, `args` and `results` if it is too large with them.

    Also returns the block that `call` names, to be stored beside the output; None where everything fits.
    """
    if _signed_length(receipt) <= MAX_SIGNED_BYTES:
        return receipt, None
    block = document.encode(Call(receipt.entry, receipt.args, receipt.results))
    return replace(receipt, entry=None, args=(), results=(), call=Cid.of_dag_cbor(block)), block


def _signed_length(receipt: ExecutionReceipt) -> int:
    return len(cose.sign(receipt.KIND, document.encode(receipt), _NoSigner(receipt.executor)))


@dataclass(frozen=True, slots=True)
class _NoSigner:
    """Stands in for the key when only the length of the result counts."""

    did: Did

    def sign(self, message: bytes) -> bytes:
        return NO_SIGNATURE


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
        raise SignatureError("the signature over icn-core's byte form does not hold")
    return sealed


def icn_core_message(receipt: ExecutionReceipt) -> bytes:
    """The bytes that icn-core signs: cidstr(job) ‖ did ‖ cidstr(result) ‖ cpu_ms u64-LE ‖ success u8.

    Its CID strings lack the digest's length byte (57 characters): `icn_core_cid` translates ours.
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
    fault = f"expected icn-core's CID form (57 characters), found {text[:16]!r}…"
    if len(text) != 57 or not text.startswith("b"):
        raise DocumentError(fault)
    try:
        data = base64.b32decode(text[1:].upper())
    except (binascii.Error, ValueError) as error:
        raise DocumentError(fault) from error
    if data[0] != 1 or data[2] != 0x12:
        raise DocumentError(fault)
    cid = Cid(data[1], data[3:])
    if icn_core_cid(cid) != text:
        raise DocumentError("expected icn-core's CID form in lower-case base32")
    return cid
