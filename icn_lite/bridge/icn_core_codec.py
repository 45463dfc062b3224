"""icn-core's messages: `ProtocolMessage` in bincode 1.3 with its payloads for jobs, and what their signatures cover.

Payload 0 announces a job, 1 bids, 2 assigns, 3 hands in a receipt; names of fields are icn-core's. Its CIDs have the
same codec and digest as ours and another text (`model.receipt.icn_core_cid`); its parser reads our text as a digest of
33 bytes, the first of them the length, so both forms are read here and one is written. Its DID is ours in three parts.

Nothing is signed here: the executor's signature of a receipt stands in ours (`core_signature`), and `bid_message` is
what a bidder signs. The envelope's signature of a bid is the bid's; the others carry none that anybody checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from icn_lite.bridge import bincode as b
from icn_lite.model import cose
from icn_lite.model.cid import DIGEST_LENGTH, Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, SignatureError
from icn_lite.model.receipt import ExecutionReceipt, ReceiptStatus, icn_core_bytes, icn_core_cid

PROTOCOL_VERSION: Final = 1
MAX_GOSSIP_BYTES: Final = 64 << 10  # what one message on the topic `icn-global` may take
CUSTOM: Final = 6  # the one capability with a name and a version of its own
_SHA2_256: Final = 0x12


@dataclass(frozen=True, slots=True)
class Resources:
    """`ResourceRequirements`."""

    cpu_cores: int
    memory_mb: int
    storage_mb: int
    max_execution_time_secs: int


@dataclass(frozen=True, slots=True)
class Echo:
    """`JobKind::Echo`."""

    payload: str


@dataclass(frozen=True, slots=True)
class CclWasm:
    """`JobKind::CclWasm`: the module that `manifest_cid` names."""


@dataclass(frozen=True, slots=True)
class Generic:
    """`JobKind::Generic`."""


JobKind: TypeAlias = Echo | CclWasm | Generic


@dataclass(frozen=True, slots=True)
class CoreJobSpec:
    """`JobSpec` of an announcement."""

    kind: JobKind
    inputs: tuple[Cid, ...]
    outputs: tuple[str, ...]
    required_resources: Resources


@dataclass(frozen=True, slots=True)
class Announcement:
    """`MeshJobAnnouncementMessage`."""

    job_id: Cid
    manifest_cid: Cid
    creator_did: Did
    max_cost_mana: int
    job_spec: CoreJobSpec
    bid_deadline: int


@dataclass(frozen=True, slots=True)
class Capability:
    """One of an executor's capabilities: its variant, and name and version where it is `CUSTOM`."""

    variant: int
    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class CoreBid:
    """`MeshBidSubmissionMessage`."""

    job_id: Cid
    executor_did: Did
    cost_mana: int
    estimated_duration_secs: int
    offered_resources: Resources
    reputation_score: int
    executor_capabilities: tuple[Capability, ...] = ()
    executor_federations: tuple[str, ...] = ()
    executor_trust_scope: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """`MeshJobAssignmentMessage`."""

    job_id: Cid
    executor_did: Did
    agreed_cost_mana: int
    completion_deadline: int
    manifest_cid: Cid | None = None


@dataclass(frozen=True, slots=True)
class CoreReceipt:
    """`ExecutionReceipt` of icn-core; `sig` is the executor's."""

    job_id: Cid
    executor_did: Did
    result_cid: Cid
    cpu_ms: int
    success: bool
    sig: bytes

    @classmethod
    def of(cls, receipt: ExecutionReceipt) -> CoreReceipt:
        """What our receipt says, in this form and with the executor's own signature over it."""
        success = receipt.status is ReceiptStatus.COMPLETED
        return cls(receipt.job, receipt.executor, receipt.result, receipt.cpu_ms, success, receipt.core_signature)

    def check(self) -> None:
        """Raises `SignatureError` where the executor did not sign this."""
        message = icn_core_bytes(self.job_id, self.executor_did, self.result_cid, self.cpu_ms, success=self.success)
        if not cose.verify_bytes(self.executor_did, message, self.sig):
            raise SignatureError(f"{self.executor_did} did not sign this receipt in icn-core's form")


