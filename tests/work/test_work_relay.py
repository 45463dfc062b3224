"""The relay: parcels reach whoever is there, once, at a bounded price; routes, quotas and liars."""

from __future__ import annotations

import hashlib

import pytest
from gossip_net import POOR, SHAPES, Net, grid, line

from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.parcel import MAX_HOPS
from icn_lite.work.quota import Bucket, Quotas
from icn_lite.work.relay import (
    UNDER_WAY_MS,
    Answered,
    Arrived,
    Deliver,
    Failed,
    Forward,
    GiveUp,
    Relay,
    RelayBounds,
    Repeat,
    Why,
)
from icn_lite.work.routes import MAX_ROUTES, MAX_WAYS, ROUTE_MS, Routes

TRIES = RelayBounds().tries


def did(number: int) -> Did:
    return Did(hashlib.sha256(b"did %d" % number).digest())


OWN, FAR = did(100), did(200)
NEAR = [did(number) for number in range(6)]


def arrived(text: bytes, to: Did = FAR, source: Did | None = NEAR[0], hops: int = 10, size: int = 100) -> Arrived:
    return Arrived(Cid.of_raw(text), to, source, hops, size)


def beacons(net: Net) -> None:
    """Everybody says that it is there, so that routes are known."""
    for node in net.order:
        net.begin(node, b"here")
    net.run(60_000)


# -- fifty nodes


@pytest.mark.parametrize("shape", SHAPES)
def test_parcels_take_the_way_that_rumours_came(shape: str) -> None:
    net = Net(2, SHAPES[shape])
    beacons(net)
    pairs = [(0, 49), (49, 0), (13, 31), (31, 13)]
    cids = [net.send(net.order[a], net.order[b].did, b"bid") for a, b in pairs]
    net.run(20_000)
    for cid, (a, b) in zip(cids, pairs, strict=True):
        assert net.order[a].answers[cid] is True
        assert sum(node.delivered[cid] for node in net.order) == net.order[b].delivered[cid] == 1
        assert net.forwards[cid] < len(net.order)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shape", ["grid", "tangle", "ring"])
def test_over_bad_links_what_is_sent_again_arrives(shape: str, seed: int) -> None:
    net = Net(seed, SHAPES[shape], POOR)
    beacons(net)
    one, other = net.order[0], net.order[37]
    for attempt in range(8):  # as an executor sends its receipt until it is acknowledged
        cid = net.send(one, other.did, b"receipt %d" % attempt)
        net.run(60_000)
        assert net.forwards[cid] <= TRIES * len(net.order)
        assert all(node.delivered[cid] <= 1 for node in net.order)
        if one.answers[cid]:
            return
    raise AssertionError(f"seed {seed}: nothing arrived")


def test_without_routes_a_few_are_tried_and_nothing_circles() -> None:
    net = Net(3, grid(10, 5))
    cid = net.send(net.order[0], net.order[49].did, b"bid")
    net.run(30_000)
    assert net.forwards[cid] <= TRIES * len(net.order)
    assert sum(node.delivered[cid] for node in net.order) <= 1
    again = net.send(net.order[0], net.order[11].did, b"bid")
    net.run(30_000)
    assert net.order[0].answers[again] is True


def test_around_nodes_that_went_away() -> None:
    net = Net(4, grid(10, 5))
    beacons(net)
    for number in (5, 15, 25, 35):  # all of a column but its end
        net.order[number].down_ms = net.now_ms
    for attempt in range(6):
        cid = net.send(net.order[0], net.order[9].did, b"bid %d" % attempt)
        net.run(60_000)
        assert net.forwards[cid] <= TRIES * len(net.order)
        if net.order[0].answers[cid]:
            break
    assert net.order[0].answers[cid] is True
    assert net.order[9].delivered[cid] == 1


def test_who_is_nowhere_costs_little() -> None:
    net = Net(5, SHAPES["tangle"])
    beacons(net)
    first = net.send(net.order[0], FAR, b"bid")
    while first not in net.order[0].answers:
        net.run(500)
    second = net.send(net.order[0], FAR, b"bid again")
    assert net.order[0].answers[first] is False
    assert net.order[0].answers[second] is False
    assert net.forwards[first] <= TRIES * len(net.order)
    assert net.forwards[second] == 0


