"""One world of the sync simulator: nodes with disks, a bad network between them, and what befalls them.

The nodes run the machines of `work/`: sessions, answers, reconciliation, with the frames of `model/sync.py`. Disks,
network, clocks and calamities are simulated, all from one seed. Signatures are a stand-in: whatever a key of this world
signed stands in a book; a block that is not in it doesn't verify. It is looked up where the node verifies.

A node is killed at its commit points: before the commit of what it was handed, or after it and before it said so.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from mesh_library import MemoryLibrary, Receipt

from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, PeerError, SignatureError
from icn_lite.model.receipt import NO_SIGNATURE, Clock, ExecutionReceipt, ReceiptStatus
from icn_lite.model.sync import (
    Asked,
    Brought,
    Explained,
    Give,
    Rounded,
    SyncAsk,
    Took,
    read_answer,
    read_ask,
    write_answer,
    write_ask,
)
from icn_lite.work.library import Known, Taken, respond
from icn_lite.work.sync import Session, verified, verified_all

TIMEOUT_MS: Final = 10_000
MAX_ASKS: Final = 400  # of one session
INPUT: Final = Cid.of_raw(b"input")
BUGS: Final = {
    "ack-before-commit": "an anchor signs before its commit",
    "send-before-commit": "a device sends its receipt before its commit",
    "pay-every-copy": "an originator pays whenever a receipt comes",
    "drop-forks": "the second receipt of a fork is thrown away",
    "believe-took": "a device lets receipts go when a peer says that it took them",
    "believe-anyone": "an acknowledgement counts whoever signed it",
    "stale-head": "what a node says of a chain lags behind what it has",
}


@dataclass
class Disk:
    """What survives a kill; `copy` is a clone."""

    library: MemoryLibrary = field(default_factory=MemoryLibrary)
    paid: dict[tuple[Did, int], int] = field(default_factory=dict)  # times, by executor and shard: it has to be once

    def copy(self) -> Disk:
        return Disk(self.library.copy(), dict(self.paid))


@dataclass
class Running:
    """A session under way at its asking side."""

    session: Session
    peer: str
    asked: int = 0


@dataclass
class Node:
    """One device, anchor, originator or cheat."""

    name: str
    did: Did
    disk: Disk
    honest: bool = True
    anchor: bool = False
    works: bool = True
    up: bool = True
    here: bool = True  # on the network
    group: int = 0  # of a partition
    skew_ms: int = 0
    sessions: dict[int, Running] = field(default_factory=dict)

    @property
    def library(self) -> MemoryLibrary:
        return self.disk.library


@dataclass
class Plan:
    """How bad a world is, in parts of a thousand."""

    devices: int
    anchors: int
    cheats: int
    loss: int
    twice: int
    delay_ms: int
    kills: int
    span_ms: int
    pace_ms: int

    @staticmethod
    def draw(dice: random.Random) -> Plan:
        size = dice.random()
        devices = dice.randint(2, 4) if size < 0.97 else dice.randint(8, 30) if size < 0.998 else dice.randint(100, 200)
        return Plan(
            devices=devices,
            anchors=dice.randint(1, 2),
            cheats=dice.choice((0, 0, 1, 2)),
            loss=dice.choice((0, 20, 100, 300)),
            twice=dice.choice((0, 20, 150)),
            delay_ms=dice.choice((5, 100, 2_000, 15_000)),
            kills=dice.choice((0, 5, 30)),
            span_ms=dice.choice((90_000, 200_000)),
            pace_ms=dice.choice((8_000, 20_000)) if devices < 8 else 60_000,
        )


class World:
    """Everything of one run."""

    def __init__(self, seed: str, bug: str = "") -> None:
        self.dice = random.Random(seed)
        self.plan = Plan.draw(self.dice)
        self.bug = bug
        self.now_ms = 0
        self.events = 0
        self.trace = hashlib.sha256(seed.encode())
        self.book: dict[bytes, Known] = {}
        self.made: dict[Cid, tuple[str, Receipt]] = {}  # by honest devices, committed
        self.lost: set[Did] = set()  # whose disk was cloned, or set back: their receipts may be gone, and fork
        self.anchored: dict[Cid, str] = {}  # what honest anchors signed for, and who
        self.let_go: set[tuple[str, Cid]] = set()
        self.reported: dict[str, set[tuple[Cid, Cid]]] = {}
        self.violations: list[str] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._shard = 0
        self._kill: str | None = None
        self.nodes: dict[str, Node] = {}
        plan = self.plan
        for index in range(plan.devices):
            self._add(f"device{index}")
        for index in range(plan.anchors):
            self._add(f"anchor{index}").anchor = True
        for index in range(plan.cheats):
            self._add(f"cheat{index}").honest = False
        self.trusted = {node.did for node in self.nodes.values() if node.anchor}

    def _add(self, name: str) -> Node:
        node = Node(name, Did(hashlib.sha256(name.encode()).digest()), Disk())
        node.works = not name.startswith("anchor")
        self.nodes[name] = node
        self.reported[name] = set()
        return node

    # -- time

    def at(self, delay_ms: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + max(0, delay_ms), self._count, act))

    def run(self) -> None:
        """Everything that befalls it, then healing, then the invariants."""
        self._begin()
        while self._heap and self._heap[0][0] <= self.plan.span_ms:
            self.now_ms, _, act = heapq.heappop(self._heap)
            self.events += 1
            act()
        self._heal()

    def note(self, *words: object) -> None:
        """A line of the trace: the same seed gives the same digest."""
        self.trace.update(f"{self.now_ms} {words}".encode())

    def _begin(self) -> None:
        dice, plan = self.dice, self.plan
        for name in self.nodes:
            self.at(dice.randrange(plan.pace_ms), lambda name=name: self._meet(name))
            if self.nodes[name].works:
                self.at(dice.randrange(plan.pace_ms), lambda name=name: self._work(name))
            if self.nodes[name].anchor:
                self.at(dice.randrange(5_000), lambda name=name: self._acknowledge(name))
        for _ in range(dice.randint(0, 4)):
            self.at(dice.randrange(plan.span_ms), self._part)
        for calamity in (self._clone, self._set_back, self._leave, self._leave, self._leave, self._jump):
            if dice.random() < 0.4:
                self.at(dice.randrange(plan.span_ms), calamity)

    # -- what befalls them

    def _someone(self) -> Node:
        return self.nodes[self.dice.choice([name for name, node in self.nodes.items() if node.honest])]

    def _part(self) -> None:
        """The network falls apart, or comes together."""
        groups = self.dice.choice((1, 2, 2, 3))
        for node in self.nodes.values():
            node.group = self.dice.randrange(groups)

    def _clone(self) -> None:
        """Somebody copies a device's disk into another device."""
        node = self._someone()
        if node.anchor or not node.works:
            return
        twin = Node(f"{node.name}'", node.did, node.disk.copy())
        if twin.name in self.nodes:
            return
        self.nodes[twin.name] = twin
        self.reported[twin.name] = set(self.reported[node.name])
        self.lost.add(node.did)
        self.note("clone", node.name)
        self.at(self.dice.randrange(5_000), lambda: self._meet(twin.name))
        self.at(self.dice.randrange(5_000), lambda: self._work(twin.name))

    def _set_back(self) -> None:
        """A device comes back with an older copy of its disk."""
        node = self._someone()
        if node.anchor or not node.works:
            return
        older = node.disk.copy()
        reported = set(self.reported[node.name])

        def restore() -> None:
            node.disk, node.sessions = older, {}
            self.reported[node.name] = reported
            self.lost.add(node.did)
            self.let_go = {(name, cid) for name, cid in self.let_go if name != node.name}
            self.note("set back", node.name)

        self.at(self.dice.randrange(60_000), restore)

    def _leave(self) -> None:
        """Somebody goes out of reach, works on, and comes back."""
        node = self._someone()
        node.here = False

        def back() -> None:
            node.here = True

        self.at(self.dice.randrange(10_000, self.plan.span_ms), back)

    def _jump(self) -> None:
        """A clock jumps, to 1970 or ahead."""
        self._someone().skew_ms = self.dice.choice((-1_700_000_000_000, -60_000, 60_000, 86_400_000))

    def _dies(self, node: Node, where: str) -> bool:
        """Whether a node is killed at this commit point; it is back a while later with what was on its disk."""
        if self.dice.randrange(1_000) >= self.plan.kills or not node.honest or not node.up:
            return False
        node.up, node.sessions = False, {}
        self.note("kill", node.name, where)
        self._check_promises(node)

        def back() -> None:
            node.up = True

        self.at(self.dice.randrange(1_000, 30_000), back)
        return True

    # -- working and acknowledging

    def _work(self, name: str) -> None:
        """A device makes a receipt in one commit."""
        node = self.nodes[name]
        self.at(self.dice.randrange(self.plan.pace_ms // 4, self.plan.pace_ms * 2), lambda: self._work(name))
        if not node.up or self.now_ms > self.plan.span_ms * 3 // 4:
            return
        self._shard += 1
        sealed = self.sign_receipt(node, self._shard)
        if self.bug == "send-before-commit":
            self._show(node, sealed)
        if self._dies(node, "before a receipt"):
            return
        self._keep(node, [sealed])
        if node.honest:
            self.made[sealed.cid] = (name, sealed)
        elif self.dice.random() < 0.4:  # a cheat signs another with the same number, for somebody else
            self._show(node, self.sign_receipt(node, self._shard + 1_000_000, instead=sealed))
        self._dies(node, "after a receipt")

    def sign_receipt(self, node: Node, shard: int, instead: Receipt | None = None) -> Receipt:
        chain = node.library.chains.get(node.did)
        last = next(iter(chain.at[max(chain.at)].values())) if chain is not None else None
        seq, prev = (last.document.seq + 1, last.cid) if last is not None else (0, None)
        if instead is not None:
            seq, prev = instead.document.seq, instead.document.prev
        receipt = ExecutionReceipt(
            job=INPUT, shard=shard, stage=0, module=INPUT, input=INPUT, output=INPUT, status=ReceiptStatus.COMPLETED,
            fuel_used=1, fuel_limit=2, schedule="s", meter="m", peak_pages=0, host_calls=0, cpu_ms=0, wall_ms=0,
            executor=node.did, seq=seq, prev=prev, price=1, core_signature=NO_SIGNATURE,
            clock=Clock(bytes(16), 0, max(0, self.now_ms + node.skew_ms)),
        )  # fmt: skip
        return self.sign(receipt, f"receipt {node.did.short} {seq} {shard} {prev}")

    def sign(self, document: ExecutionReceipt | AnchorAck, text: str) -> Receipt:
        signer = document.executor if isinstance(document, ExecutionReceipt) else document.anchor
        block = text.encode()
        sealed = Sealed(document, signer, block, Cid.of_dag_cbor(block))
        self.book[block] = sealed
        return sealed  # type: ignore[return-value]

    def verify(self, block: bytes) -> Known | None:
        """The stand-in for both signatures, and whose acknowledgements count."""
        known = self.book.get(block)
        if known is None:
            raise SignatureError("signed by nobody here")
        ack = known.document
        if isinstance(ack, AnchorAck) and ack.anchor not in self.trusted and self.bug != "believe-anyone":
            return None
        return known

    def _show(self, node: Node, sealed: Receipt) -> None:
        """Hand a receipt to somebody at once."""
        other = self.dice.choice([name for name in self.nodes if name != node.name])
        self.send(node, other, lambda: self._given(self.nodes[other], Give((sealed.block,))))

    def _acknowledge(self, name: str) -> None:
        """An anchor signs for what is complete on its disk, in one commit."""
        node = self.nodes[name]
        self.at(self.dice.randrange(2_000, 15_000), lambda: self._acknowledge(name))
        if node.up and not self._dies(node, "before an acknowledgement"):
            self.acknowledge(node)
            self._dies(node, "after an acknowledgement")

    def acknowledge(self, node: Node, of: MemoryLibrary | None = None) -> int:
        library, signed = of or node.library, 0
        known = {ack.document.head for ack in library.acks.values() if ack.document.anchor == node.did}
        for executor in tuple(library.chains):
            for tip in library.tips(executor):
                if tip.cid not in known:
                    ack = AnchorAck(node.did, executor, tip.document.seq, tip.cid)
                    sealed = self.sign(ack, f"ack {node.did.short} {tip.cid}")
                    signed += len(node.library.take([sealed]).new)
                    self._remember(node, library, tip)
        return signed

    def _remember(self, node: Node, library: MemoryLibrary, tip: Receipt) -> None:
        one: Receipt | None = tip
        while one is not None and one.cid not in self.anchored:
            self.anchored[one.cid] = node.name
            one = library.receipts.get(one.document.prev) if one.document.prev else None

    # -- syncing

    def _meet(self, name: str) -> None:
        node = self.nodes[name]
        self.at(self.dice.randrange(self.plan.pace_ms // 2, self.plan.pace_ms * 2), lambda: self._meet(name))
        if not node.up or not node.here or len(node.sessions) >= 2:
            return
        peer = self.dice.choice([other for other in self.nodes if other != name])
        if not node.honest:
            self._cheat(node, peer)
            return
        self._count += 1
        running = Running(Session(), peer)
        node.sessions[self._count] = running
        self._ask(node, self._count, running.session.start(node.library))

    def _ask(self, node: Node, number: int, ask: Asked) -> None:
        running = node.sessions[number]
        running.asked += 1
        turn = running.asked
        if turn > MAX_ASKS:
            self.violations.append(f"{node.name} asked {running.peer} {MAX_ASKS} times in one session")
            del node.sessions[number]
            return
        frame = write_ask(SyncAsk(ask, self.dice.choice((1_000, 64 << 10))))
        self.send(node, running.peer, lambda: self._asked(self.nodes[running.peer], frame, node, number, turn))

        def timeout() -> None:
            if node.sessions.get(number) is running and running.asked == turn:
                del node.sessions[number]

        self.at(TIMEOUT_MS + min(60_000, max(0, node.skew_ms)), timeout)

    def send(self, node: Node, to: str, arrive: Callable[[], None]) -> None:
        """One message: lost, late, twice or out of order."""
        dice, plan, other = self.dice, self.plan, self.nodes[to]
        for _ in range(2 if dice.randrange(1_000) < plan.twice else 1):
            if dice.randrange(1_000) >= plan.loss:

                def deliver() -> None:
                    if node.here and other.here and other.up and node.group == other.group:
                        arrive()

                self.at(dice.randrange(1, plan.delay_ms + 1), deliver)

    def _asked(self, node: Node, frame: bytes, asker: Node, number: int, turn: int) -> None:
        ask = read_ask(frame)
        answer: bytes | None
        if not node.honest:
            answer = self._lie(node, ask)
        elif isinstance(ask.ask, Give):
            answer = self._given(node, ask.ask)
        else:
            answer = respond(ask, node.library)
        if answer is not None:
            told = answer
            self.send(node, asker.name, lambda: self._answered(asker, number, turn, told, ask.ask))

    def _given(self, node: Node, give: Give) -> bytes | None:
        try:
            documents = verified_all(give.blocks, self.verify)
        except SignatureError:
            return None
        if self.bug == "ack-before-commit" and node.anchor:
            ahead = node.library.copy()
            ahead.take(documents)
            self.acknowledge(node, ahead)
        if self._dies(node, "before keeping a gift"):
            return None
        taken = self._keep(node, documents)
        return None if self._dies(node, "after keeping a gift") else write_answer(Took(len(taken.new)))

    def _answered(self, node: Node, number: int, turn: int, frame: bytes, ask: Asked) -> None:
        running = node.sessions.get(number)
        if running is None or running.asked != turn:
            return  # late, or twice
        try:
            answer = verified(read_answer(frame), self.verify)
            if self._dies(node, "before keeping an answer"):
                return
            following = running.session.handle(answer, _Keeper(self, node))  # type: ignore[arg-type]
        except (PeerError, DocumentError, SignatureError) as error:
            if self.nodes[running.peer].honest:
                self.violations.append(f"{running.peer} is honest and {node.name} says: {error}")
            del node.sessions[number]
            return
        self.note(node.name, running.peer, turn, len(node.library.receipts), len(node.library.acks))
        if isinstance(ask, Give) and self.bug == "believe-took":
            self._let_go(node, {self.book[block].cid for block in ask.blocks if block in self.book})
        if self._dies(node, "after keeping an answer"):
            return
        if following is None:
            del node.sessions[number]
            self._let_go(node, node.library.anchored())
        else:
            self._ask(node, number, following)

    def _keep(self, node: Node, documents: tuple[Known, ...] | list[Receipt]) -> Taken:
        """One commit: receipts, forks, and what an originator pays for them."""
        library = node.library
        if self.bug == "drop-forks":
            documents = [one for one in documents if not self._forks(library, one)]  # type: ignore[assignment]
        before = {did: chain.told for did, chain in library.chains.items()}
        taken = library.take(documents)
        if self.bug == "stale-head":
            for did, told in before.items():
                library.chains[did].told = told
        if node.anchor:
            once = documents if self.bug == "pay-every-copy" else {one.cid: one for one in documents}.values()
            for sealed in once:
                receipt = sealed.document
                fresh = sealed.cid in taken.new or self.bug == "pay-every-copy"
                if isinstance(receipt, ExecutionReceipt) and fresh:
                    key = (receipt.executor, receipt.shard)
                    node.disk.paid[key] = node.disk.paid.get(key, 0) + 1
        for fork in taken.forks:
            if fork.receipts in self.reported[node.name]:
                self.violations.append(f"{node.name} reported a fork twice")
            self.reported[node.name].add(fork.receipts)
        return taken

    @staticmethod
    def _forks(library: MemoryLibrary, sealed: Known) -> bool:
        receipt = sealed.document
        if isinstance(receipt, AnchorAck) or receipt.executor not in library.chains:
            return False
        return set(library.chains[receipt.executor].at.get(receipt.seq, ())) - {sealed.cid} != set()

    def _let_go(self, node: Node, receipts: set[Cid]) -> None:
        """A device has little room: what it may let go, it does."""
        if not node.anchor and node.honest and node.name.endswith(("1", "3")):
            self.let_go |= {(node.name, cid) for cid in receipts}
            node.library.dropped |= receipts
            if not receipts <= self.anchored.keys():
                self.violations.append(f"{node.name} let go a receipt that no anchor keeps")

    # -- cheating

    def _cheat(self, node: Node, peer: str) -> None:
        """Give what is wrong, old, or not one's own to give."""
        dice, blocks = self.dice, [one.block for one in node.library.receipts.values()]
        fake = AnchorAck(node.did, dice.choice(list(self.nodes.values())).did, 1 << 40, INPUT)
        for one in dice.sample(list(node.library.receipts.values()), min(1, len(node.library.receipts))):
            fake = replace(fake, executor=one.document.executor, seq=one.document.seq, head=one.cid)
        false = self.sign(fake, f"false ack {node.name} {fake.executor.short} {fake.head}")
        gift = dice.choice(
            (
                dice.sample(blocks, min(len(blocks), 8)),
                [*blocks[:3], b"forged"],
                [false.block],
                blocks[-4:] * 2,
            )
        )
        if gift:
            self.send(node, peer, lambda: self._given(self.nodes[peer], Give(tuple(gift))))

    def _lie(self, node: Node, ask: SyncAsk) -> bytes | None:
        """An answer that may be wrong in any way."""
        dice = self.dice
        way = dice.randrange(8)
        blocks = [one.block for one in node.library.receipts.values()]
        if way == 0:
            return None
        if way == 1:
            return dice.randbytes(40)
        if way == 2:
            return write_answer(Brought(tuple(dice.sample(blocks, min(len(blocks), 6))), more=bool(dice.randrange(2))))
        if way == 3:
            return write_answer(Rounded(dice.randbytes(dice.randrange(60))))
        if isinstance(ask.ask, Give):
            return self._given(node, ask.ask)
        true = read_answer(respond(ask, node.library))
        if way == 4 and isinstance(true, Explained):
            heads = tuple(replace(head, next=head.next + dice.choice((1, 1 << 40)), tip=INPUT) for head in true.heads)
            return write_answer(replace(true, heads=heads))
        if way == 5 and isinstance(true, Brought):
            return write_answer(Brought((*reversed(true.blocks), *true.blocks[:1]), more=True))
        return write_answer(true)

    # -- the end

    def _heal(self) -> None:
        """Everybody is back, nothing is lost any more; who meets whom is drawn."""
        honest = [node for node in self.nodes.values() if node.honest]
        for node in honest:
            node.up = node.here = True
            node.group, node.skew_ms, node.sessions = 0, 0, {}
        self.plan.kills = 0
        for _ in range(60):
            if self._converged(honest):
                break
            order = honest[:]
            self.dice.shuffle(order)
            for node in order:
                peer = self.dice.choice([other for other in honest if other is not node])
                self._whole_session(node, peer)
                for one in (node, peer):
                    if one.anchor:
                        self.acknowledge(one)
        self.check(honest)

    @staticmethod
    def _converged(honest: list[Node]) -> bool:
        names = [sorted(node.library.inventory().walk((0, b""), (1 << 60, b""))) for node in honest]
        return all(name == names[0] for name in names)

    def _whole_session(self, node: Node, peer: Node) -> None:
        session = Session()
        ask: Asked | None = session.start(node.library)
        for _ in range(MAX_ASKS):
            if ask is None:
                return
            self.events += 1
            if isinstance(ask, Give):
                answer: bytes | None = self._given(peer, ask)
            else:
                answer = respond(SyncAsk(ask), peer.library)
            assert answer is not None
            try:
                heard = verified(read_answer(answer), self.verify)
                ask = session.handle(heard, _Keeper(self, node))  # type: ignore[arg-type]
            except (PeerError, DocumentError) as error:
                self.violations.append(f"{peer.name} is honest and {node.name} says: {error}")
                return
        self.violations.append(f"{node.name} asked {peer.name} {MAX_ASKS} times in one session")

    def check(self, honest: list[Node]) -> None:
        """The invariants."""
        wrong = self.violations
        everything = {cid for node in honest for cid in node.library.receipts}
        for node in honest:
            missing = everything - node.library.receipts.keys()
            if missing:
                wrong.append(f"{node.name} lacks {len(missing)} of {len(everything)} receipts")
            if any(times > 1 for times in node.disk.paid.values()):
                wrong.append(f"{node.name} paid twice")
        for cid, (name, sealed) in self.made.items():
            if cid not in everything and sealed.document.executor not in self.lost:
                wrong.append(f"receipt {sealed.document.seq} of {name} is lost")
        for node in honest:
            self._check_promises(node)
        self._check_bytes(honest, everything)
        self._check_forks(honest)
        self._check_pay(honest)

    def _check_promises(self, node: Node) -> None:
        """What an anchor has signed for is on its disk, at any moment."""
        if any(name == node.name and cid not in node.library.receipts for cid, name in self.anchored.items()):
            self.violations.append(f"{node.name} acknowledged a receipt that it lacks")

    def _check_bytes(self, honest: list[Node], everything: set[Cid]) -> None:
        for cid in everything:
            if all((node.name, cid) in self.let_go for node in honest if cid in node.library.receipts):
                self.violations.append("everybody let go a receipt")
                return

    def _check_forks(self, honest: list[Node]) -> None:
        for node in honest:
            for executor, chain in node.library.chains.items():
                for seq, same in chain.at.items():
                    pairs = {(min(a, b), max(a, b)) for a in same for b in same if a != b}
                    if not pairs <= self.reported[node.name]:
                        self.violations.append(f"{node.name} did not report a fork at {seq}")
                    owner = next((one for one in self.nodes.values() if one.did == executor), None)
                    if pairs and owner is not None and owner.honest and executor not in self.lost:
                        self.violations.append(f"{owner.name} forked, and nobody cloned it")

    def _check_pay(self, honest: list[Node]) -> None:
        for node in honest:
            if node.anchor:
                due = {(one.document.executor, one.document.shard) for one in node.library.receipts.values()}
                if due != node.disk.paid.keys():
                    self.violations.append(f"{node.name} has not paid for every receipt")


class _Keeper:
    """A node's library within a commit: what is taken goes through `World._keep`."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    def take(self, documents: tuple[Known, ...]) -> Taken:
        return self._world._keep(self._node, documents)

    def __getattr__(self, name: str) -> object:
        return getattr(self._node.library, name)
