"""Revocations among fifty nodes: each hears of each at a bounded price; after loss and partitions by asking."""

from __future__ import annotations

import pytest
from gossip_net import BAD, REVOCATIONS_PAGE, SHAPES, Link, Net, SimNode, grid

from icn_lite.mesh import limits
from icn_lite.model.cose import KeySigner
from icn_lite.model.document import Sealed, seal
from icn_lite.model.membership import Revocation
from icn_lite.work.gossip import REVOCATION_FAN_OUT

LOSSY = [(shape, seed) for shape in SHAPES for seed in range(1 if shape == "crowd" else 3)]  # a crowd takes seconds
COOPERATIVE = KeySigner(b"\xc0" * 32)


def revocation(number: int, revoked_at: int = 1_800_000_000) -> Sealed[Revocation]:
    member = KeySigner(number.to_bytes(4, "big") * 8).did
    return seal(Revocation(COOPERATIVE.did, COOPERATIVE.did, member, revoked_at, bytes(16)), COOPERATIVE)


def known(net: Net) -> list[int]:
    return [len(node.revoked) for node in net.order]


def ask_round(net: Net) -> None:
    """Every node asks each of its neighbours, as it does every five minutes."""
    for node in net.order:
        for did in sorted(net.near(node), key=lambda did: did.public_key):
            net.pull_revocations(node, net.nodes[did])


def test_a_page_is_that_of_the_mesh() -> None:
    assert REVOCATIONS_PAGE == limits.REVOCATIONS_PAGE


@pytest.mark.parametrize("shape", SHAPES)
def test_everybody_hears_it_at_a_bounded_price(shape: str) -> None:
    net = Net(1, SHAPES[shape])
    said = [revocation(number) for number in range(3)]
    for number, sealed in zip((0, 24, 49), said, strict=True):
        net.revoke(net.order[number], sealed)
    net.run(60_000)
    if shape == "crowd":  # eight of 49 each may miss somebody, who asks
        assert min(known(net)) >= 2
        ask_round(net)
        net.run(60_000)
    assert set(known(net)) == {3}
    for sealed in said:
        assert net.pushes[sealed.cid] <= REVOCATION_FAN_OUT * len(net.order)


@pytest.mark.parametrize(("shape", "seed"), LOSSY)
def test_so_it_is_with_loss_duplicates_and_reordering(shape: str, seed: int) -> None:
    net = Net(seed, SHAPES[shape], BAD)
    sealed = revocation(seed)
    net.revoke(net.order[seed], sealed)
    net.run(120_000)
    for _ in range(2):
        ask_round(net)
        net.run(120_000)
    assert set(known(net)) == {1}, f"seed {seed}"
    assert net.pushes[sealed.cid] <= REVOCATION_FAN_OUT * len(net.order)


@pytest.mark.parametrize("seed", range(3))
def test_after_a_partition_both_halves_hear_what_they_missed(seed: int) -> None:
    """More than a page on one side; on the other a newer one of somebody whom both have put out."""
    net = Net(seed, grid(10, 5), Link(loss=0.05, twice=0.05))
    left = {node.did for number, node in enumerate(net.order) if number % 10 < 5}
    net.cut = {frozenset((a, b)) for a in left for b in net.nodes[a].neighbours - left}
    for number in range(REVOCATIONS_PAGE + 8):
        net.revoke(net.order[0], revocation(number))
    newer = revocation(0, 1_800_000_500)
    net.revoke(net.order[49], newer)
    net.run(60_000)
    assert {len(node.revoked) for node in net.order if node.did in left} == {REVOCATIONS_PAGE + 8}
    assert {len(node.revoked) for node in net.order if node.did not in left} == {1}
    healed, net.cut = net.cut, set()
    for pair in sorted(healed, key=lambda pair: sorted(did.public_key for did in pair)):
        one, two = sorted((net.nodes[did] for did in pair), key=lambda node: node.did.public_key)
        net.pull_revocations(one, two)  # they meet again
        net.pull_revocations(two, one)
    net.run(120_000)
    ask_round(net)  # whom loss kept from hearing
    net.run(120_000)
    assert set(known(net)) == {REVOCATIONS_PAGE + 8}, f"seed {seed}"
    assert all(_latest(node, newer) == newer.document.revoked_at for node in net.order)


def _latest(node: SimNode, of: Sealed[Revocation]) -> int:
    return node.revoked.latest(COOPERATIVE.did, of.document.member)


def test_what_was_heard_is_not_told_again() -> None:
    net = Net(1, grid(10, 5))
    sealed = revocation(1)
    net.revoke(net.order[0], sealed)
    net.run(60_000)
    told = net.pushes[sealed.cid]
    for node in net.order:
        net.revoke(node, sealed)
    net.revoke(net.order[3], revocation(1, 1_700_000_000))  # an older one says nothing new
    net.run(60_000)
    assert net.pushes[sealed.cid] == told
    assert set(known(net)) == {1}
