"""Journal, jobs, peers and counters."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_samples import roll_back, signer_of

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import StoreError
from icn_lite.store import counters, jobs, journal, peers
from icn_lite.store.db import Store
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.store.peers import Found, PeerRecord

JOB = Cid.of_dag_cbor(b"job")
DOCUMENT = Cid.of_dag_cbor(b"signed job")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def did_of(number: int) -> Did:
    return Did(number.to_bytes(32, "big"))


# Journal


def test_events_replay_in_order_and_apart(store: Store) -> None:
    with store:
        numbers = [
            store.journal.append(machine, key, f"{machine} {key} {turn}".encode())
            for turn in range(3)
            for machine in ("executor", "originator")
            for key in ("b", "a")
        ]
        assert numbers == sorted(set(numbers))
        assert store.journal.replay("executor", "a") == [f"executor a {turn}".encode() for turn in range(3)]
        assert store.journal.keys("originator") == ["b", "a"]
        assert store.journal.length("executor", "b") == 3


def test_several_logs_are_forgotten_at_once_and_no_others(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for machine, key in (("outbox", "a"), ("outbox", "b"), ("outbox", "c"), ("lease", "a")):
            store.journal.append(machine, key, b"1")
            store.journal.append(machine, key, b"2")
        assert store.journal.drop_all("outbox", ["a", "c", "unknown"]) == 4
        assert store.journal.keys("outbox") == ["b"]
        assert store.journal.keys("lease") == ["a"]


def test_dropping_one_log_leaves_the_others_and_its_numbers(store: Store) -> None:
    with store:
        store.journal.append("executor", "a", b"1")
        last = store.journal.append("executor", "b", b"2")
        assert store.journal.drop("executor", "b") == 1
        assert store.journal.drop("executor", "b") == 0
        assert store.journal.keys("executor") == ["a"]
        assert store.journal.append("executor", "b", b"3") > last
        assert store.journal.replay("executor", "b") == [b"3"]
        assert store.journal.replay("executor", "unknown") == []


def test_a_journal_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MAX_EVENTS", 3)
    monkeypatch.setattr(journal, "MAX_EVENT_BYTES", 10)
    with store:
        with pytest.raises(StoreError, match="at most 10 bytes, found 11"):
            store.journal.append("executor", "a", bytes(11))
        for _ in range(3):
            store.journal.append("executor", "a", bytes(10))
        with pytest.raises(StoreError, match="at most 3 events"):
            store.journal.append("executor", "a", b"")
        store.journal.append("executor", "b", b"")


# Jobs


def test_a_job_keeps_its_number_through_its_statuses(store: Store) -> None:
    with store:
        first = store.jobs.upsert(JobRecord(JOB, JobRole.ORIGINATOR, "Submitted", DOCUMENT))
        second = store.jobs.upsert(JobRecord(DOCUMENT, JobRole.ORIGINATOR, "Submitted", DOCUMENT))
        assert store.jobs.upsert(JobRecord(JOB, JobRole.ORIGINATOR, "Failed", DOCUMENT, "no bids")) == first
        assert store.jobs.upsert(JobRecord(JOB, JobRole.EXECUTOR, "Running", DOCUMENT)) == second + 1
        assert store.jobs.get(JOB, JobRole.ORIGINATOR) == JobRecord(
            JOB, JobRole.ORIGINATOR, "Failed", DOCUMENT, "no bids", first
        )
        assert [record.number for record in store.jobs.list()] == [first, second, second + 1]
        assert [record.id for record in store.jobs.list(role=JobRole.EXECUTOR)] == [JOB]
        assert [record.number for record in store.jobs.list(status="Submitted")] == [second]
        assert [record.number for record in store.jobs.list(after=first, limit=1)] == [second]
        assert store.jobs.delete(JOB, JobRole.EXECUTOR)
        assert not store.jobs.delete(JOB, JobRole.EXECUTOR)
        assert store.jobs.get(JOB, JobRole.EXECUTOR) is None
        assert store.jobs.count() == 2


@pytest.mark.parametrize("status", ["", "x" * 65])
def test_a_job_without_a_proper_status_is_refused(store: Store, status: str) -> None:
    with store:
        with pytest.raises(StoreError, match="expected a status"):
            store.jobs.upsert(JobRecord(JOB, JobRole.ORIGINATOR, status, DOCUMENT))
        assert store.jobs.count() == 0


def test_too_many_jobs_push_out_the_oldest_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_JOBS", 3)
    names = [Cid.of_raw(bytes([number])) for number in range(5)]
    with store:
        for name in names:
            store.jobs.upsert(JobRecord(name, JobRole.EXECUTOR, "bid", DOCUMENT))
            store.jobs.upsert(JobRecord(name, JobRole.EXECUTOR, "leased", DOCUMENT))
        assert [record.id for record in store.jobs.list()] == names[2:]


# Peers


def test_a_peer_is_remembered_as_it_was_last_seen(store: Store) -> None:
    did = signer_of(1).did
    with store:
        store.peers.remember(PeerRecord(did, ("coap://a", "coap+tcp://a"), Found.MDNS, b"capability"))
        store.peers.remember(PeerRecord(did_of(2), (), Found.MET))
        store.peers.remember(PeerRecord(did, ("coap://b",), Found.DIRECTORY))
        assert store.peers.get(did) == PeerRecord(did, ("coap://b",), Found.DIRECTORY, b"capability")
        assert [peer.did for peer in store.peers.all()] == [did, did_of(2)]
        assert store.peers.forget(did)
        assert not store.peers.forget(did)
        assert store.peers.get(did) is None


def test_too_many_peers_push_out_the_ones_seen_longest_ago(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MAX_PEERS", 4)
    with store:
        store.peers.remember(PeerRecord(did_of(0), ("coap://configured",), Found.STATIC))
        for number in range(1, 7):
            store.peers.remember(PeerRecord(did_of(number), ("coap://x",), Found.MDNS))
        assert {peer.did for peer in store.peers.all()} == {did_of(number) for number in (0, 4, 5, 6)}


def test_a_peer_beyond_the_bounds_is_refused(store: Store) -> None:
    with store:
        for bad in (
            PeerRecord(did_of(1), ("coap://x",) * 9, Found.MDNS),
            PeerRecord(did_of(1), ("coap://" + "x" * 256,), Found.MDNS),
            PeerRecord(did_of(1), (), Found.MDNS, bytes(8_193)),
        ):
            with pytest.raises(StoreError, match="expected"):
                store.peers.remember(bad)
        assert store.peers.all() == ()


# Counters


def test_counts_go_to_disk_with_the_next_commit(store: Store, tmp_path: Path) -> None:
    with store, Store.open(tmp_path, read_only=True) as reader:
        store.counters.add("refused_bids")
        store.counters.add("refused_bids", 2)
        assert store.counters.all() == (("refused_bids", 3),)
        assert reader.counters.all() == ()
        store.journal.append("machine", "key", b"event")
        assert reader.counters.all() == store.counters.all() == (("refused_bids", 3),)


def test_counts_survive_a_transaction_that_fails(store: Store) -> None:
    with store:
        roll_back(store, lambda: store.counters.add("failures"))
        assert store.counters.get("failures") == 1
        with store.transaction():
            store.counters.add("failures")
            store.counters.flush()
        assert store.counters.get("failures") == 2
        store.counters.flush()
        store.counters.flush()
        assert store.counters.get("failures") == 2


def test_many_counts_are_written_without_a_commit(store: Store, tmp_path: Path) -> None:
    with store, Store.open(tmp_path, read_only=True) as reader:
        for _ in range(counters.FLUSH_AFTER):
            store.counters.add("datagrams")
        assert reader.counters.get("datagrams") == counters.FLUSH_AFTER


def test_counters_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_NAMES", 2)
    with store:
        for name in ("a", "b", "c", "d", "a"):
            store.counters.add(name)
        assert store.counters.all() == (("a", 2), ("b", 1), ("other", 2))
        with pytest.raises(ValueError, match="only rises"):
            store.counters.add("a", -1)
