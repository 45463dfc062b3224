"""Work that travels as a file: what this node owes others, and what it takes of such a file.

Nothing here is trusted because somebody carried it: every document is signed, and goes through the same checks as if
it had come by the network. A block is taken only where a document that was accepted asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from icn_lite.model import cose, document
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, NotSupported, VerificationError
from icn_lite.model.messages import AssignJobV1, ReceiptAckV1
from icn_lite.model.receipt import ExecutionReceipt, read_receipt
from icn_lite.node.execution import Executions
from icn_lite.node.origination import Originations
from icn_lite.node.shell import Shell
from icn_lite.store.db import Store
from icn_lite.work.executor import Step

MAX_DOCUMENTS: Final = 4_096  # in one file: what a device may hold unacknowledged; each about 1 kB

Carried: TypeAlias = Sealed[AssignJobV1] | Sealed[ExecutionReceipt] | Sealed[ReceiptAckV1]


@dataclass(slots=True)
class Load:
    """What goes onto a stick: signed blocks, and the blocks that they name."""

    documents: list[bytes] = field(default_factory=list)
    blocks: dict[Cid, None] = field(default_factory=dict)

    def add(self, block: bytes, *named: Cid | None) -> None:
        """One document with what it names; beyond `MAX_DOCUMENTS` the rest waits for the next file."""
        if len(self.documents) < MAX_DOCUMENTS:
            self.documents.append(block)
            self.blocks.update(dict.fromkeys(cid for cid in named if cid is not None))


class Stick:
    """One node's side of a file. A role that the node doesn't have has no driver here."""

    def __init__(self, shell: Shell, originations: Originations | None, executions: Executions | None) -> None:
        self._shell = shell
        self._originations = originations
        self._executions = executions

    async def load(self) -> Load:
        """Receipts that nobody acknowledged, with their outputs; open leases, with module and inputs; our acks."""
        load = Load()

        def collect(store: Store) -> None:
            for receipt in self._unacknowledged():
                block = store.receipts.get(receipt)
                if block is not None:
                    said = read_receipt(block).document
                    load.add(block, said.output, said.call)
            if self._originations is not None:
                for lease in self._originations.open_leases():
                    inputs = [grant.input for grant in lease.document.shards]
                    load.add(lease.block, lease.document.module, *inputs)
                for job in self._originations.jobs:
                    for row in store.receipts.list(job=job, limit=MAX_DOCUMENTS):
                        ack = ReceiptAckV1(self._shell.did, row.executor, job, row.cid)
                        load.add(document.seal(ack, self._shell.signer).block)

        await self._shell.storage.run(collect)
        return load

    def _unacknowledged(self) -> Iterator[Cid]:
        for run in self._executions.leases.values() if self._executions is not None else ():
            for work in run.machine.shards.values():
                if work.step is Step.UNACKED and work.receipt is not None:
                    yield work.receipt

    async def wants(self, block: bytes) -> tuple[str, list[Cid]]:
        """What a document is, and which blocks it needs that aren't here; raises what would refuse it."""
        sealed = read_carried(block)
        said, named = sealed.document, list[Cid]()
        if isinstance(said, AssignJobV1):
            self._executor().offers.check_lease(said)
            named = [said.module, *(grant.input for grant in said.shards)]
        elif isinstance(said, ExecutionReceipt):
            self._originator().check_receipt(said)
            named = [cid for cid in (said.output, said.call) if cid is not None]
        elif said.executor != self._shell.did:
            raise VerificationError(f"this acknowledgement is for {said.executor}, not for this node")
        missing = await self._shell.storage.run(
            lambda store: [cid for cid in dict.fromkeys(named) if not store.blocks.has(cid)]
        )
        return type(said).KIND, missing

    async def take(self, block: bytes) -> None:
        """Act on a document as if the network had brought it."""
        sealed = read_carried(block)
        if isinstance(sealed.document, AssignJobV1):
            await self._executor().on_lease(sealed)
        elif isinstance(sealed.document, ExecutionReceipt):
            await self._originator().on_receipt(sealed)
        else:
            await self._executor().on_ack(sealed)

    def _executor(self) -> Executions:
        if self._executions is None:
            raise NotSupported(
                "this node runs no work for others", hint="give it the role: `icn-lite up --role execute`"
            )
        return self._executions

    def _originator(self) -> Originations:
        if self._originations is None:
            raise NotSupported("this node submits no jobs", hint="give it the role: `icn-lite up --role submit`")
        return self._originations


def read_carried(block: bytes) -> Carried:
    """A signed block as what it says it is; raises `DocumentError` or `SignatureError`."""
    kind = cose.read(block, max_bytes=len(block)).content_type
    if kind == cose.content_type(AssignJobV1.KIND):
        return document.unseal(AssignJobV1, block)
    if kind == cose.content_type(ExecutionReceipt.KIND):
        return read_receipt(block)
    if kind == cose.content_type(ReceiptAckV1.KIND):
        return document.unseal(ReceiptAckV1, block)
    raise DocumentError(f"expected a lease, a receipt or an acknowledgement, found {kind}", offset=0)
