"""What a bridge doesn't carry, and what it doesn't believe: the other side of its upstream is the test itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bridge_documents import bid_on
from bridge_harness import Ear, until
from bridge_meshes import Meshes
from mesh_samples import NONCE, OTHER, SIGNER, ack
from mesh_samples import announcement as sample
from store_samples import chain_of, receipt_of

from icn_lite.bridge.memory import MemoryUpstream
from icn_lite.bridge.upstream import Route
from icn_lite.mesh.ports import Remote
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed, seal
from icn_lite.model.errors import BidError, Later, UpstreamError, VerificationError
from icn_lite.model.job import ExecutionPolicy, JobSpec, PrivacyLevel
from icn_lite.model.messages import AssignJobV1, JobAnnouncementV1, ReceiptAckV1, ShardGrant
from icn_lite.node import bridging, upstreams
from icn_lite.node.config import Role
from icn_lite.node.node import Node

HERE = Remote("", 0, "tcp")


@dataclass
class Side:
    """A bridge, and the test on the other side of its upstream."""

    meshes: Meshes
    bridge: Node
    far: MemoryUpstream

    async def settled(self) -> None:
        """Everything that was sent down has been looked at."""
        await until(lambda: not self.meshes.hub.boxes["a"].waiting)

    def status(self) -> dict[str, Any]:
        assert self.bridge.bridging is not None
        found = self.bridge.bridging.status()
        assert isinstance(found, dict)
        return dict(found)


@pytest.fixture
async def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Side]:
    meshes = Meshes(tmp_path)
    scheme = upstreams.Scheme(lambda _: None, lambda address, _: meshes.hub.upstream(address.split(":")[1]))
    monkeypatch.setitem(upstreams.SCHEMES, "memory", scheme)
    monkeypatch.setattr(bridging, "ACK_S", 0.3)
    far = meshes.hub.upstream("far")
    await far.start()
    bridge = await meshes.start("a-bridge", Role.SUBMIT, upstreams=("memory:a",), region="eu", trust_scopes=("home",))
    yield Side(meshes, bridge, far)
    await meshes.close()


def announced(signer: KeySigner = SIGNER, **changes: Any) -> Sealed[JobAnnouncementV1]:
    """A job of `signer`'s, changed; it takes bids for a minute."""
    job: JobSpec = replace(sample().document.job, submitter=signer.did, **changes)
    return seal(JobAnnouncementV1(signer.did, job, 60_000, (), NONCE), signer)


@pytest.mark.parametrize(
    ("changes", "crosses"),
    [
        ({}, True),
        ({"policy": ExecutionPolicy(region_filter=("eu",), required_trust_scope="home")}, True),
        ({"policy": ExecutionPolicy(region_filter=("us",))}, False),
        ({"policy": ExecutionPolicy(required_trust_scope="work")}, False),
        ({"privacy": PrivacyLevel.PRIVATE}, False),
    ],
    ids=["anybody's", "of our region and circle", "another region's", "another circle's", "private"],
)
async def test_jobs_cross_within_their_policy_in_both_directions(
    side: Side, changes: dict[str, Any], crosses: bool
) -> None:
    assert side.bridge.bridging is not None
    await side.far.announce(announced(**changes))
    await side.settled()
    assert side.status()["jobs_down"] == int(crosses)
    own = announced(OTHER, **changes)
    await side.bridge.bridging.on_announcement(own)
    assert side.status()["jobs_up"] == int(crosses)
    if crosses:
        ear = Ear(side.far)
        event: Any = (await ear.next()).event
        assert event.announcement == own
        await ear.close()


async def test_a_job_whose_bidding_is_over_does_not_come_down(side: Side) -> None:
    job = announced()
    side.meshes.hub.post("a", "late", _late(job))
    await side.settled()
    assert side.status()["jobs_down"] == 0


def _late(job: Sealed[JobAnnouncementV1]) -> Any:
    from icn_lite.bridge.upstream import JobAnnounced

    return JobAnnounced(job, Route("far"), age_ms=job.document.bidding_ms)


async def test_bids_on_jobs_that_came_down_go_up_and_no_others(side: Side) -> None:
    job = announced()
    await side.far.announce(job)
    await side.settled()
    handlers, ear = side.bridge.handlers, Ear(side.far)
    good = bid_on(job, OTHER)
    await handlers.on_bid(good, HERE)
    event: Any = (await ear.next()).event
    assert event.bid == good
    with pytest.raises(BidError, match="is did:key"):
        await handlers.on_bid(bid_on(job, OTHER, originator=OTHER.did), HERE)
    with pytest.raises(BidError, match="no job"):
        await handlers.on_bid(bid_on(announced(OTHER), SIGNER), HERE)
    side.meshes.hub.cut = True
    with pytest.raises(UpstreamError):
        await handlers.on_bid(bid_on(job, SIGNER), HERE)
    side.meshes.hub.mend()
    await ear.close()