@dataclass(frozen=True, slots=True)
class ReceiptMessage:
    """`MeshReceiptSubmissionMessage` with its `ExecutionMetadata`."""

    receipt: CoreReceipt
    wall_time_ms: int
    peak_memory_mb: int
    exit_code: int
    execution_logs: str | None = None


Payload: TypeAlias = Announcement | CoreBid | Assignment | ReceiptMessage


@dataclass(frozen=True, slots=True)
class CoreMessage:
    """`ProtocolMessage`."""

    payload: Payload
    sender: Did
    timestamp: int
    recipient: Did | None = None
    signature: bytes = b""


def bid_message(bid: CoreBid, capability_names: tuple[str, ...] = ()) -> bytes:
    """What the bidder signs; capabilities are named as Rust's `{:?}` prints them."""
    offered = bid.offered_resources
    texts = (*capability_names, *bid.executor_federations, bid.executor_trust_scope or "")
    return b"".join((
        icn_core_cid(bid.job_id).encode("ascii"), str(bid.executor_did).encode("ascii"), b.u64(bid.cost_mana),
        b.u32(offered.cpu_cores), b.u32(offered.memory_mb), b.u32(offered.storage_mb),
        *(text.encode("utf-8") for text in texts),
    ))  # fmt: skip


def encode(message: CoreMessage) -> bytes:
    """A message as icn-core's nodes send it; raises `DocumentError` where it is too large for them."""
    data = b"".join((
        b.u32(PROTOCOL_VERSION), _payload(message.payload), _did(message.sender), b.option(message.recipient, _did),
        b.u64(message.timestamp), b.octets(message.signature),
    ))  # fmt: skip
    if len(data) > MAX_GOSSIP_BYTES:
        raise DocumentError(f"expected at most {MAX_GOSSIP_BYTES} bytes, made {len(data)}")
    return data


def decode(data: bytes) -> CoreMessage:
    """Read a message; raises `DocumentError` for what isn't one of the four payloads, or not wholly."""
    reader = b.Reader(data)
    version = reader.u32()
    if version != PROTOCOL_VERSION:
        raise DocumentError(f"expected protocol version {PROTOCOL_VERSION}, found {version}", offset=0)
    payload = _read_payload(reader)
    sender, recipient = _read_did(reader), reader.option(lambda: _read_did(reader))
    message = CoreMessage(payload, sender, reader.u64(), recipient, reader.octets())
    reader.end()
    return message


def encode_spec(spec: CoreJobSpec) -> bytes:
    """A `JobSpec` alone, as `POST /mesh/submit` takes it in `spec_bytes`."""
    return _spec(spec)


def _payload(payload: Payload) -> bytes:
    parts: tuple[bytes, ...]
    match payload:
        case Announcement(job, manifest, creator, cost, spec, deadline):
            parts = (_cid(job), _cid(manifest), _did(creator), b.u64(cost), _spec(spec), b.u64(deadline))
            return b.u32(0) + b"".join(parts)
        case CoreBid():
            return b.u32(1) + _bid(payload)
        case Assignment(job, executor, cost, deadline, named):
            parts = (_cid(job), _did(executor), b.u64(cost), b.u64(deadline), b.option(named, _cid))
            return b.u32(2) + b"".join(parts)
        case ReceiptMessage(receipt, wall_ms, peak_mb, exit_code, logs):
            parts = (_receipt(receipt), b.u64(wall_ms), b.u32(peak_mb), b.i32(exit_code), b.option(logs, b.text))
            return b.u32(3) + b"".join(parts)


def _bid(bid: CoreBid) -> bytes:
    return b"".join((
        _cid(bid.job_id), _did(bid.executor_did), b.u64(bid.cost_mana), b.u64(bid.estimated_duration_secs),
        _resources(bid.offered_resources), b.u64(bid.reputation_score),
        b.items(bid.executor_capabilities, _capability), b.items(bid.executor_federations, b.text),
        b.option(bid.executor_trust_scope, b.text),
    ))  # fmt: skip


def _receipt(receipt: CoreReceipt) -> bytes:
    return b"".join((
        _cid(receipt.job_id), _did(receipt.executor_did), _cid(receipt.result_cid), b.u64(receipt.cpu_ms),
        bytes((receipt.success,)), b.octets(receipt.sig),
    ))  # fmt: skip