def test_no_further_than_its_hops() -> None:
    net = Net(6, line(100))
    cid = net.send(net.order[0], net.order[99].did, b"bid")
    net.run(30_000)
    assert net.order[0].answers[cid] is False
    assert net.forwards[cid] == MAX_HOPS


# -- one node


def test_known_ways_first_then_others_then_nobody() -> None:
    relay = Relay(OWN, Routes())
    relay.routes.learn(FAR, NEAR[3], 4, 0)
    relay.routes.learn(FAR, NEAR[2], 2, 0)
    asked = arrived(b"a")
    [first] = relay.handle(asked, NEAR, 1)
    assert first == Forward(asked.id, NEAR[2], 9, 4)
    [second] = relay.handle(Failed(asked.id, NEAR[2]), NEAR, 2)
    assert second == Forward(asked.id, NEAR[3], 9, 6)
    assert relay.routes.ways(FAR, NEAR, 2)[0].via == NEAR[3]
    [third] = relay.handle(Failed(asked.id, NEAR[3]), NEAR, 3)
    assert isinstance(third, Forward)
    assert third.hop not in (NEAR[0], NEAR[2], NEAR[3])
    [fourth] = relay.handle(Failed(asked.id, third.hop), NEAR, 4)
    assert isinstance(fourth, Forward)
    assert fourth.parts == 0
    assert relay.handle(Failed(asked.id, fourth.hop), NEAR, 5) == [GiveUp(asked.id, Why.NO_WAY)]
    assert relay.handle(arrived(b"b"), NEAR, 6) == [GiveUp(Cid.of_raw(b"b"), Why.NO_WAY)]
    relay.heard_of(FAR)
    assert isinstance(relay.handle(arrived(b"c"), NEAR, 7)[0], Forward)


def test_a_late_failure_of_another_neighbour_changes_nothing() -> None:
    relay = Relay(OWN, Routes())
    asked = arrived(b"a")
    [first] = relay.handle(asked, NEAR, 0)
    assert isinstance(first, Forward)
    assert relay.handle(Failed(asked.id, NEAR[0]), NEAR, 1) == []
    assert relay.handle(Answered(asked.id), NEAR, 2) == []
    assert relay.handle(Failed(asked.id, first.hop), NEAR, 3) == []
    assert relay.routes.ways(FAR, NEAR, 4)[0].via == first.hop


def test_the_same_neighbour_may_repeat_and_no_other() -> None:
    relay = Relay(OWN, Routes())
    asked = arrived(b"a", to=OWN)
    assert relay.handle(asked, NEAR, 0) == [Deliver(asked.id)]
    assert relay.handle(asked, NEAR, 1) == [Repeat(asked.id)]
    assert relay.handle(arrived(b"a", to=OWN, source=NEAR[1]), NEAR, 2) == [GiveUp(asked.id, Why.LOOP)]


def test_what_is_under_way_is_bounded_for_each_and_for_all() -> None:
    relay = Relay(OWN, Routes(), RelayBounds(under_way=5, of_neighbour=2))
    for text, source in ((b"a", 0), (b"b", 0)):
        assert isinstance(relay.handle(arrived(text, source=NEAR[source]), NEAR, 0)[0], Forward)
    assert relay.handle(arrived(b"c"), NEAR, 0) == [GiveUp(Cid.of_raw(b"c"), Why.BUSY)]
    for text, source in ((b"d", 1), (b"e", 1), (b"f", 2)):
        assert isinstance(relay.handle(arrived(text, source=NEAR[source]), NEAR, 0)[0], Forward)
    assert relay.handle(arrived(b"g", source=NEAR[3]), NEAR, 0) == [GiveUp(Cid.of_raw(b"g"), Why.BUSY)]
    relay.handle(Answered(Cid.of_raw(b"a")), NEAR, 1)
    assert isinstance(relay.handle(arrived(b"c"), NEAR, 1)[0], Forward)


