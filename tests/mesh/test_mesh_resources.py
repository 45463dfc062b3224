"""Documents through real sockets: what is signed arrives unchanged, what is not is refused with its code."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import mesh_samples as samples
import pytest
from aiocoap.numbers.codes import Code
from hypothesis import HealthCheck, given, settings
from mesh_openers import Opener, RawOpener
from mesh_raw import until
from mesh_samples import Node

from icn_lite.mesh import problem, table
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.ports import Remote
from icn_lite.mesh.refusals import CODES, KINDS, refusal_of
from icn_lite.model import cose, document, errors
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Document, Sealed, seal
from icn_lite.model.errors import BidError, DiskFullError, JobErrorCode, PeerRefused, VerificationError
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    JobStatusUpdateV1,
    LeaseReturnV1,
)
from icn_lite.model.receipt import ExecutionReceipt, sign_receipt

POSTS: dict[type, str] = {
    CapabilityAdvertisementV1: table.CAPABILITY,
    JobAnnouncementV1: table.JOBS,
    Bid: table.BIDS,
    AssignJobV1: table.LEASES,
    LeaseReturnV1: table.LEASE_RETURNS,
    JobStatusUpdateV1: table.STATUS,
    ExecutionReceipt: table.RECEIPTS,
}
SAMPLES: dict[str, Callable[[], Sealed[Document]]] = {
    table.CAPABILITY: samples.advertisement,
    table.JOBS: samples.announcement,
    table.BIDS: samples.bid,
    table.LEASES: samples.lease,
    table.LEASE_RETURNS: samples.lease_return,
    table.STATUS: samples.status,
    table.RECEIPTS: samples.receipt,
}
OF_THE_CHANNEL = {table.HANDSHAKE, table.CHANNEL, table.REVOCATIONS}  # test_mesh_channel.py
OF_MEMBERSHIP = {table.MEMBERSHIP}  # tests/node/test_node_renewal.py
OF_PARCELS = {table.RUMOURS, table.PARCELS}  # test_mesh_parcels.py
OTHERS = OF_THE_CHANNEL | OF_PARCELS | OF_MEMBERSHIP | {table.DIRECTORY, table.SYNC}  # tested elsewhere
BODIES = {row.path: row.body for row in table.TABLE if row.body and row.path not in OTHERS}


def _strategies() -> ModuleType:
    path = Path(__file__).parents[1] / "model" / "model_strategies.py"
    spec = importlib.util.spec_from_file_location("model_strategies_for_mesh", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STRATEGIES = _strategies()


def test_every_post_of_the_table_is_tested() -> None:
    assert set(POSTS.values()) == set(SAMPLES) == set(BODIES)


@pytest.mark.parametrize("cls", list(POSTS), ids=lambda cls: cls.__name__)
def test_any_document_arrives_unchanged(cls: type) -> None:
    path = POSTS[cls]
    node, limits = Node(), MeshLimits(burst=10_000)

    @settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(STRATEGIES.of(cls))
    def property_holds(drawn: Document) -> None:
        signed = _signed(drawn)
        node.heard.clear()
        if len(signed.block) > BODIES[path]:
            with pytest.raises(PeerRefused, match="at most") as caught:
                runner.run(client.post(uri, path, signed.block))
            assert caught.value.response == "4.13"
            assert not node.heard
            return
        assert runner.run(client.post(uri, path, signed.block)).code == "2.04"
        assert node.heard == [signed]

    with asyncio.Runner() as runner:
        server, asker = (Endpoint(EndpointConfig("127.0.0.1", 0, limits), n) for n in (node, Node()))
        runner.run(server.start())
        runner.run(asker.start())

        async def make_client() -> Client:
            return Client(asker)

        client, uri = runner.run(make_client()), server.addresses()[0]
        property_holds()
        runner.run(asker.close())
        runner.run(server.close())


def _signed(drawn: Document) -> Sealed[Document]:
    """The document, as written by the test's signer."""
    if isinstance(drawn, ExecutionReceipt):
        short = dataclasses.replace(drawn, executor=samples.SIGNER.did, entry=None, args=(), results=())
        return sign_receipt(short, samples.SIGNER)
    return seal(dataclasses.replace(drawn, **{drawn.AUTHOR: samples.SIGNER.did}), samples.SIGNER)  # type: ignore[type-var]


@pytest.mark.parametrize("path", list(SAMPLES))
async def test_another_kind_is_refused_everywhere(open_endpoint: Opener, client: Client, path: str) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    other = samples.status if path != table.STATUS else samples.bid
    with pytest.raises(PeerRefused, match="expected a document of kind") as caught:
        await client.post(uri, path, other().block)
    assert (caught.value.response, caught.value.problem) == ("4.01", "bad_signature")
    assert (node.heard, node.refused) == ([], ["bad_signature"])


