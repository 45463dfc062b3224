"""Receipts: kept once, chained, and every fault of a chain reported."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from store_samples import chain_of, receipt_of, roll_back, signer_of

from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, IcnLiteError, StoreError
from icn_lite.store.db import Store
from icn_lite.store.receipts import ChainFault, ChainFaultKind, ChainLink

SIGNER = signer_of(1)
DID = SIGNER.did


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def test_a_receipt_is_kept_once_whatever_the_order(store: Store) -> None:
    chain = chain_of(SIGNER, 6)
    arrivals = chain * 2
    random.Random(7).shuffle(arrivals)
    with store:
        for sealed in arrivals:
            assert store.receipts.put(sealed.block) == sealed.cid
        assert store.receipts.count() == 6
        assert store.receipts.head(DID) == (5, chain[5].cid)
        assert store.receipts.faults(DID) == ()
        for sealed in chain:
            assert store.receipts.get(sealed.cid) == sealed.block


def test_columns_are_what_the_receipt_says(store: Store) -> None:
    first, second = chain_of(SIGNER, 2)
    with store:
        store.receipts.put(second.block)
        (row,) = store.receipts.list()
        assert (row.cid, row.executor, row.seq, row.prev) == (second.cid, DID, 1, first.cid)
        assert (row.job, row.shard, row.status, row.fuel_used) == (Cid.of_dag_cbor(b"job"), 1, "completed", 1_001)


def test_what_is_no_signed_receipt_changes_nothing(store: Store) -> None:
    block = receipt_of(SIGNER).block
    flipped = block[:-1] + bytes([block[-1] ^ 1])
    with store:
        for bad in (b"", b"\xa0", block[:-1], block + b"\0", flipped):
            with pytest.raises(IcnLiteError):
                store.receipts.put(bad)
        with pytest.raises(DocumentError):
            store.receipts.put(bytes(2_000))
        assert store.receipts.count() == 0


def test_an_unknown_receipt_is_none(store: Store) -> None:
    with store:
        assert store.receipts.get(Cid.of_dag_cbor(b"unknown")) is None
        assert store.receipts.head(DID) is None
        assert store.receipts.faults(DID) == ()


def test_the_next_link_is_only_told_inside_a_transaction(store: Store) -> None:
    with store:
        with pytest.raises(StoreError, match="inside a transaction"):
            store.receipts.next_link(DID)
        for seq in range(3):
            with store.transaction():
                link = store.receipts.next_link(DID)
                assert link.seq == seq
                store.receipts.put_sealed(receipt_of(SIGNER, link))
        assert store.receipts.faults(DID) == ()
        # A place that was taken in a transaction that failed is free again.
        roll_back(store, lambda: store.receipts.put_sealed(receipt_of(SIGNER, store.receipts.next_link(DID))))
        with store.transaction():
            assert store.receipts.next_link(DID).seq == 3


def test_a_gap_is_reported_until_it_is_filled(store: Store) -> None:
    chain = chain_of(SIGNER, 8)
    with store:
        for seq in (2, 3, 6):
            store.receipts.put(chain[seq].block)
        assert store.receipts.faults(DID) == (
            ChainFault(ChainFaultKind.GAP, DID, 0, 1),
            ChainFault(ChainFaultKind.GAP, DID, 4, 5),
        )
        for sealed in chain:
            store.receipts.put(sealed.block)
        assert store.receipts.faults(DID) == ()


def test_of_a_fork_both_sides_are_kept_and_reported(store: Store) -> None:
    chain = chain_of(SIGNER, 3)
    link = ChainLink(2, chain[1].cid)
    other = receipt_of(SIGNER, link, shard=77)
    with store:
        for sealed in (*chain, other):
            store.receipts.put(sealed.block)
        assert store.receipts.faults(DID) == (ChainFault(ChainFaultKind.FORK, DID, 2, 2, (chain[2].cid, other.cid)),)
        assert store.receipts.head(DID) == (2, chain[2].cid)
        assert store.receipts.get(other.cid) == other.block
        # Whichever side goes on, the link itself holds.
        store.receipts.put(receipt_of(SIGNER, ChainLink(3, other.cid)).block)
        assert [fault.kind for fault in store.receipts.faults(DID)] == [ChainFaultKind.FORK]


def test_a_link_to_another_receipt_is_reported(store: Store) -> None:
    chain = chain_of(SIGNER, 2)
    stranger = receipt_of(SIGNER, ChainLink(2, chain[0].cid))
    with store:
        for sealed in (*chain, stranger):
            store.receipts.put(sealed.block)
        assert store.receipts.faults(DID) == (ChainFault(ChainFaultKind.BROKEN_LINK, DID, 2, 2, (stranger.cid,)),)


def test_a_place_in_a_chain_is_shown_with_what_stands_beside_it(store: Store) -> None:
    chain = chain_of(SIGNER, 6)
    fork = receipt_of(SIGNER, ChainLink(3, chain[2].cid), shard=77)
    with store:
        for sealed in (*reversed(chain), fork, *chain_of(signer_of(2), 6)):
            store.receipts.put(sealed.block)
        expected = [chain[2].cid, chain[3].cid, fork.cid, chain[4].cid]
        assert [row.cid for row in store.receipts.around(DID, 3)] == expected
        assert [row.cid for row in store.receipts.around(DID, 0)] == [chain[0].cid, chain[1].cid]
        assert [row.cid for row in store.receipts.around(DID, 6)] == [chain[5].cid]
        assert store.receipts.around(DID, 8) == ()


def test_executors_do_not_mix(store: Store) -> None:
    mine, other = chain_of(SIGNER, 2), chain_of(signer_of(2), 3)
    with store:
        for sealed in (*mine, *other):
            store.receipts.put(sealed.block)
        assert store.receipts.head(DID) == (1, mine[1].cid)
        assert store.receipts.head(signer_of(2).did) == (2, other[2].cid)
        assert store.receipts.executors() == tuple(sorted((DID, signer_of(2).did), key=str))
        assert [row.cid for row in store.receipts.list(executor=DID)] == [sealed.cid for sealed in mine]


def test_lists_go_by_job_and_page(store: Store) -> None:
    job = Cid.of_dag_cbor(b"another job")
    ours = [receipt_of(signer_of(number), job=job) for number in range(1, 6)]
    with store:
        for sealed in ours:
            store.receipts.put(sealed.block)
            store.receipts.put(receipt_of(SIGNER, ChainLink(1, sealed.cid)).block)
        rows = store.receipts.list(job=job)
        assert [row.cid for row in rows] == [sealed.cid for sealed in ours]
        page = store.receipts.list(job=job, after=rows[1].number, limit=2)
        assert [row.cid for row in page] == [sealed.cid for sealed in ours[2:4]]
        assert store.receipts.list(job=job, executor=signer_of(3).did) == (rows[2],)
        assert store.receipts.list(job=Cid.of_dag_cbor(b"nothing")) == ()


def test_a_receipt_that_decayed_on_the_disk_never_passes(store: Store) -> None:
    sealed = receipt_of(SIGNER)
    with store:
        store.receipts.put(sealed.block)
        store._db.run("UPDATE receipts SET data = x'00'")
        with pytest.raises(StoreError, match="is damaged on the disk"):
            store.receipts.get(sealed.cid)