def test_what_was_never_ended_takes_no_place_for_ever() -> None:
    relay = Relay(OWN, Routes(), RelayBounds(under_way=1))
    relay.handle(arrived(b"a"), NEAR, 0)
    assert relay.handle(arrived(b"b"), NEAR, UNDER_WAY_MS - 1) == [GiveUp(Cid.of_raw(b"b"), Why.BUSY)]
    assert isinstance(relay.handle(arrived(b"c"), NEAR, UNDER_WAY_MS)[0], Forward)


def test_a_silent_neighbour_comes_last_until_it_is_heard_of() -> None:
    relay = Relay(OWN, Routes())
    relay.routes.learn(FAR, NEAR[2], 2, 0)
    relay.handle(arrived(b"a"), NEAR, 0)
    relay.handle(Failed(Cid.of_raw(b"a"), NEAR[2], silent=True), NEAR, 1)
    relay.routes.learn(FAR, NEAR[2], 2, 2)
    first = relay.handle(arrived(b"b"), NEAR[:4], 3)[0]
    assert isinstance(first, Forward)
    assert first.hop != NEAR[2]
    relay.heard_of(NEAR[2])
    again = relay.handle(arrived(b"c"), NEAR[:4], 4)[0]
    assert isinstance(again, Forward)
    assert again.hop == NEAR[2]


def test_bytes_are_bounded_for_each() -> None:
    relay = Relay(OWN, Routes(), RelayBounds(bytes_per_s=1_000, burst_bytes=3_000))
    answers = []
    for number in range(5):
        asked = arrived(b"%d" % number, size=1_000)
        answers.append(relay.handle(asked, NEAR, 0)[0])
        relay.handle(Answered(asked.id), NEAR, 0)
    assert [isinstance(answer, Forward) for answer in answers] == [True, True, True, False, False]
    assert isinstance(relay.handle(arrived(b"x", source=NEAR[1], size=1_000), NEAR, 0)[0], Forward)
    assert isinstance(relay.handle(arrived(b"y", size=1_000), NEAR, 1_000)[0], Forward)


def test_hops_run_out_for_others_but_not_for_the_receiver() -> None:
    relay = Relay(OWN, Routes())
    assert relay.handle(arrived(b"a", hops=0), NEAR, 0) == [GiveUp(Cid.of_raw(b"a"), Why.FAR)]
    assert relay.handle(arrived(b"b", to=OWN, hops=0), NEAR, 0) == [Deliver(Cid.of_raw(b"b"))]
    assert relay.handle(arrived(b"c"), NEAR[:1], 0) == [GiveUp(Cid.of_raw(b"c"), Why.NO_WAY)]


def test_routes_prefer_the_near_forget_the_old_and_are_bounded() -> None:
    routes = Routes()
    for number, hops in enumerate((5, 2, 9, 3)):
        routes.learn(FAR, NEAR[number], hops, number)
    assert [way.hops for way in routes.ways(FAR, NEAR, 5)] == [2, 3, 5][:MAX_WAYS]
    assert [way.via for way in routes.ways(FAR, NEAR[:1], 5)] == [NEAR[0]]
    assert routes.ways(NEAR[0], NEAR, 5)[0].hops == 1
    assert routes.ways(FAR, NEAR, ROUTE_MS + 10) == []
    for number in range(MAX_ROUTES + 10):
        routes.learn(did(1000 + number), NEAR[0], 3, 0)
    assert len(routes) == MAX_ROUTES
    routes.lost(did(1000 + MAX_ROUTES), NEAR[0])
    assert len(routes) == MAX_ROUTES - 1


def test_a_quota_fills_again_with_time() -> None:
    quotas = Quotas(Bucket(burst=2, amount=1, per_ms=100))
    assert [quotas.take(FAR, 1, 0) for _ in range(3)] == [True, True, False]
    assert not quotas.take(FAR, 1, 99)
    assert quotas.take(FAR, 1, 100)
    assert quotas.take(OWN, 1, 100)