@pytest.mark.parametrize("path", list(SAMPLES))
async def test_a_changed_byte_is_refused_everywhere(open_endpoint: Opener, client: Client, path: str) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    block = bytearray(SAMPLES[path]().block)
    block[-1] ^= 1
    with pytest.raises(PeerRefused, match="does not hold") as caught:
        await client.post(uri, path, bytes(block))
    assert caught.value.response == "4.01"
    with pytest.raises(PeerRefused) as caught:
        await client.post(uri, path, b"\x00" * 40)
    assert (caught.value.response, caught.value.problem) == ("4.00", "malformed_document")
    assert (node.heard, node.refused) == ([], ["bad_signature", "malformed_document"])


async def test_a_document_in_somebody_elses_name_is_refused(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    forged = cose.sign(Bid.KIND, document.encode(samples.bid(samples.SIGNER).document), samples.OTHER)
    with pytest.raises(PeerRefused, match="expected the signature of") as caught:
        await client.post(uri, table.BIDS, forged)
    assert caught.value.response == "4.01"
    assert not node.heard


@pytest.mark.parametrize(
    ("error", "response", "code"),
    [
        (BidError("duplicate", "a second bid of this bidder", hint="wait"), "4.22", None),
        (BidError("price", "12 exceeds 10", code=JobErrorCode.INSUFFICIENT_BUDGET), "4.22", "J002"),
        (errors.JobError("deadline: past"), "4.22", "J001"),
        (VerificationError("sequence 3 follows 5"), "4.22", "J005"),
        (errors.LedgerError("no such account"), "4.22", "J007"),
        (DiskFullError("/home/somebody is full"), "5.03", "J009"),
        (errors.DeviceRefuses("battery at 12 %"), "5.03", None),
        (errors.NotSupported("Docker jobs"), "5.01", None),
    ],
)
async def test_what_a_handler_refuses_is_told_with_its_code(
    open_endpoint: Opener, client: Client, error: errors.IcnLiteError, response: str, code: str | None
) -> None:
    node = Node(refuse_with=error)
    uri = (await open_endpoint(node)).addresses()[0]
    with pytest.raises(PeerRefused) as caught:
        await client.post(uri, table.BIDS, samples.bid().block)
    told = caught.value
    assert (told.response, told.problem, told.code.value if told.code else None) == (response, error.kind, code)
    assert (told.retry_after_s is not None) == (response == "5.03")
    assert told.hint == error.hint
    private = isinstance(error, errors.StoreError)
    assert (error.message in told.message) is not private
    assert node.refused == [error.kind]


async def test_a_fault_of_ours_is_not_told(
    open_endpoint: Opener, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    node.statuses = None  # type: ignore[assignment]
    with pytest.raises(PeerRefused) as caught:
        await client.get(uri, table.JOB.replace("{cid}", str(samples.JOB_ID)))
    assert caught.value.response == "5.00"
    assert "NoneType" not in caught.value.message
    assert "AttributeError" in caplog.text
    assert node.refused == ["internal"]


def test_every_error_has_a_code_and_a_counted_kind() -> None:
    for cls in (c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.IcnLiteError)):
        assert any(issubclass(cls, row) for row, _ in CODES)
        assert cls.kind in KINDS, cls
    assert refusal_of(errors.IcnLiteError("secret")).told.detail == "see this node's log"


async def test_gets(open_endpoint: Opener, client: Client) -> None:
    node = Node()
    uri = (await open_endpoint(node)).addresses()[0]
    receipt = samples.receipt()
    node.receipts[receipt.cid] = receipt.block
    node.statuses[samples.JOB_ID] = b"\xa0"
    assert (await client.get(uri, f"/icn/receipts/{receipt.cid}")).payload == receipt.block
    status = await client.get(uri, f"/icn/jobs/{samples.JOB_ID}")
    assert (status.payload, status.content_format) == (b"\xa0", table.CBOR)
    assert (await client.get(uri, table.CAPABILITY)).payload == await node.own_capability()
    with pytest.raises(PeerRefused, match="no device state here"):
        await client.get(uri, table.DEVICE)
    node.device_pack = b"\x80"
    device = await client.get(uri, table.DEVICE)
    assert (device.payload, device.content_format) == (b"\x80", table.SENML_CBOR)
    absent = Cid.of_raw(b"absent")
    for path in (
        f"/icn/receipts/{absent}",
        f"/icn/jobs/{absent}",
        f"/icn/blocks/{absent}",
        "/icn/blocks/x",
        "/nothing",
    ):
        with pytest.raises(PeerRefused) as caught:
            await client.get(uri, path)
        assert caught.value.response == "4.04"
        assert caught.value.problem == "not_found"


async def test_a_repeated_datagram_is_handled_once_and_answered_again(
    open_endpoint: Opener, open_raw: RawOpener
) -> None:
    node = Node()
    raw = await open_raw((await open_endpoint(node)).port, believed=True)
    request = raw.request(Code.POST, table.RECEIPTS, samples.receipt().block)
    answers = []
    for _ in range(3):
        raw.send(request)
        answers.append((await raw.next()).payload)
    assert answers == [samples.ack(samples.receipt().cid).block] * 3
    assert len(node.heard) == 1


async def test_requests_of_a_wrong_form(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node()
    raw = await open_raw((await open_endpoint(node)).port, believed=True)
    bid = samples.bid().block

    async def refused(code: Code, path: str, payload: bytes = b"", **options: object) -> str:
        answer = await raw.ask(code, path, payload, **options)
        told = problem.decode(answer.payload)
        assert answer.opt.content_format == problem.CONTENT_FORMAT
        assert told is not None
        return f"{answer.code.dotted} {told.kind}"

    assert await refused(Code.GET, table.PING, if_match=[b"x"]) == "4.02 unknown_option"
    assert await refused(Code.GET, table.CAPABILITY, accept=18, unknown=(17, b"\x12")) == "4.02 unknown_option"
    assert await refused(Code.GET, table.PING, proxy_scheme="coap") == "5.05 not_a_proxy"
    assert await refused(Code.GET, table.PING, proxy_uri="coap://h/") == "5.05 not_a_proxy"
    assert await refused(Code.GET, table.PING, b"body") == "4.00 unexpected_body"
    assert await refused(Code.GET, table.PING, block1=(0, True, 6)) == "4.00 unexpected_body"
    assert await refused(Code.DELETE, table.PING) == "4.05 no_such_method"
    assert await refused(Code.PUT, table.BIDS, bid) == "4.05 no_such_method"
    assert await refused(Code.GET, table.CAPABILITY, accept=60) == "4.06 not_acceptable"
    assert await refused(Code.POST, table.BIDS, bid, content_format=60) == "4.15 wrong_format"
    assert await refused(Code.POST, table.BIDS) == "4.00 missing_body"
    assert await refused(Code.POST, table.BIDS, bid, block1=(0, False, 7)) == "4.00 bad_block"
    assert await refused(Code.GET, table.CORE, block2=(0, False, 7)) == "4.00 bad_block"
    assert await refused(Code.GET, table.CORE, block2=(99, False, 6)) == "4.00 bad_block"
    assert await refused(Code.POST, table.BIDS, b"x" * 1024, block1=(3, True, 6)) == "4.13 too_large"
    assert await refused(Code.POST, table.JOBS, b"x" * 1024, block1=(3, True, 6)) == "4.08 incomplete"
    assert await refused(Code.POST, table.CAPABILITY, block2=(1, False, 6)) == "4.08 incomplete"
    # An option number that nobody assigned, critical and elective.
    for number, expected in ((65_001, "4.02"), (65_000, "2.05")):
        answer = await raw.ask(Code.GET, table.PING, unknown=(number, b"1"))
        assert answer.code.dotted == expected
    assert not node.heard


async def test_a_body_over_the_bound_is_refused_at_its_first_block(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node()
    endpoint = await open_endpoint(node)
    raw = await open_raw(endpoint.port, believed=True)
    answer = await raw.ask(Code.POST, table.BIDS, b"x" * 1024, block1=(0, True, 6), size1=24 << 20)
    assert (answer.code.dotted, answer.opt.size1) == ("4.13", BODIES[table.BIDS])
    assert not len(endpoint._site._assemblies)
    # Without Size1 it is refused when the bound is passed, and what had come is dropped.
    for number, expected in ((0, "2.31"), (1, "2.31"), (2, "4.13")):
        answer = await raw.ask(Code.POST, table.BIDS, b"x" * 1024, block1=(number, True, 6))
        assert answer.code.dotted == expected
    assert not len(endpoint._site._assemblies)


async def test_a_body_in_small_blocks_over_udp(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node()
    raw = await open_raw((await open_endpoint(node)).port, believed=True)
    sealed = samples.announcement(400)
    parts = [sealed.block[at : at + 64] for at in range(0, len(sealed.block), 64)]
    for number, part in enumerate(parts):
        answer = await raw.ask(Code.POST, table.JOBS, part, block1=(number, number < len(parts) - 1, 2))
        assert answer.code.dotted == ("2.31" if number < len(parts) - 1 else "2.04")
        assert tuple(answer.opt.block1) == (number, number < len(parts) - 1, 2)
    assert node.heard == [sealed]


async def test_an_answer_to_a_post_comes_in_blocks_and_is_made_once(open_endpoint: Opener, open_raw: RawOpener) -> None:
    class Talkative(Node):
        async def own_capability(self) -> bytes:
            return bytes(range(250)) * 10

    node = Talkative()
    raw = await open_raw((await open_endpoint(node)).port, believed=True)
    advert = samples.advertisement().block
    first = await raw.ask(Code.POST, table.CAPABILITY, advert)
    assert (first.code.dotted, tuple(first.opt.block2), first.opt.size2) == ("2.04", (0, True, 6), 2500)
    body = first.payload
    for number in (1, 2):
        body += (await raw.ask(Code.POST, table.CAPABILITY, block2=(number, False, 6))).payload
    assert body == await node.own_capability()
    assert len(node.heard) == 1


async def test_more_than_is_handled_at_once_is_told_to_come_later(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node(hold=asyncio.Event())
    raw = await open_raw((await open_endpoint(node, limits=MeshLimits(active=2))).port, believed=True)
    for _ in range(2):
        raw.send(raw.request(Code.POST, table.BIDS, samples.bid().block))
    answer = await raw.ask(Code.POST, table.BIDS, samples.bid().block)
    assert (answer.code.dotted, answer.opt.max_age) == ("5.03", 2)
    assert node.hold is not None
    node.hold.set()
    assert [(await raw.next()).code.dotted for _ in range(2)] == ["2.04", "2.04"]


async def test_a_handler_that_hangs_is_given_up(open_endpoint: Opener, open_raw: RawOpener) -> None:
    node = Node(hold=asyncio.Event())
    raw = await open_raw((await open_endpoint(node, limits=MeshLimits(handler_ms=50))).port, believed=True)
    answer = await raw.ask(Code.POST, table.BIDS, samples.bid().block)
    assert answer.code.dotted == "5.03"


@pytest.mark.parametrize(("path", "code"), [(table.JOBS, "J001"), (table.RECEIPTS, "J005"), (table.BIDS, None)])
async def test_what_is_no_such_document_has_the_code_of_its_resource(
    open_endpoint: Opener, client: Client, path: str, code: str | None
) -> None:
    uri = (await open_endpoint(Node())).addresses()[0]
    for body in (b"\x00" * 40, samples.lease().block):
        with pytest.raises(PeerRefused) as caught:
            await client.post(uri, path, body)
        assert (caught.value.code.value if caught.value.code else None) == code
    with pytest.raises(PeerRefused) as caught:
        await client.post(uri, path, bytes(BODIES[path] + 1))
    assert caught.value.code is JobErrorCode.RESOURCE_EXHAUSTED


async def test_a_post_is_ended_even_if_its_asker_is_gone(open_endpoint: Opener, open_raw: RawOpener) -> None:
    finished: list[Sealed[Bid]] = []

    class Slow(Node):
        async def on_bid(self, sealed: Sealed[Bid], remote: Remote) -> None:
            await super().on_bid(sealed, remote)
            finished.append(sealed)

    node = Slow(hold=asyncio.Event())
    raw = await open_raw((await open_endpoint(node)).port, believed=True)
    request = raw.request(Code.POST, table.BIDS, samples.bid().block)
    raw.send(request)
    await until(lambda: len(node.heard) == 1)
    # The same token again with another message id means that the first has no asker any more.
    other = bytearray(raw.request(Code.POST, table.BIDS, samples.bid().block))
    other[4:6] = request[4:6]
    raw.send(bytes(other))
    await until(lambda: len(node.heard) == 2)
    assert node.hold is not None
    node.hold.set()
    assert (await raw.next()).code.dotted == "2.04"
    await until(lambda: len(finished) == 2)


async def test_closing_ends_what_is_being_handled(caplog: pytest.LogCaptureFixture, open_raw: RawOpener) -> None:
    node = Node(hold=asyncio.Event())
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0), node)
    await endpoint.start()
    raw = await open_raw(endpoint.port, believed=True)
    raw.send(raw.request(Code.POST, table.BIDS, samples.bid().block))
    await until(lambda: len(node.heard) == 1)
    await endpoint.close()
    assert not endpoint._site._posts
    assert endpoint._site._active == 0
    loop = asyncio.get_running_loop()
    later = loop.create_future()
    loop.call_later(0.15, later.set_result, None)  # past the time when an empty acknowledgement would be due
    await later
    assert not caplog.records
