"""Fifty nodes' gossip and relays over a network in virtual time: loss, duplicates, reordering, partitions, liars.

Every message is sent up to `TRANSMISSIONS` times until it is acknowledged, as CoAP does, and messages and
acknowledgements are lost alike, so receivers see duplicates. Everything random comes from one seed.
"""

from __future__ import annotations

import functools
import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.membership import Revocation, Revocations, read_revocation
from icn_lite.model.parcel import MAX_HOPS, MAX_LIFETIME_MS
from icn_lite.work import gossip, relay
from icn_lite.work.routes import Routes

TRANSMISSIONS = 5
RESEND_MS = 2_000
PULL_MS = 120_000
NOTICED_MS = 90_000
WAIT_MS = 15_000
MARGIN_MS = 150
REVOCATIONS_PAGE = 32  # as in mesh/limits.py, which this room doesn't know


@dataclass
class Link:
    """What happens on the way between two neighbours."""

    loss: float = 0.0
    twice: float = 0.0
    least_ms: int = 2
    most_ms: int = 40  # messages overtake one another


@dataclass(eq=False)
class SimNode:
    """The machines of one node, and what they did."""

    did: Did
    gossip: gossip.Gossip
    relay: relay.Relay
    neighbours: set[Did] = field(default_factory=set)
    down_ms: int | None = None  # since when it is gone
    liar: bool = False  # hands everything to everybody again, as if it were new
    heard: Counter[Cid] = field(default_factory=Counter)  # rumours delivered
    delivered: Counter[Cid] = field(default_factory=Counter)  # parcels delivered
    waiting: dict[Cid, tuple[Did | None, Callable[[bool], None]]] = field(default_factory=dict)
    answers: dict[Cid, bool] = field(default_factory=dict)
    until: dict[Cid, int] = field(default_factory=dict)
    places: dict[Did, int] = field(default_factory=dict)
    revoked: Revocations = field(default_factory=Revocations)
    revoked_places: dict[Did, int] = field(default_factory=dict)


