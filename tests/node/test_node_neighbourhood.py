"""A machine that moves or sleeps finds its neighbours again; what answered on the link is greeted, not we ourselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.endpoint import Endpoint
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cose import KeySigner
from icn_lite.node import neighbourhood
from icn_lite.node.config import Config
from icn_lite.node.neighbourhood import ASK_ALONE_MS, SLEPT_S, Neighbourhood
from icn_lite.node.peerbook import PeerBook
from icn_lite.node.shell import Shell
from icn_lite.store.peers import Found

OWN = KeySigner(b"\x01" * 32)
PORT = 5683


@dataclass
class Machine:
    """Addresses, a clock and a sleep that the test sets."""

    hosts: tuple[str, ...] = ("10.0.0.1",)
    zoned: tuple[str, ...] = ()
    slept_s: float = 0.0
    now_ms: int = 0
    groups_heard: int = 0
    rings: int = 0
    port: int = PORT
    limits: MeshLimits = field(default_factory=MeshLimits)

    def addresses(self) -> tuple[str, ...]:
        return tuple(str(PeerAddress(host, PORT)) for host in self.hosts)

    def hear_groups(self) -> int:
        self.groups_heard += 1
        return 1

    def ring(self) -> None:
        self.rings += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    here = Machine()
    monkeypatch.setattr(neighbourhood, "link_local", lambda: here.zoned)
    monkeypatch.setattr(neighbourhood, "own_hosts", lambda: frozenset((*here.hosts, *here.zoned)))
    return here


def made(machine: Machine, config: Config) -> tuple[Neighbourhood, PeerBook]:
    book = PeerBook(OWN.did)
    shell = SimpleNamespace(
        did=OWN.did, peers=book, changed=machine, endpoints=(), clock=SimpleNamespace(now_ms=lambda: machine.now_ms)
    )
    node = Neighbourhood(cast(Shell, shell), cast(Endpoint, machine), config, lambda: machine.slept_s)
    return node, book


def silent(book: PeerBook, uri: str) -> None:
    """A candidate that did not answer five times, and is asked rarely now."""
    book.propose([uri], Found.STATIC, 0)
    book.candidates[uri].silent, book.candidates[uri].next_ms = 5, 10**9


@pytest.mark.parametrize("what", ["address", "link-local address", "sleep"])
async def test_after_a_move_or_a_sleep_everybody_is_greeted_at_once(machine: Machine, what: str) -> None:
    node, book = made(machine, Config(mdns=False))
    uri = "coap://10.0.0.9:5683"
    silent(book, uri)
    machine.now_ms = 1000
    assert not await node.look()
    assert book.due(machine.now_ms, 8) == []
    match what:
        case "address":
            machine.hosts = ("192.168.7.2",)
        case "link-local address":
            machine.zoned = ("fe80::2",)
        case _:
            machine.slept_s = SLEPT_S + 1
    assert await node.look()
    assert [candidate.uri for candidate in book.due(machine.now_ms, 8)] == [uri]
    assert (machine.groups_heard, machine.rings) == (1, 1)
    assert node._shell.endpoints == machine.addresses()
    assert not await node.look(), "once"


async def test_clocks_that_drift_a_little_are_no_sleep(machine: Machine) -> None:
    node, _ = made(machine, Config(mdns=False))
    machine.slept_s = SLEPT_S - 1
    assert not await node.look()


async def test_what_answers_is_proposed_and_we_are_not(machine: Machine) -> None:
    node, book = made(machine, Config())
    machine.zoned = ("fe80::1",)
    others = ("coap://10.0.0.2:5683", "coap://[fe80::2%eth0]:5683", "coap://10.0.0.1:5684")
    node.answered(("coap://10.0.0.1:5683", "coap://[fe80::1%eth0]:5683", *others))
    assert {(c.uri, c.found) for c in book.candidates.values()} == {(uri, Found.MULTICAST) for uri in others}


@pytest.mark.parametrize(
    ("config", "asks"), [(Config(), True), (Config(mdns=False), False), (Config(bind="127.0.0.1"), False)]
)
async def test_links_are_asked_now_and_then(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, config: Config, asks: bool
) -> None:
    asked: list[tuple[int, ...]] = []

    async def ask(ports: tuple[int, ...], leisure_ms: int) -> tuple[str, ...]:
        asked.append(ports)
        return ()

    monkeypatch.setattr(neighbourhood.multicast, "ask", ask)
    node, _ = made(machine, config)
    for machine.now_ms in (0, 1, ASK_ALONE_MS - 1, ASK_ALONE_MS, ASK_ALONE_MS + 1):
        await node.ask_when_due()
    assert len(asked) == (2 if asks else 0)


def test_how_long_this_machine_slept() -> None:
    assert neighbourhood.suspended_s() > -1
