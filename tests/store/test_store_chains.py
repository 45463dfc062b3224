"""Chains, anchors' words and forks in the store: the same as a plain model of them says, whatever the order."""

from __future__ import annotations

import random
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "simulators"))

from mesh_library import MemoryLibrary
from store_samples import chain_of, receipt_of, roll_back, signer_of

from icn_lite.model import document
from icn_lite.model.anchor import AnchorAck
from icn_lite.model.document import Sealed
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import Part, Place, Stretch
from icn_lite.node.library import MAX_CHAINS, StoreLibrary
from icn_lite.store import schema
from icn_lite.store.acks import MAX_OF_CHAIN
from icn_lite.store.chains import MAX_SIBLINGS
from icn_lite.store.database import FILE_NAME
from icn_lite.store.db import Store
from icn_lite.store.receipts import ChainLink
from icn_lite.work.library import Known
from icn_lite.work.reconcile import HIGHEST, LOWEST

SIGNERS = [signer_of(number) for number in (1, 2)]
ANCHORS = [signer_of(number) for number in (8, 9)]
CHAIN = chain_of(SIGNERS[0], 8)


def branch_of(
    chain: list[Sealed[ExecutionReceipt]], seq: int, length: int, mark: int
) -> list[Sealed[ExecutionReceipt]]:
    """Receipts that fork a chain at `seq`."""
    made: list[Sealed[ExecutionReceipt]] = []
    for number in range(seq, seq + length):
        prev = made[-1].cid if made else chain[seq - 1].cid
        made.append(receipt_of(SIGNERS[0], ChainLink(number, prev), shard=mark + number))
    return made


BRANCH = branch_of(CHAIN, 3, 4, 100)
TWIG = branch_of([*CHAIN[:3], *BRANCH], 5, 1, 200)
OTHER = chain_of(SIGNERS[1], 4)
EVERYTHING: list[Sealed[ExecutionReceipt]] = [*CHAIN, *BRANCH, *TWIG, *OTHER]


def ack(sealed: Sealed[ExecutionReceipt], anchor: int = 0) -> Sealed[AnchorAck]:
    receipt = sealed.document
    return document.seal(AnchorAck(ANCHORS[anchor].did, receipt.executor, receipt.seq, sealed.cid), ANCHORS[anchor])


