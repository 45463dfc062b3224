"""mDNS: two nodes in one process find each other, or `available` says why not."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import subprocess
import sys

import pytest
import zeroconf.asyncio
from mesh_samples import OTHER, SIGNER
from zeroconf import InterfaceChoice, IPVersion

from icn_lite.mesh import discovery
from icn_lite.mesh.discovery import SERVICE, Candidate, Discovery, DiscoveryConfig
from icn_lite.model.cose import KeySigner

WAIT_S = 20.0


class Seen:
    """What a discovery reported."""

    def __init__(self) -> None:
        self.candidates: asyncio.Queue[Candidate] = asyncio.Queue()
        self.withdrawn: asyncio.Queue[str] = asyncio.Queue()

    def node(self, signer: KeySigner, port: int) -> Discovery:
        config = DiscoveryConfig(signer.did, port, "127.0.0.1")
        return Discovery(config, self.candidates.put_nowait, self.withdrawn.put_nowait)

    async def candidate(self, name: str) -> Candidate:
        """The next candidate of that name."""
        while True:
            found = await self.candidates.get()
            if found.name == name:
                return found


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_name_that_is_taken_is_said() -> None:
    port = free_port()
    first, second = Seen().node(SIGNER, port), Seen().node(SIGNER, port)
    try:
        if not await started(first):
            pytest.skip(first.why)
        await started(second)
        async with asyncio.timeout(WAIT_S):
            assert second._announcing is not None
            await second._announcing
        assert not second.available
        assert "NonUniqueName" in second.why
    finally:
        await second.close()
        await first.close()


async def started(node: Discovery) -> bool:
    """Start within its promise, and say whether multicast is available."""
    async with asyncio.timeout(discovery.START_MS / 1000 + 5.0):
        await node.start()
    return node.available


async def test_two_nodes_find_each_other_and_notice_leaving() -> None:
    first_sees, second_sees = Seen(), Seen()
    ports = free_port(), free_port()  # they stand in the names: other tests and nodes may be announced here too
    first, second = first_sees.node(SIGNER, ports[0]), second_sees.node(OTHER, ports[1])
    try:
        if not await started(first):
            assert "multicast is refused here" in first.why
            pytest.skip(first.why)
        assert "works here" in first.why
        assert await started(second)
        async with asyncio.timeout(WAIT_S):
            found = await second_sees.candidate(first.name)
            assert (found.did, found.uris, found.source) == (SIGNER.did, (f"coap://127.0.0.1:{ports[0]}",), "mdns")
            found = await first_sees.candidate(second.name)
            assert (found.did, found.uris) == (OTHER.did, (f"coap://127.0.0.1:{ports[1]}",))
            await second.close()
            while await first_sees.withdrawn.get() != second.name:
                pass
    finally:
        await first.close()
        await second.close()


def test_names_fit_a_label_and_differ() -> None:
    names = {Seen().node(signer, port).name for signer in (SIGNER, OTHER) for port in (1, 65_535)}
    assert len(names) == 4
    for name in names:
        assert name.endswith(SERVICE)
        assert len(name.removesuffix("." + SERVICE).encode()) <= discovery.MAX_NAME_BYTES


async def test_no_socket_for_multicast_is_said_and_the_node_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(discovery, "AsyncZeroconf", refuse)
    node = Seen().node(SIGNER, 40_003)
    assert not await started(node)
    assert node.why == "multicast is refused here: No such device; using static peers"
    await node.close()


async def test_silence_is_said_within_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every packet is dropped, registering succeeds, and nothing is heard."""
    monkeypatch.setattr(discovery, "START_MS", 100)
    node = Seen().node(SIGNER, 40_004)
    node._changed = lambda *_, **__: None  # type: ignore[method-assign]
    assert not await started(node)
    assert "not heard within 100 ms" in node.why
    await node.close()


@pytest.mark.parametrize(
    ("platform", "bind", "interfaces", "version"),
    [
        ("android", "::", InterfaceChoice.Default, IPVersion.V4Only),
        ("linux", "::", InterfaceChoice.All, IPVersion.All),
        ("linux", "0.0.0.0", InterfaceChoice.All, IPVersion.V4Only),
        ("linux", "127.0.0.1", ["127.0.0.1"], IPVersion.V4Only),
        ("android", "::1", ["::1"], IPVersion.V6Only),
    ],
)
def test_interfaces_by_platform_and_address(
    monkeypatch: pytest.MonkeyPatch, platform: str, bind: str, interfaces: object, version: IPVersion
) -> None:
    monkeypatch.setattr(discovery.sys, "platform", platform)
    monkeypatch.setattr(discovery, "AsyncZeroconf", lambda **chosen: chosen)
    node = Discovery(DiscoveryConfig(SIGNER.did, 1, bind), print, print)
    assert node._open() == {"interfaces": interfaces, "ip_version": version}


WITHOUT_NETWORK = """
import asyncio, sys
from icn_lite.mesh.discovery import Discovery, DiscoveryConfig
from icn_lite.model.cose import KeySigner

async def main(bind):
    node = Discovery(DiscoveryConfig(KeySigner(bytes(32)).did, 1, bind), print, print)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await node.start()
    print(node.available, loop.time() - begun < 5, node.why)
    await node.close()

asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize("bind", ["127.0.0.1", "::"])
def test_without_any_network(bind: str) -> None:
    """A real place without multicast: a network namespace whose only interface is down."""
    unshare = shutil.which("unshare")
    enter = [unshare or "unshare", "--user", "--map-root-user", "--net"]
    if unshare is None or subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network namespace can't be made here (util-linux's unshare, or the kernel's permission)")
    done = subprocess.run(
        [*enter, sys.executable, "-W", "error", "-c", WITHOUT_NETWORK, bind],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    available, in_time, *why = done.stdout.split()
    assert (available, in_time) == ("False", "True")
    assert " ".join(why).startswith("multicast is refused here: ")


def info(port: int = 5, **properties: str) -> zeroconf.asyncio.AsyncServiceInfo:
    return zeroconf.asyncio.AsyncServiceInfo(
        SERVICE, f"x.{SERVICE}", port=port, addresses=[bytes([10, 0, 0, n]) for n in range(1, 9)], properties=properties
    )


def test_what_strangers_announce() -> None:
    read = discovery._candidate
    honest = read("x", info(did=str(SIGNER.did)))
    assert honest is not None
    assert honest.did == SIGNER.did
    assert honest.uris == tuple(f"coap://10.0.0.{n}:5" for n in range(1, 5))
    for claim in ("", "did:key:z6Mk", "did:web:x", "\N{SNOWMAN}" * 20, "did:key:z" + "1" * 200):
        lying = read("x", info(did=claim))
        assert lying is not None
        assert lying.did is None
    assert read("x", info(port=0)) is None
    nowhere = zeroconf.asyncio.AsyncServiceInfo(
        SERVICE, f"x.{SERVICE}", port=5, addresses=[bytes(4), bytes([224, 0, 0, 1]), bytes([169, 254, 0, 1])]
    )
    assert read("x", nowhere) is None