def lease_of(
    job: Sealed[JobAnnouncementV1], bid: Cid, originator: KeySigner, executor: KeySigner
) -> Sealed[AssignJobV1]:
    spec = job.document.job
    return seal(
        AssignJobV1(
            originator.did, executor.did, spec.id, bid, NONCE, 0, Cid.of_raw(b"module"),
            (ShardGrant(0, Cid.of_raw(b"x"), 1),), 60_000, 1_000, 1,
        ),
        originator,
    )  # fmt: skip


async def test_a_lease_goes_where_its_bid_came_from_and_only_its_originators(side: Side) -> None:
    assert side.bridge.bridging is not None
    job, handlers, ear = announced(OTHER), side.bridge.handlers, Ear(side.far)
    await side.bridge.bridging.on_announcement(job)
    await ear.next()
    made = bid_on(job, SIGNER)
    await side.far.bid(made, Route("a"))
    crossing = side.bridge.bridging._book.jobs[job.document.job.id]
    await until(lambda: bool(crossing.bids))  # its originator is nowhere: the bid waits, its way is known
    good = lease_of(job, made.cid, OTHER, SIGNER)
    await handlers.on_lease(good, HERE)
    event: Any = (await ear.next()).event
    assert event.lease == good
    third = KeySigner(b"\3" * 32)
    for bad in (lease_of(job, Cid.of_raw(b"no bid"), OTHER, SIGNER), lease_of(job, made.cid, third, SIGNER)):
        with pytest.raises(VerificationError, match="no bid of"):
            await handlers.on_lease(bad, HERE)
    await ear.close()


async def test_a_receipt_is_acknowledged_by_its_originator_or_not_at_all(side: Side) -> None:
    job, handlers, ear = announced(SIGNER), side.bridge.handlers, Ear(side.far)
    await side.far.announce(job)
    await side.settled()
    receipt = receipt_of(OTHER, job=job.document.job.id)
    forged = seal(ReceiptAckV1(OTHER.did, OTHER.did, receipt.document.job, receipt.cid), OTHER)
    await side.far.acknowledge(forged)
    with pytest.raises(Later, match="has not acknowledged"):
        await handlers.on_receipt(receipt, HERE)
    event: Any = (await ear.next()).event  # its own acknowledgement's doorbell
    while not hasattr(event, "receipt"):
        event = (await ear.next()).event
    assert event.receipt == receipt
    side.meshes.hub.acks.clear()
    real = seal(ReceiptAckV1(SIGNER.did, OTHER.did, receipt.document.job, receipt.cid), SIGNER)
    await side.far.acknowledge(real)
    assert await handlers.on_receipt(receipt, HERE) == real.block
    assert await handlers.on_receipt(receipt, HERE) == real.block
    await ear.close()


async def test_receipts_of_nobodys_job_are_for_later(side: Side) -> None:
    """A bridge may have forgotten a job; its receipt's author must not give it up for that."""
    with pytest.raises(Later, match="did not come through"):
        await side.bridge.handlers.on_receipt(chain_of(OTHER, 1)[0], HERE)
    assert ack(Cid.of_raw(b"")).signer == OTHER.did


async def test_jobs_and_receipts_on_their_way_survive_a_restart(side: Side) -> None:
    job, own = announced(SIGNER), announced(OTHER)
    assert side.bridge.bridging is not None
    await side.bridge.bridging.on_announcement(own)
    await side.far.announce(job)
    await side.settled()
    side.meshes.hub.cut = True
    receipt = receipt_of(OTHER, job=job.document.job.id)
    with pytest.raises(Later):
        await side.bridge.handlers.on_receipt(receipt, HERE)
    assert side.status()["upstreams"][0]["lag"] == 1
    await side.meshes.world.stop("a-bridge")
    side.bridge = await side.meshes.start("a-bridge", Role.SUBMIT, upstreams=("memory:a",))
    assert (side.status()["jobs_up"], side.status()["jobs_down"]) == (1, 1)
    assert side.status()["upstreams"][0]["lag"] == 1
    side.meshes.hub.mend()
    ear, found = Ear(side.far), None
    while found is None:
        found = getattr((await ear.next()).event, "receipt", None)
    assert found == receipt
    await ear.close()