class Net:
    """The network: a heap of what happens when."""

    def __init__(self, seed: int, edges: Iterable[tuple[int, int]], link: Link | None = None) -> None:
        self.random = random.Random(seed)
        self.link = link or Link()
        self.now_ms = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.nodes: dict[Did, SimNode] = {}
        self.order: list[SimNode] = []
        self.pushes: Counter[Cid] = Counter()  # rumours handed on, however often each was transmitted
        self.forwards: Counter[Cid] = Counter()
        self.cut: set[frozenset[Did]] = set()
        self.steps = 0
        for a, b in edges:
            one, two = self._node(a), self._node(b)
            one.neighbours.add(two.did)
            two.neighbours.add(one.did)

    def _node(self, number: int) -> SimNode:
        did = Did(hashlib.sha256(b"node %d" % number).digest())
        if did not in self.nodes:
            self.nodes[did] = SimNode(did, gossip.Gossip(did), relay.Relay(did, Routes()))
        while len(self.order) <= number:
            self.order.append(self.nodes[did])
        self.order[number] = self.nodes[did]
        return self.nodes[did]

    def at(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Do something later."""
        self._count += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._count, act))

    def run(self, for_ms: int) -> None:
        """Let time pass."""
        until_ms = self.now_ms + for_ms
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, act = heapq.heappop(self._events)
            self.steps += 1
            assert self.steps < 2_000_000, "a storm"
            act()
        self.now_ms = until_ms

    # -- messages

    def near(self, node: SimNode) -> set[Did]:
        """Whom a node takes for its neighbours: who went down is noticed after a while, a cut has lasted long."""
        here = {did for did in node.neighbours if frozenset((did, node.did)) not in self.cut}
        gone = {did: self.nodes[did].down_ms for did in here}
        return {did for did, since_ms in gone.items() if since_ms is None or self.now_ms - since_ms < NOTICED_MS}

    def message(self, one: SimNode, two: SimNode, arrive: Callable[[], None]) -> None:
        """One message, sent until its acknowledgement comes back."""
        done = [False]

        def acknowledge() -> None:
            done[0] = True

        def arrives() -> None:
            if two.down_ms is None:
                arrive()
                self._wire(two, one, acknowledge)

        def transmit(number: int) -> None:
            if not done[0] and number < TRANSMISSIONS and one.down_ms is None:
                self._wire(one, two, arrives)
                self.at(RESEND_MS << min(number, 3), lambda: transmit(number + 1))

        transmit(0)

    def _wire(self, one: SimNode, two: SimNode, arrive: Callable[[], None]) -> None:
        if frozenset((one.did, two.did)) in self.cut:
            return
        copies = 2 if self.random.random() < self.link.twice else 1
        for _ in range(copies):
            if self.random.random() >= self.link.loss:
                self.at(self.random.randint(self.link.least_ms, self.link.most_ms), arrive)

    # -- gossip

    def begin(self, node: SimNode, text: bytes, lifetime_ms: int = MAX_LIFETIME_MS) -> Cid:
        """A rumour begins."""
        cid = Cid.of_raw(node.did.public_key + text)
        rumour = gossip.Rumour(cid, node.did, text, MAX_HOPS, 0, lifetime_ms)
        node.heard[cid] += 1
        self._gossip(node, node.gossip.heard(rumour, None, self.near(node), self.now_ms))
        return cid

    def _hear(self, node: SimNode, rumour: gossip.Rumour, source: SimNode) -> None:
        if rumour.origin != node.did:
            node.relay.routes.learn(rumour.origin, source.did, MAX_HOPS - rumour.hops, self.now_ms)
            node.relay.heard_of(rumour.origin)
        if node.liar and node.heard[rumour.id] < 3:
            node.heard[rumour.id] += 1
            fresh = gossip.Rumour(rumour.id, rumour.origin, rumour.block, MAX_HOPS, 0, rumour.lifetime_ms)
            for did in self.near(node):
                self.message(node, self.nodes[did], lambda d=did: self._hear(self.nodes[d], fresh, node))
            return
        self._gossip(node, node.gossip.heard(rumour, source.did, self.near(node), self.now_ms))

    def _gossip(self, node: SimNode, effects: list[gossip.Effect]) -> None:
        for effect in effects:
            match effect:
                case gossip.Deliver(cid):
                    node.heard[cid] += 1
                case gossip.Push(cid, targets):
                    self.pushes[cid] += len(targets)
                    told = node.gossip.told(cid, self.now_ms)
                    for did in targets if told is not None else ():
                        self.message(node, self.nodes[did], lambda d=did, t=told: self._hear(self.nodes[d], t, node))

    def pull(self, node: SimNode, other: SimNode) -> None:
        """`node` asks `other` what it has heard since it was last asked."""

        def asked() -> None:
            names, after = other.gossip.page(node.places.get(other.did, 0), self.now_ms)
            self.message(other, node, lambda: answered(names, after))

        def answered(names: tuple[Cid, ...], after: int) -> None:
            node.places[other.did] = after
            for cid in names:
                if not node.gossip.knows(cid):
                    self.message(node, other, lambda c=cid: wanted(c))

        def wanted(cid: Cid) -> None:
            told = other.gossip.told(cid, self.now_ms)
            if told is not None:
                self.message(other, node, lambda: self._hear(node, told, other))

        self.message(node, other, asked)

    def pull_for_ever(self) -> None:
        """Every node asks each neighbour now and then."""
        for node in self.order:
            for did in sorted(node.neighbours, key=lambda did: did.public_key):
                self._again(node, self.nodes[did], self.random.randrange(PULL_MS))

    def _again(self, node: SimNode, other: SimNode, delay_ms: int) -> None:
        def act() -> None:
            self.pull(node, other)
            self._again(node, other, PULL_MS)

        self.at(delay_ms, act)

    # -- revocations

    def revoke(self, node: SimNode, sealed: Sealed[Revocation]) -> None:
        """A node hears of a revocation, or makes it; whoever hears it for the first time tells others."""
        if not node.revoked.add(sealed):
            return
        for did in gossip.chosen(sealed.cid, node.did, self.near(node), gossip.REVOCATION_FAN_OUT):
            self.pushes[sealed.cid] += 1
            self.message(node, self.nodes[did], lambda d=did: self.revoke(self.nodes[d], sealed))

    def pull_revocations(self, node: SimNode, other: SimNode) -> None:
        """`node` asks `other` what it has heard since it was last asked, page by page."""

        def asked() -> None:
            blocks, after = other.revoked.page(node.revoked_places.get(other.did, 0), REVOCATIONS_PAGE)
            self.message(other, node, lambda: answered(blocks, after))

        def answered(blocks: tuple[bytes, ...], after: int) -> None:
            node.revoked_places[other.did] = after
            for block in blocks:
                self.revoke(node, _read(block))
            if len(blocks) == REVOCATIONS_PAGE:
                self.pull_revocations(node, other)

        self.message(node, other, asked)

    # -- relay

    def send(self, one: SimNode, to: Did, text: bytes) -> Cid:
        """A parcel begins; what came of it stands in `one.answers` later."""
        cid = Cid.of_raw(one.did.public_key + to.public_key + text)
        self._arrive(one, relay.Arrived(cid, to, None, MAX_HOPS, 1000), WAIT_MS, lambda ok: None)
        return cid

    def _arrive(self, node: SimNode, arrived: relay.Arrived, wait_ms: int, reply: Callable[[bool], None]) -> None:
        effect = node.relay.handle(arrived, self.near(node), self.now_ms)[0]
        if isinstance(effect, relay.Repeat):
            if arrived.id in node.answers:
                reply(node.answers[arrived.id])
            return
        if isinstance(effect, relay.GiveUp):
            if arrived.source is None:
                node.answers[arrived.id] = False
            reply(False)
            return
        node.waiting[arrived.id] = (arrived.source, reply)
        node.until[arrived.id] = self.now_ms + wait_ms
        self._relay(node, effect)

    def _relay(self, node: SimNode, effect: relay.Effect) -> None:
        match effect:
            case relay.Deliver(cid):
                node.delivered[cid] += 1
                self._answer(node, cid, True)
            case relay.Forward():
                self._forward(node, effect)
            case relay.GiveUp(cid):
                self._answer(node, cid, False)

    def _forward(self, node: SimNode, effect: relay.Forward) -> None:
        cid, hop, to = effect.id, effect.hop, node.relay._passing[effect.id].to
        self.forwards[cid] += 1
        left_ms = node.until[cid] - self.now_ms
        wait_ms = effect.wait_ms(left_ms)
        arrived = relay.Arrived(cid, to, node.did, effect.hops, 1000)
        ended = [False]

        def reply(ok: bool) -> None:
            self.message(self.nodes[hop], node, lambda: came(ok))

        def came(ok: bool, silent: bool = False) -> None:
            if not ended[0]:
                ended[0] = True
                if ok:
                    self._answer(node, cid, True)
                else:
                    failed(silent)

        def failed(silent: bool) -> None:
            for after in node.relay.handle(relay.Failed(cid, hop, silent), self.near(node), self.now_ms):
                self._relay(node, after)

        other = self.nodes[hop]
        self.message(node, other, lambda: self._arrive(other, arrived, wait_ms - MARGIN_MS, reply))
        self.at(max(0, wait_ms), lambda: came(False, True))

    def _answer(self, node: SimNode, cid: Cid, ok: bool) -> None:
        if ok:
            node.relay.handle(relay.Answered(cid), self.near(node), self.now_ms)
        node.answers[cid] = ok
        node.waiting[cid][1](ok)


@functools.cache
def _read(block: bytes) -> Sealed[Revocation]:
    """Its signature is checked once and not by each of fifty nodes."""
    return read_revocation(block)


def line(count: int) -> list[tuple[int, int]]:
    """Each with the next."""
    return [(number, number + 1) for number in range(count - 1)]


def grid(width: int, height: int) -> list[tuple[int, int]]:
    """Each with those beside, above and below."""
    across = [(y * width + x, y * width + x + 1) for y in range(height) for x in range(width - 1)]
    return across + [(y * width + x, y * width + x + width) for y in range(height - 1) for x in range(width)]


def tangle(count: int, seed: int) -> list[tuple[int, int]]:
    """A random tree and as many further edges."""
    draw = random.Random(seed)
    tree = [(draw.randrange(number), number) for number in range(1, count)]
    more = [tuple(draw.sample(range(count), 2)) for _ in range(count)]
    return tree + [(a, b) for a, b in more]


SHAPES: dict[str, list[tuple[int, int]]] = {
    "line": line(50),
    "grid": grid(10, 5),
    "ring": [*line(50), (49, 0)],
    "crowd": [(a, b) for a in range(50) for b in range(a)],
    "tangle": tangle(50, 7),
}
BAD = Link(loss=0.2, twice=0.1, most_ms=400)
POOR = Link(loss=0.05, twice=0.05, most_ms=60)