ACKS = [ack(CHAIN[2]), ack(BRANCH[1]), ack(OTHER[3]), ack(CHAIN[7], 1), ack(TWIG[0], 1)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


def take(store: Store, documents: list[Known]) -> None:
    with store.transaction():
        StoreLibrary(store).take(documents)


def compare(store: Store, model: MemoryLibrary) -> None:
    """Everything that either says, of chains, of places in them, and of the whole."""
    library = StoreLibrary(store)
    assert list(library.inventory().walk(LOWEST, HIGHEST)) == list(model.inventory().walk(LOWEST, HIGHEST))
    for signer in SIGNERS:
        did = signer.did
        assert library.head(did) == model.head(did)
        mine, theirs = library.chain(did), model.chain(did)
        items = list(theirs.walk(LOWEST, HIGHEST))
        assert list(mine.walk(LOWEST, HIGHEST)) == items
        for lower, upper in zip([LOWEST, *items[::3]], [*items[2::3], HIGHEST], strict=False):
            for top in (upper, (upper[0], upper[1][:3]), (upper[0] + 1, b"")):
                if lower < top:
                    assert list(mine.walk(lower, top)) == list(theirs.walk(lower, top))
                    assert mine.count(lower, top) == theirs.count(lower, top)
        for stretches in ((Stretch(0, 3),), (Stretch(1, 2), Stretch(4, 99)), (Stretch(0, 99),), ()):
            assert library.total(did, stretches) == model.total(did, stretches)
        for stretch in (Stretch(0, 99), Stretch(2, 6)):
            whole = Part(did, stretch)
            found = list(library.read(whole))
            assert found == list(model.read(whole))
            for one in found[:3]:
                rest = Part(did, Stretch(one.seq, stretch.end), one.cid)
                assert list(library.read(rest)) == list(model.read(rest))
                place = Place(one.seq, one.cid.digest[:16])
                assert library.pick(did, place) == model.pick(did, place) == one.block
        assert library.pick(did, Place(0, bytes(16))) is None
        assert {cid for _, cid in store.chains.tips(did, 0)} == {tip.cid for tip in model.tips(did)}
    marked = store._db.rows("SELECT cid FROM receipts WHERE whole = 1")
    assert {row[0] for row in marked} == {str(cid) for signer in SIGNERS for cid in model.whole(signer.did)}
    anchored = {row.cid for row in store.receipts.list() if row.anchored}
    assert anchored == model.anchored()
    assert store.chains.pending() == store.receipts.count() - len(anchored)
    forks = {(fork.first, fork.second, fork.broken) for fork in store.chains.forks() if not fork.broken}
    assert forks == {(*fork.receipts, fork.broken) for fork in model.forks.values() if not fork.broken}


@pytest.mark.parametrize("seed", range(6))
def test_the_store_is_what_the_model_says(store: Store, seed: int) -> None:
    print(f"seed {seed}")
    choose = random.Random(seed)
    documents: list[Known] = choose.sample([*EVERYTHING, *ACKS], choose.randrange(1, len(EVERYTHING) + len(ACKS)))
    documents += choose.sample(documents, len(documents) // 3)  # some come twice
    model = MemoryLibrary()
    # An anchor's word of an unforked chain replaces its earlier one: what that had marked stays marked in the store.
    ahead = [one for one in documents if not isinstance(one.document, AnchorAck)]
    documents = [*ahead, *(one for one in documents if isinstance(one.document, AnchorAck))]
    with store:
        while documents:
            some, documents = documents[:5], documents[5:]
            take(store, some)
            model.take(some)
            compare(store, model)


def test_words_may_come_before_what_they_speak_of(store: Store) -> None:
    model = MemoryLibrary()
    with store:
        for some in ([ACKS[3]], [ACKS[4]], list(reversed(CHAIN)), BRANCH[2:], BRANCH[:2], TWIG):
            take(store, list(some))
            model.take(list(some))
            compare(store, model)
        # As long as no fork was known, the further one of the anchor's two words was enough; the other comes again.
        assert store.chains.pending(SIGNERS[0].did) == len(BRANCH) + len(TWIG)
        assert store.acks.put(ACKS[4])
        assert store.chains.pending(SIGNERS[0].did) == len(BRANCH) - 2


def test_a_further_word_replaces_an_earlier_one_and_a_repeated_one_changes_nothing(store: Store) -> None:
    with store:
        take(store, list(CHAIN))
        assert store.acks.put(ack(CHAIN[2]))
        assert store.chains.pending() == 5
        assert not store.acks.put(ack(CHAIN[2]))
        assert store.acks.put(ack(CHAIN[6]))
        assert not store.acks.put(ack(CHAIN[4]))  # a replay of an old one
        assert [row.head for row in store.acks.list()] == [CHAIN[6].cid]
        assert store.acks.put(ack(CHAIN[4], 1))  # another anchor's
        assert store.chains.pending() == 1
        assert store.acks.furthest(ANCHORS[0].did, SIGNERS[0].did) == 6
        # One that names another receipt than the one with its number keeps nothing.
        assert store.acks.put(document.seal(AnchorAck(ANCHORS[1].did, SIGNERS[0].did, 7, CHAIN[6].cid), ANCHORS[1]))
        assert store.chains.pending() == 1


def test_a_transaction_that_fails_leaves_no_mark(store: Store) -> None:
    model = MemoryLibrary()
    with store:
        take(store, [*CHAIN[:4], ACKS[0]])
        model.take([*CHAIN[:4], ACKS[0]])
        roll_back(store, lambda: StoreLibrary(store).take([*CHAIN, *BRANCH, *ACKS, *OTHER]))
        compare(store, model)


def test_only_what_an_anchor_keeps_is_let_go_oldest_first(store: Store) -> None:
    with store:
        take(store, [*CHAIN, *OTHER, ACKS[0]])
        size = len(CHAIN[0].block)
        before = StoreLibrary(store).head(SIGNERS[0].did)
        assert store.chains.let_go(store.chains.kept_bytes()) == 0
        assert store.chains.let_go(store.chains.kept_bytes() - size) == 1
        assert store.receipts.get(CHAIN[0].cid) is None
        assert store.receipts.get(CHAIN[1].cid) == CHAIN[1].block
        assert store.chains.let_go(0) == 2  # the word speaks of three; the others wait for theirs
        kept = [one for one in (*CHAIN, *OTHER) if store.receipts.get(one.cid) is not None]
        assert kept == [*CHAIN[3:], *OTHER]
        # What was let go is known still: the chain is the same, and it doesn't come back as new.
        assert StoreLibrary(store).head(SIGNERS[0].did) == before
        assert store.receipts.faults(SIGNERS[0].did) == ()
        with store.transaction():
            assert StoreLibrary(store).take(list(CHAIN)).new == ()
        assert [found.seq for found in StoreLibrary(store).read(Part(SIGNERS[0].did, Stretch(0, 99)))] == [
            3,
            4,
            5,
            6,
            7,
        ]


def test_bounds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [receipt_of(SIGNERS[0], ChainLink(1, CHAIN[0].cid), shard=1_000 + n) for n in range(MAX_SIBLINGS + 2)]
    with store:
        with store.transaction():
            taken = StoreLibrary(store).take([CHAIN[0], *many])
        assert (len(taken.new), taken.refused) == (MAX_SIBLINGS + 1, 2)
        assert MAX_CHAINS > 1
        monkeypatch.setattr("icn_lite.node.library.MAX_CHAINS", 1)
        with store.transaction():
            assert StoreLibrary(store).take(list(OTHER)).refused == len(OTHER)
        acks = [
            document.seal(AnchorAck(signer.did, SIGNERS[1].did, 1, OTHER[1].cid), signer)
            for signer in (signer_of(100 + number) for number in range(MAX_OF_CHAIN + 3))
        ]
        assert sum(store.acks.put(one) for one in acks) == MAX_OF_CHAIN


def test_a_home_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    documents: list[Known] = [*CHAIN, *BRANCH, *OTHER[1:]]
    database = sqlite3.connect(tmp_path / FILE_NAME)
    for statements in schema.STEPS[:2]:
        for statement in statements:
            database.execute(statement)
    for sealed in documents:
        receipt = sealed.document
        assert isinstance(receipt, ExecutionReceipt)
        database.execute(
            "INSERT INTO receipts(cid, executor, seq, prev, job, shard, status, fuel_used, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (str(sealed.cid), str(receipt.executor), receipt.seq, str(receipt.prev) if receipt.prev else None,
             str(receipt.job), receipt.shard, receipt.status.value, receipt.fuel_used, sealed.block),
        )  # fmt: skip
    database.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    database.execute("PRAGMA user_version = 2")
    database.commit()
    database.close()
    model = MemoryLibrary()
    model.take(documents)
    with Store.open(tmp_path) as store:
        compare(store, model)
        more: list[Known] = [*TWIG, OTHER[0], *ACKS]
        take(store, more)
        model.take(more)
        compare(store, model)
