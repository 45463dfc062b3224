"""Sessions: both sides come to hold the same receipts, whatever is missing, and whatever the other side says."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sync_net import MemoryLibrary, Wire, sync

sys.path.append(str(Path(__file__).parents[1] / "store"))

from store_samples import chain_of, receipt_of, signer_of

from icn_lite.model import document
from icn_lite.model.anchor import AnchorAck, read_ack
from icn_lite.model.cid import Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, IcnLiteError, PeerError, SignatureError, UsageError
from icn_lite.model.receipt import ExecutionReceipt
from icn_lite.model.sync import (
    FRAME_BYTES,
    LEAST_ANSWER_BYTES,
    MAX_GAPS,
    PLAIN_BYTES,
    Answered,
    Brought,
    Explain,
    Explained,
    Fetch,
    Give,
    Head,
    Part,
    Pick,
    Place,
    Round,
    Rounded,
    Stretch,
    SyncAsk,
    Took,
    read_answer,
    read_ask,
    write_answer,
    write_ask,
)
from icn_lite.store.receipts import ChainLink
from icn_lite.work.library import respond
from icn_lite.work.sync import Answer, Session, read_known, verified

SIGNERS = [signer_of(number) for number in (1, 2, 3)]
CHAINS = [chain_of(signer, 24) for signer in SIGNERS]
ANCHOR = signer_of(9)
BOOK = {sealed.block: sealed for chain in CHAINS for sealed in chain}


def forked(number: int) -> list[Sealed[ExecutionReceipt]]:
    made: list[Sealed[ExecutionReceipt]] = []
    for seq in range(9, 18):
        prev = made[-1].cid if made else CHAINS[number][8].cid
        made.append(receipt_of(SIGNERS[number], ChainLink(seq, prev), shard=500 + seq))
    return made


BRANCHES = [forked(number) for number in range(3)]
BOOK |= {sealed.block: sealed for branch in BRANCHES for sealed in branch}
ACK = document.seal(AnchorAck(ANCHOR.did, SIGNERS[0].did, 5, CHAINS[0][5].cid), ANCHOR)


def known(block: bytes) -> Sealed[ExecutionReceipt]:
    """Signatures are checked in the other tests: here it would take most of the time."""
    return BOOK[block]


def library(*parts: list[Sealed[ExecutionReceipt]]) -> MemoryLibrary:
    made = MemoryLibrary()
    for part in parts:
        made.take(part)
    return made


@pytest.mark.parametrize("seed", range(60))
def test_one_session_makes_both_the_same(seed: int) -> None:
    print(f"seed {seed}")
    choose = random.Random(seed)
    mine, theirs = MemoryLibrary(), MemoryLibrary()
    for side in (mine, theirs):
        for chain, branch in zip(CHAINS, BRANCHES, strict=True):
            some = choose.choice(
                (
                    [],
                    chain[: choose.randrange(25)],
                    chain[:9] + branch[: choose.randrange(10)],
                    choose.sample(chain, choose.randrange(25)),
                    choose.sample(chain + branch, choose.randrange(33)),
                )
            )
            side.take(some)
    everything = mine.receipts.keys() | theirs.receipts.keys()
    wire = Wire(theirs, known, choose.choice((LEAST_ANSWER_BYTES, 4_000, FRAME_BYTES)))
    sync(mine, wire, known)
    assert mine.receipts.keys() == theirs.receipts.keys() == everything
    again = Wire(theirs, known)
    report = sync(mine, again, known)
    assert (report.fetched, report.given, again.asks) == (0, 0, 1)


def test_a_session_that_ends_anywhere_is_gone_on_with() -> None:
    for cut in range(1, 12):
        mine, theirs = library(CHAINS[0][:4]), library(CHAINS[0], CHAINS[1], BRANCHES[1])
        sync(mine, Wire(theirs, known, LEAST_ANSWER_BYTES), known, stop_after=cut)
        held = set(mine.receipts)
        wire = Wire(theirs, known, LEAST_ANSWER_BYTES)
        report = sync(mine, wire, known)
        assert report.fetched == len(theirs.receipts) - len(held)  # nothing is fetched twice
        assert mine.receipts.keys() == theirs.receipts.keys()


def test_it_goes_through_a_third_node_and_words_come_back() -> None:
    device, courier, anchor = library(CHAINS[0]), MemoryLibrary(), library(CHAINS[1])
    sync(courier, Wire(device))
    sync(anchor, Wire(courier))
    assert anchor.receipts.keys() == {sealed.cid for sealed in (*CHAINS[0], *CHAINS[1])}
    anchor.take([ACK])
    sync(anchor, Wire(courier))
    sync(courier, Wire(device))
    assert device.anchored() == {sealed.cid for sealed in CHAINS[0][:6]}


def test_forks_are_found_on_both_sides_with_both_receipts() -> None:
    mine, theirs = library(CHAINS[0]), library(CHAINS[0][:9], BRANCHES[0])
    report = sync(mine, Wire(theirs))
    pairs = {frozenset((CHAINS[0][9 + n].cid, BRANCHES[0][n].cid)) for n in range(9)}
    for side in (mine, theirs):
        assert {frozenset(fork.receipts) for fork in side.forks.values() if not fork.broken} == pairs
    assert {frozenset(fork.receipts) for fork in report.forks if not fork.broken} == pairs


def test_a_gap_of_many_is_filled_in_several_sessions() -> None:
    signer = signer_of(4)
    chain = chain_of(signer, 2 * MAX_GAPS + 20)
    book = {sealed.block: sealed for sealed in chain}
    mine, theirs = library(chain[::2]), library(chain)
    assert len((mine.head(signer.did) or pytest.fail("no head")).gaps) == MAX_GAPS
    for _ in range(3):
        sync(mine, Wire(theirs, book.__getitem__), book.__getitem__)
    assert mine.receipts.keys() == theirs.receipts.keys()
    mine, theirs = library(chain[::2]), library(chain)
    for _ in range(3):  # the same, pushed
        sync(theirs, Wire(mine, book.__getitem__), book.__getitem__)
    assert mine.receipts.keys() == theirs.receipts.keys()


def test_receipts_fill_a_block_and_a_frame() -> None:
    theirs = library(CHAINS[0])
    fetch = Fetch((Part(SIGNERS[0].did, Stretch(0, 24)),))
    small = respond(SyncAsk(fetch, LEAST_ANSWER_BYTES), theirs)
    told = read_answer(small)
    assert isinstance(told, Brought)
    assert len(told.blocks) >= 2
    assert told.more
    assert LEAST_ANSWER_BYTES * 3 // 4 < len(small) <= LEAST_ANSWER_BYTES
    whole = read_answer(respond(SyncAsk(fetch), theirs))
    assert isinstance(whole, Brought)
    assert (len(whole.blocks), whole.more) == (24, False)
    with pytest.raises(UsageError):
        respond(SyncAsk(Give(())), theirs)


# -- peers that answer otherwise


def lying(change: Callable[[Answered], Answered | bytes]) -> type[Wire]:
    class Liar(Wire):
        def ask(self, ask: SyncAsk) -> Answered:
            said = change(super().ask(ask))
            return said if not isinstance(said, bytes) else read_answer(said)

    return Liar


def when(kind: type, change: Callable[..., Answered]) -> Callable[[Answered], Answered]:
    return lambda said: change(said) if isinstance(said, kind) else said


FORGED = CHAINS[1][0].block[:-1] + bytes([CHAINS[1][0].block[-1] ^ 1])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (when(Brought, lambda said: replace(said, blocks=(CHAINS[2][0].block,))), PeerError),  # not asked for
        (when(Brought, lambda said: replace(said, blocks=said.blocks[::-1])), PeerError),
        (when(Brought, lambda said: replace(said, blocks=said.blocks + said.blocks[:1])), PeerError),
        (when(Brought, lambda said: replace(said, blocks=(ACK.block,))), PeerError),
        (when(Brought, lambda said: replace(said, blocks=(FORGED,))), SignatureError),
        (when(Brought, lambda said: replace(said, blocks=(b"junk",))), DocumentError),
        (when(Brought, lambda said: Brought((), True)), PeerError),
        (when(Brought, lambda said: Took(1)), PeerError),
        (when(Rounded, lambda said: Rounded(b"\xff" * 9)), PeerError),
        (when(Rounded, lambda said: Brought((), False)), PeerError),
        (when(Explained, lambda said: replace(said, acks=(ACK.block,))), PeerError),
        (when(Took, lambda said: Rounded(said.new.to_bytes(8, "big"))), PeerError),
        (lambda said: write_answer(said)[:-1], DocumentError),
    ],
)
def test_an_answer_to_something_else_ends_the_session_and_keeps_what_held(
    change: Callable[[Answered], Answered], error: type[IcnLiteError]
) -> None:
    mine, theirs = library(CHAINS[0][:12]), library(CHAINS[0][:6], CHAINS[1])
    with pytest.raises(error):
        sync(mine, lying(change)(theirs))
    assert {sealed.cid for sealed in CHAINS[0][:12]} <= mine.receipts.keys()
    sync(mine, Wire(theirs))
    assert mine.receipts.keys() == theirs.receipts.keys()


def test_whoever_lies_about_its_head_is_asked_once_and_noted() -> None:
    def longer(said: Explained) -> Explained:
        heads = tuple(replace(head, next=head.next + (1 << 40)) for head in said.heads)
        return replace(said, heads=heads)

    theirs = library(CHAINS[0][:6])
    told = sync(MemoryLibrary(), Wire(theirs))
    assert told.lacking == 0

    class Liar(Wire):
        def ask(self, ask: SyncAsk) -> Answered:
            said = super().ask(ask)
            if isinstance(said, Explained):
                made = longer(said)
                self.names = {head.id for head in made.heads}
                return made
            if isinstance(said, Rounded) and not isinstance(ask.ask, Round):
                return said
            return said

    mine = MemoryLibrary()
    with pytest.raises(PeerError, match="stand for"):  # its head's name gives it away …
        sync(mine, Liar(theirs))

    class Consistent(MemoryLibrary):
        def head(self, executor: object) -> Head | None:
            head = super().head(executor)  # type: ignore[arg-type]
            return replace(head, next=head.next + (1 << 40)) if head is not None else None

        def explain(self, ids: object) -> tuple[list[Head], list[bytes]]:
            return [head for did in self.chains if (head := self.head(did)) is not None], []

        def inventory(self) -> object:  # type: ignore[override]
            from icn_lite.work.reconcile import SortedItems

            return SortedItems([(0, head.id) for did in self.chains if (head := self.head(did)) is not None])

    liar = Consistent()
    liar.take(CHAINS[0][:6])
    wire = Wire(liar)
    report = sync(mine, wire)
    assert (report.fetched, report.lacking) == (6, 1)
    assert wire.asks < 8


def test_nothing_that_is_refused_by_the_library_loops() -> None:
    class Full(MemoryLibrary):
        def take(self, documents: object) -> object:  # type: ignore[override]
            from icn_lite.work.library import Taken

            return Taken(refused=len(documents))  # type: ignore[arg-type]

    report = sync(Full(), Wire(library(CHAINS[0], CHAINS[1]), known), known)  # type: ignore[arg-type]
    assert (report.refused, report.fetched, report.lacking) == (48, 0, 2)


def test_a_word_of_nobody_is_left_out() -> None:
    mine, theirs = library(CHAINS[0]), library(CHAINS[0])
    theirs.take([ACK])
    sync(mine, Wire(theirs), lambda block: None if block == ACK.block else read_known(block))
    assert not mine.acks
    sync(mine, Wire(theirs))
    assert mine.acks.keys() == {ACK.cid}


def test_an_answer_that_comes_in_another_phase_is_refused() -> None:
    session = Session()
    session.start(library(CHAINS[0]))
    with pytest.raises(PeerError, match="no answer to inventory"):
        session.handle(Answer(Took(1)), library(CHAINS[0]))


# -- frames


@pytest.mark.parametrize(
    "ask",
    [
        Round(b"message"),
        Round(b"", SIGNERS[0].did),
        Explain((bytes(16),)),
        Fetch((Part(SIGNERS[0].did, Stretch(1, 9), CHAINS[0][0].cid),)),
        Pick(SIGNERS[0].did, (Place(3, bytes(16)),)),
        Give((CHAINS[0][0].block, ACK.block)),
    ],
)
def test_asks_survive_their_frame(ask: Round | Explain | Fetch | Pick | Give) -> None:
    made = SyncAsk(ask, 2_000)
    assert read_ask(write_ask(made)) == made


def test_answers_survive_their_frame() -> None:
    head = library(CHAINS[0][3:]).head(SIGNERS[0].did)
    assert head is not None
    for said in (Rounded(b"x"), Explained((head,), (ACK.block,), 1), Brought((CHAINS[0][0].block,), True), Took(3)):
        assert read_answer(write_answer(said)) == said
    assert verified(Explained((head,), (ACK.block,), 1), read_known).documents == (ACK,)


def test_frames_that_are_none_are_refused_before_they_take_room() -> None:
    import zlib

    bomb = zlib.compress(bytes(64 * PLAIN_BYTES), 9)
    assert len(bomb) < FRAME_BYTES
    whole = write_ask(SyncAsk(Round(b"x")))
    wrong = (b"", b"junk", bomb, bytes(FRAME_BYTES + 1), whole[:-1], whole + b"\0", zlib.compress(b"\xa0"))
    for frame in wrong:
        with pytest.raises(DocumentError):
            read_ask(frame)
        with pytest.raises(DocumentError):
            read_answer(frame)
    with pytest.raises(DocumentError):
        read_answer(whole)


def test_an_acknowledgement_is_signed_by_its_anchor() -> None:
    assert read_ack(ACK.block) == ACK
    with pytest.raises(SignatureError):
        document.seal(AnchorAck(SIGNERS[0].did, SIGNERS[0].did, 0, CHAINS[0][0].cid), ANCHOR)
    for bad in (CHAINS[0][0].block, ACK.block[:-1] + bytes([ACK.block[-1] ^ 1]), bytes(4_000)):
        with pytest.raises(IcnLiteError):
            read_ack(bad)
    assert Cid.of_dag_cbor(ACK.block) == ACK.cid
