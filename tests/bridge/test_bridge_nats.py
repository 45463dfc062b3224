"""NATS's own: addresses, the login with the node's key, mail that is none, and what a killed bridge had taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from bridge_harness import Ear, until
from mesh_samples import OTHER, announcement, bid
from nats.aio.client import Client
from nats_servers import NatsHarness, signer_of
from store_samples import chain_of

from icn_lite.bridge import nats_layout as layout
from icn_lite.bridge import nkey
from icn_lite.bridge.nats import NatsUpstream
from icn_lite.bridge.nats_address import NatsAddress
from icn_lite.bridge.upstream import BidMade, JobAnnounced, ReceiptCame, State
from icn_lite.model.errors import NotSupported, UsageError
from icn_lite.node.upstreams import check_upstreams


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[NatsHarness]:
    made = NatsHarness(tmp_path)
    yield made
    await made.close()


async def raw_client(harness: NatsHarness, name: str = "third") -> Client:
    """Somebody with a key that the hub knows, who sends what it likes."""
    client, signer = Client(), signer_of(name)
    client._public_nkey = nkey.public_nkey(signer.did)
    await client.connect(
        (await harness.address(name)).url, signature_cb=lambda nonce: nkey.answer(signer, nonce), allow_reconnect=False
    )
    return client


@pytest.mark.parametrize(
    ("text", "url", "domain"),
    [
        ("nats://hub.example", "nats://hub.example:4222", None),
        ("tls://hub.example:443?domain=hub", "tls://hub.example:443", "hub"),
        ("nats://[::1]:4222?domain=x", "nats://[::1]:4222", "x"),
    ],
)
def test_addresses(text: str, url: str, domain: str | None) -> None:
    address = NatsAddress.parse(text)
    assert (address.url, address.domain) == (url, domain)
    assert NatsAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "nats://", "nats://user:password@hub", "nats://hub:99999", "nats://hub/path", "nats://hub?other=1", "http://hub",
        "icn-core+http://", "icn-core+ftp://hub", "icn-core+http://hub/path", "icn-core+http://hub?key=1",
        "icn-core+http://hub?key-file=/nowhere/at/all", "icn-core+http://u:p@hub", "hub",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_upstreams([text])
    assert "://" in refused.value.hint or "own key" in refused.value.hint


def test_nats_py_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "icn_lite.bridge.nats", None)
    with pytest.raises(NotSupported, match="nats-py") as refused:
        check_upstreams(["nats://hub"])
    assert "icn-lite[nats]" in refused.value.hint


def test_a_nodes_key_as_an_nkey() -> None:
    """56 characters that begin with U, and whose checksum holds."""
    import base64
    import binascii

    text = nkey.public_nkey(OTHER.did)
    assert len(text) == 56
    assert text.startswith("U")
    data = base64.b32decode(text)
    assert data[1:33] == OTHER.did.public_key
    assert binascii.crc_hqx(data[:33], 0) == int.from_bytes(data[33:], "little")


async def test_a_key_that_the_hub_does_not_know_is_turned_away_and_said_so(harness: NatsHarness) -> None:
    upstream = NatsUpstream(await harness.address("here"), signer_of("nobody"), Random(1))
    await upstream.start()
    harness.upstreams.append(upstream)
    await until(lambda: "authorization" in upstream.health().last_error.lower())
    assert upstream.health().state is not State.UP


async def test_junk_in_the_mail_is_left_out_and_holds_up_nothing(harness: NatsHarness) -> None:
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear, stranger = Ear(there), await raw_client(harness)
    to, by = layout.token(signer_of("there").did), layout.token(signer_of("third").did)
    for subject, data in (
        (layout.work_subject(to, "job", by), b"junk"),
        (layout.work_subject(to, "job", by), bid().block),  # signed, and another kind
        (f"{layout.ROOT}.work.{to}.nonsense.{by}", announcement().block),
        (layout.receipt_subject(to, by), announcement().block),
        (layout.receipt_subject(to, by), b""),
        (layout.ack_subject(chain_of(OTHER, 1)[0].cid), b"junk"),
    ):
        await stranger.publish(subject, data)
    await stranger.flush()
    await here.announce(announcement())
    event = (await ear.next()).event
    assert isinstance(event, JobAnnounced)
    assert event.announcement == announcement()
    await here.put_receipt(chain_of(OTHER, 1)[0], to)
    assert isinstance((await ear.next()).event, ReceiptCame)
    assert ear.heard.empty()
    await stranger.close()
    await ear.close()


async def test_a_bridge_speaks_in_its_own_name_only(harness: NatsHarness) -> None:
    here = await harness.bridge("here")
    stranger, ear = await raw_client(harness), Ear(here)
    to, by = layout.token(signer_of("here").did), layout.token(signer_of("there").did)
    await stranger.publish(layout.work_subject(to, "bid", by), bid().block)  # in another's name: refused by the hub
    await stranger.publish(layout.work_subject(to, "bid", layout.token(signer_of("third").did)), bid(OTHER).block)
    await stranger.flush()
    event = (await ear.next()).event
    assert isinstance(event, BidMade)
    assert event.bid == bid(OTHER)
    assert ear.heard.empty()
    await stranger.close()
    await ear.close()


async def test_what_a_killed_bridge_had_taken_comes_again(
    harness: NatsHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "ACK_WAIT_S", 1.0)
    here, there = await harness.bridge("here"), await harness.bridge("there")
    ear = Ear(there)
    await here.bid(bid(), layout.token(signer_of("there").did))
    await ear.next(confirm=False)
    await ear.close()
    assert isinstance(there, NatsUpstream)
    task = there._task
    assert task is not None
    monkeypatch.setattr(there, "_drop", _die)
    await there.close()
    again = Ear(await harness.bridge("there"))
    assert isinstance((await again.next()).event, BidMade)
    await again.close()


async def _die(client: Client) -> None:
    """As a killed process leaves its connection: closed by the kernel, without a word."""
    assert client._transport is not None
    client._transport.close()
    await client.close()
