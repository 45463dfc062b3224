"""A cooperative that outgrew one machine: bridges meet at a NATS JetStream hub, directly or through leaf nodes.

All streams lie on the hub (`nats_layout.py`); a leaf node at the edge passes everything on. What can't reach the hub
stays in the bridge's own outbox, so a `PubAck` always means the hub's disk. Receipts carry `Nats-Msg-Id` = their CID,
mail the CID and whom it is for: what is sent again is known there. A bridge logs in with its node's key.

The connection is made by `_live`, which begins anew whenever it broke or the hub fell silent, with pauses that grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Final, TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext

from icn_lite.bridge import nats_layout as layout
from icn_lite.bridge import nats_wire as wire
from icn_lite.bridge import nkey
from icn_lite.bridge.backoff import Backoff
from icn_lite.bridge.nats_address import NatsAddress
from icn_lite.bridge.upstream import (
    Acknowledged,
    Delivery,
    Event,
    Evidence,
    Health,
    Route,
    State,
)
from icn_lite.model import cose, unixfs
from icn_lite.model.bid import Bid
from icn_lite.model.cid import Cid
from icn_lite.model.document import Document, Sealed, unseal
from icn_lite.model.errors import DocumentError, IcnLiteError, SignatureError, UpstreamError
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
)
from icn_lite.model.receipt import ExecutionReceipt

ANSWER_S: Final = 5.0  # of the hub, over any line that is worth bridging
HEARTBEAT_S: Final = 10.0
PULL_S: Final = 10.0  # a hub that was restarted has forgotten who waits; it is asked anew after that
PULLED: Final = 64  # messages asked for at once
SAY_S: Final = 300.0  # between two words that this bridge is there
MAX_EVENTS: Final = 256  # heard and not yet taken by the node; the hub keeps the others
log = logging.getLogger(__name__)
D = TypeVar("D", bound=Document)


class NatsUpstream:
    """One bridge at a NATS hub."""

    anchors = False

    def __init__(self, address: NatsAddress, signer: cose.Signer, random: Random) -> None:
        self._address = address
        self._signer = signer
        self._own = layout.token(signer.did)
        self._backoff = Backoff(random)
        self._state = State.CLOSED
        self._error = ""
        self._sent = 0
        self._received = 0
        self._js: JetStreamContext | None = None
        self._events: asyncio.Queue[wire.Given] = asyncio.Queue(MAX_EVENTS)
        self._unconfirmed: dict[int, wire.Given] = {}
        self._doubt = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The hub's address."""
        return str(self._address)

    async def start(self) -> None:
        """Begin to connect."""
        self._state = State.CONNECTING
        self._task = asyncio.get_running_loop().create_task(self._live(), name=f"upstream {self.name}")

    async def close(self) -> None:
        """End the connection; what was not confirmed is given back at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._state = State.CLOSED

    def health(self) -> Health:
        """How it stands."""
        return Health(self._state, self._error, self._sent, self._received)

    # -- what goes up

    async def announce(self, job: Sealed[JobAnnouncementV1]) -> None:
        """Into the mail of every other bridge that the hub knows."""
        with self._words() as js:
            info = await js.stream_info(f"KV_{layout.BRIDGES}", subjects_filter=f"$KV.{layout.BRIDGES}.>")
        others = [to for to in layout.bridges_of(info.state.subjects or {}) if to != self._own]
        for to in others:
            await self._mail(to, "job", job)

    async def advertise(self, advert: Sealed[CapabilityAdvertisementV1]) -> None:
        """The newest of each node is kept, by its DID."""
        await self._put(layout.CAPABILITIES, layout.token(advert.signer), advert.block)

    async def bid(self, bid: Sealed[Bid], route: Route) -> None:
        """To the bridge that announced the job."""
        await self._mail(route, "bid", bid)

    async def assign(self, lease: Sealed[AssignJobV1], route: Route) -> None:
        """To the bridge that carried the bid."""
        await self._mail(route, "lease", lease)

    async def give_back(self, given: Sealed[LeaseReturnV1], route: Route) -> None:
        """To the bridge that announced the job."""
        await self._mail(route, "return", given)

    async def put_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> Evidence:
        """Into the stream of receipts."""
        subject = layout.receipt_subject(route, self._own)
        known = await self._publish(layout.RECEIPTS, subject, receipt.block, str(receipt.cid))
        return Evidence.KNOWN if known else Evidence.STORED

    async def acknowledge(self, ack: Sealed[ReceiptAckV1]) -> None:
        """Where it is found by its receipt."""
        await self._publish(layout.ACKS, layout.ack_subject(ack.document.receipt), ack.block, str(ack.cid))

    async def acknowledgement(self, receipt: Cid) -> Sealed[ReceiptAckV1] | None:
        """The acknowledgement of a receipt; one that anybody else signed than its originator fails where it is used."""
        with self._words() as js:
            try:
                found = await js.get_last_msg(layout.ACKS, layout.ack_subject(receipt))
            except nats.js.errors.NotFoundError:
                return None
        try:
            ack = unseal(ReceiptAckV1, found.data or b"")
        except (DocumentError, SignatureError) as error:
            raise UpstreamError(f"{self.name}: no acknowledgement of {receipt}: {error.message}") from error
        return ack if ack.document.receipt == receipt else None

    async def put_block(self, cid: Cid, data: bytes) -> None:
        """Into the object store, unless it is there."""
        digest = hashlib.sha256(data).digest()
        with self._words() as js:
            store = await js.object_store(layout.BLOCKS)
            try:
                info = await store.get_info(str(cid))
            except nats.js.errors.ObjectNotFoundError:
                pass
            else:
                if info.size == len(data) and info.digest == wire.digest_text(digest):
                    return
            await store.put(str(cid), data)
        self._sent += 1

    async def get_block(self, cid: Cid, most: int) -> bytes | None:
        """From the object store, if it is what its CID says."""
        kept = wire.Bounded(most)
        with self._words() as js:
            store = await js.object_store(layout.BLOCKS)
            try:
                info = await store.get_info(str(cid))
                if info.size is None or info.size > most:
                    return None
                await store.get(str(cid), writeinto=kept)
            except nats.js.errors.ObjectNotFoundError:
                return None
            except (nats.js.errors.DigestMismatchError, wire.TooMuch):
                return None
        data = kept.getvalue()
        return data if unixfs.names(cid, data) else None

    async def _mail(self, to: str, kind: layout.WorkKind, sealed: Sealed[D]) -> None:
        await self._publish(layout.WORK, layout.work_subject(to, kind, self._own), sealed.block, f"{sealed.cid}:{to}")

    async def _put(self, bucket: str, key: str, value: bytes) -> None:
        """Into a bucket. From a leaf node its subjects are reached by the domain's name only."""
        domain = self._address.domain
        prefix = f"$JS.{domain}.API." if domain else ""
        with self._words() as js:
            await js.publish(f"{prefix}$KV.{bucket}.{key}", value, timeout=ANSWER_S)
        self._sent += 1

    async def _publish(self, stream: str, subject: str, block: bytes, message_id: str) -> bool:
        """Onto the hub's disk; returns whether it was there before."""
        with self._words() as js:
            ack = await js.publish(subject, block, timeout=ANSWER_S, stream=stream, headers={"Nats-Msg-Id": message_id})
        self._sent += 1
        return bool(ack.duplicate)

    @contextlib.contextmanager
    def _words(self) -> Iterator[JetStreamContext]:
        """The connection; what goes wrong is an `UpstreamError`, and a reason to look whether there still is one."""
        if self._js is None:
            raise UpstreamError(f"{self.name}: not connected: {self._error or 'not yet'}")
        try:
            yield self._js
        except (nats.errors.Error, OSError, TimeoutError, json.JSONDecodeError) as error:
            self._failed(error)
            self._doubt.set()
            raise UpstreamError(f"{self.name}: {self._error}") from error

    def _failed(self, error: Exception) -> None:
        self._error = wire.sentence(error)
        if self._state is State.UP:
            self._state = State.WAITING

    # -- what comes down

    async def events(self) -> AsyncIterator[Delivery]:
        """What this bridge's consumers bring."""
        while True:
            yield await self._events.get()

    async def _live(self) -> None:
        """Be connected, for as long as the bridge lives."""
        while True:
            self._state = State.CONNECTING
            client, closed = Client(), asyncio.Event()
            try:
                await self._connect(client, closed)
                await self._work(client, closed)
            except (nats.errors.Error, OSError, TimeoutError, ValueError, IcnLiteError) as error:
                self._failed(error)
                log.info("%s: %s", self.name, self._error)
            finally:
                self._js = None
                await self._drop(client)
            self._state = State.WAITING
            await asyncio.sleep(self._backoff.failed_ms() / 1000)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def on_closed() -> None:
            closed.set()

        async def on_error(error: Exception) -> None:
            self._error = wire.sentence(error)

        # nats-py takes an nkey's seed or a callback that signs; for the latter it has no option to name the key.
        client._public_nkey = nkey.public_nkey(self._signer.did)
        await client.connect(
            self._address.url, name=f"icn-lite {self._own}", allow_reconnect=False, connect_timeout=int(ANSWER_S),
            signature_cb=lambda nonce: nkey.answer(self._signer, nonce), closed_cb=on_closed, error_cb=on_error,
        )  # fmt: skip
        await layout.lay_out(self._context(client))

    def _context(self, client: Client) -> JetStreamContext:
        domain = self._address.domain
        return client.jetstream(domain=domain, timeout=ANSWER_S) if domain else client.jetstream(timeout=ANSWER_S)

    async def _work(self, client: Client, closed: asyncio.Event) -> None:
        """Hear what comes until the connection breaks."""
        js = self._context(client)
        tasks: list[asyncio.Task[None]] = []
        pulls = (
            (layout.WORK, f"{layout.ROOT}.work.{self._own}.>", wire.read_work),
            (layout.RECEIPTS, f"{layout.ROOT}.receipts.{self._own}.*", wire.read_receipt),
        )
        try:
            for stream, subject, read in pulls:
                sub = await js.pull_subscribe(subject, self._own, stream, layout.consumer(self._own))
                tasks.append(asyncio.create_task(self._pull(sub, read)))
            acks = await client.subscribe(layout.ack_subject(None))
            tasks.append(asyncio.create_task(self._hear_acks(acks.messages)))
            self._js, self._error = js, ""
            tasks.append(asyncio.create_task(self._watch(js, closed)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            endings = await asyncio.gather(*tasks, return_exceptions=True)
        for ending in endings:
            if isinstance(ending, Exception):
                raise ending

    async def _watch(self, js: JetStreamContext, closed: asyncio.Event) -> None:
        """Say now and then that we are there; raises when the hub falls silent."""
        say_s = 0.0
        while True:
            if say_s <= 0:
                await self._put(layout.BRIDGES, self._own, b"")
                say_s = SAY_S
            else:
                await js.account_info()
            if self._state is not State.UP:
                self._state = State.UP
                self._backoff.succeeded()
            self._doubt.clear()
            waits = [asyncio.ensure_future(event.wait()) for event in (closed, self._doubt)]
            try:
                await asyncio.wait(waits, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if closed.is_set():
                raise UpstreamError(self._error or "the connection was closed")
            say_s -= HEARTBEAT_S

    async def _pull(self, sub: JetStreamContext.PullSubscription, read: Callable[[Msg], Event]) -> None:
        try:
            while True:
                try:
                    messages = await sub.fetch(PULLED, timeout=PULL_S)
                except (TimeoutError, nats.errors.TimeoutError):
                    continue
                for message in messages:
                    await self._hear(message, read)
        finally:  # else the hub would hand what comes next to somebody who has gone
            with contextlib.suppress(nats.errors.Error, OSError):
                await sub.unsubscribe()

    async def _hear(self, message: Msg, read: Callable[[Msg], Event]) -> None:
        try:
            event = read(message)
        except (IcnLiteError, LookupError, ValueError) as error:
            log.warning("%s: a message on %s is left out: %s", self.name, message.subject, error)
            await message.term()
            return
        given = wire.Given(event, message, self._unconfirmed)
        self._unconfirmed[id(given)] = given
        self._received += 1
        await self._events.put(given)

    async def _hear_acks(self, messages: AsyncIterator[Msg]) -> None:
        """A doorbell: what is missed here is found by its receipt."""
        async for message in messages:
            try:
                ack = unseal(ReceiptAckV1, message.data)
            except (DocumentError, SignatureError) as error:
                log.debug("%s: no acknowledgement: %s", self.name, error)
                continue
            self._received += 1
            await self._events.put(wire.Given(Acknowledged(ack), None, {}))

    async def _drop(self, client: Client) -> None:
        """End a connection; what was heard and not confirmed shall come again at once, not after `ACK_WAIT_S`."""
        while not self._events.empty():
            self._events.get_nowait()
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                if client.is_connected:
                    for given in tuple(unconfirmed.values()):
                        await given.postpone(0)
                    await client.flush()
                await client.close()
