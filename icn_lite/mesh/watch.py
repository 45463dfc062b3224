"""Watching a job's status from afar (Observe, RFC 7641): a doorbell with a watchdog.

An observation goes silent when the peer restarts, and its notifications may be lost. So it is renewed every
`watchdog_ms`; what is yielded are the representations that differ from the one before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from aiocoap import Message, error
from aiocoap.numbers.codes import Code
from aiocoap.protocol import Request

from icn_lite.mesh import table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.channels import AnsweredBeforeError, Asked, SessionLostError
from icn_lite.mesh.requests import Call, Requester, with_echo
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import PeerError

REGISTER_MS: Final = 10_000


async def watch(requester: Requester, peer: PeerAddress, job: Cid, to: Did | None = None) -> AsyncIterator[bytes]:
    """Yield the status of `job` at `peer`, who has to be `to` where that is named, now and whenever it changed."""
    call = Call("GET", table.JOB.replace("{cid}", str(job)), to=to)
    last: bytes | None = None
    while True:
        registration = _Registration(requester, peer, call)
        try:
            async for status in registration.rings():
                if status != last:
                    last = status
                    yield status
        finally:
            registration.end()


class _Registration:
    """One registration: its first answer and the notifications after it, until the watchdog ends it."""

    def __init__(self, requester: Requester, peer: PeerAddress, call: Call) -> None:
        self._requester = requester
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._message = requester.message(peer, "udp", call)
        self._to = call.to
        self._message.opt.observe = 0
        self._request: Request | None = None
        self._asked: Asked | None = None

    async def rings(self) -> AsyncIterator[bytes]:
        """The representations until `watchdog_ms` are over; raises `PeerError` if the peer is lost or refuses."""
        watchdog_s = self._requester.limits.watchdog_ms / 1000
        until_s = self._loop.time() + watchdog_s
        register_s = min(until_s, self._loop.time() + REGISTER_MS / 1000)
        await self._requester.resolve(self._peer, self._message, register_s)
        first, notifications = await self._registered(register_s)
        yield bytes(self._requester.checked(self._peer, first).payload)
        if first.opt.observe is None:  # it has too many observers: come again, but not at once
            await asyncio.sleep(watchdog_s)
            return
        while True:
            try:
                ring = await self._next(anext(notifications), until_s)
            except AnsweredBeforeError:
                continue
            if ring is None:
                return
            yield bytes(self._requester.checked(self._peer, ring).payload)

    async def _registered(self, until_s: float) -> tuple[Message, AsyncIterator[Message]]:
        """The first answer and the notifications after it; a session that the peer has lost is begun anew, once."""
        channels = self._requester.channels
        for again in (True, False):
            message = self._message
            if channels is not None:
                self._asked = await self._requester.sealed(self._peer, message, until_s, self._to)
                message = self._asked.outer
            request = self._request = self._requester.context.request(message, handle_blockwise=False)
            notifications = aiter(request.observation)  # before the answer, so that none is missed
            try:
                first = await self._next(request.response, until_s)
            except SessionLostError:
                if channels is None or self._asked is None or not again:
                    raise
                channels.forget(self._peer, self._asked.link)
                self._to = self._asked.link.did  # as with any request: the next who answers here is somebody else
                self.end()
                continue
            if first is None:
                raise PeerError(f"no answer from {self._peer} about the job in time", hint="is the node running there?")
            if again and first.code is Code.UNAUTHORIZED and first.opt.echo is not None:
                self.end()
                self._message = with_echo(self._message, first.opt.echo)
                continue
            return first, notifications
        raise AssertionError("unreachable: the last try returns or raises")

    async def _next(self, coming: object, until_s: float) -> Message | None:
        """The next message, opened, or None when the time is over or the server ended the observation."""
        try:
            async with asyncio.timeout_at(until_s):
                message: Message = await coming  # type: ignore[misc]
        except (TimeoutError, StopAsyncIteration):
            return None
        except error.Error as fault:
            raise PeerError(f"{self._peer} can't be watched: {fault}", hint="is the node running there?") from fault
        return message if self._asked is None else self._asked.open(message)

    def end(self) -> None:
        """Lose interest; the next notification is answered with a reset, which ends it at the server."""
        if self._request is None:
            return
        if not self._request.response.done():
            self._request.response.cancel()
        if not self._request.observation.cancelled:
            with contextlib.suppress(error.Error):
                self._request.observation.cancel()