def _spec(spec: CoreJobSpec) -> bytes:
    match spec.kind:
        case Echo(payload):
            kind = b.u32(0) + b.text(payload)
        case CclWasm():
            kind = b.u32(1)
        case Generic():
            kind = b.u32(2)
    return kind + b.items(spec.inputs, _cid) + b.items(spec.outputs, b.text) + _resources(spec.required_resources)


def _resources(resources: Resources) -> bytes:
    return b"".join((
        b.u32(resources.cpu_cores), b.u32(resources.memory_mb), b.u32(resources.storage_mb),
        b.u64(resources.max_execution_time_secs),
    ))  # fmt: skip


def _capability(capability: Capability) -> bytes:
    named = capability.variant == CUSTOM
    return b.u32(capability.variant) + (b.text(capability.name) + b.text(capability.version) if named else b"")


def _cid(cid: Cid) -> bytes:
    return b.u64(1) + b.u64(cid.codec) + b.u64(_SHA2_256) + b.octets(cid.digest)


def _did(did: Did) -> bytes:
    _, method, name = str(did).split(":", 2)
    return b.text(method) + b.text(name) + bytes(3)  # no path, query, fragment


def _read_payload(reader: b.Reader) -> Payload:
    variant = reader.u32()
    match variant:
        case 0:
            return Announcement(
                _read_cid(reader), _read_cid(reader), _read_did(reader), reader.u64(), _read_spec(reader), reader.u64()
            )
        case 1:
            return _read_bid(reader)
        case 2:
            return Assignment(
                _read_cid(reader), _read_did(reader), reader.u64(), reader.u64(),
                reader.option(lambda: _read_cid(reader)),
            )  # fmt: skip
        case 3:
            return ReceiptMessage(
                _read_receipt(reader), reader.u64(), reader.u32(), reader.number(4, signed=True),
                reader.option(reader.text),
            )  # fmt: skip
    raise DocumentError(f"expected payload 0 to 3, found {variant}", offset=4)


def _read_bid(reader: b.Reader) -> CoreBid:
    return CoreBid(
        _read_cid(reader), _read_did(reader), reader.u64(), reader.u64(), _read_resources(reader), reader.u64(),
        reader.items(lambda: _read_capability(reader)), reader.items(reader.text), reader.option(reader.text),
    )  # fmt: skip


def _read_receipt(reader: b.Reader) -> CoreReceipt:
    return CoreReceipt(
        _read_cid(reader), _read_did(reader), _read_cid(reader), reader.u64(), reader.flag(), reader.octets()
    )


def _read_spec(reader: b.Reader) -> CoreJobSpec:
    variant = reader.u32()
    kinds: tuple[JobKind, ...] = (Echo(""), CclWasm(), Generic())
    if variant >= len(kinds):
        raise DocumentError(f"expected a kind of job from 0 to 2, found {variant}")
    kind = Echo(reader.text()) if variant == 0 else kinds[variant]
    return CoreJobSpec(
        kind, reader.items(lambda: _read_cid(reader)), reader.items(reader.text), _read_resources(reader)
    )


def _read_resources(reader: b.Reader) -> Resources:
    return Resources(reader.u32(), reader.u32(), reader.u32(), reader.u64())


def _read_capability(reader: b.Reader) -> Capability:
    variant = reader.u32()
    if variant > CUSTOM:
        raise DocumentError(f"expected a capability from 0 to {CUSTOM}, found {variant}")
    return Capability(variant, reader.text(), reader.text()) if variant == CUSTOM else Capability(variant)


def _read_cid(reader: b.Reader) -> Cid:
    version, codec, algorithm, digest = reader.u64(), reader.u64(), reader.u64(), reader.octets()
    if len(digest) == DIGEST_LENGTH + 1 and digest[0] == DIGEST_LENGTH:
        digest = digest[1:]  # a CID in our text form that icn-core had parsed
    if version != 1 or algorithm != _SHA2_256:
        raise DocumentError(f"expected a CIDv1 with sha2-256, found version {version}, hash {algorithm:#x}")
    return Cid(codec, digest)


def _read_did(reader: b.Reader) -> Did:
    method, name = reader.text(), reader.text()
    if [reader.option(reader.text) for _ in range(3)] != [None] * 3:
        raise DocumentError("expected a DID without path, query and fragment")
    return Did.parse(f"did:{method}:{name}")
