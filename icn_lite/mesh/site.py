"""The server side of a request: is its form right, is its body whole and within bounds, what is cut off the answer.

A sealed request is opened first (`door.py`), and everything that it is answered with is sealed. Then in this order:
known critical options (RFC 7252 §5.4.1), path, method, formats, whether the speaker may, body (Block1 through
`assembly.py`), action (`resources.py`), answer (Block2, RFC 7959 §2.4). Every refusal is counted by its kind and
answered with problem details. Rates were checked before, where messages come in (`udp.py`, `tcp.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Protocol

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.pipe import Pipe

from icn_lite.mesh import inner, multicast, table
from icn_lite.mesh.assembly import Assemblies, Block
from icn_lite.mesh.door import Door, Opened, Session
from icn_lite.mesh.echo import Echoes, fitted, weight
from icn_lite.mesh.gate import peer_key
from icn_lite.mesh.guard import remote_of, sent_to_all
from icn_lite.mesh.limits import BERT_EXPONENT, BERT_UNIT_BYTES, UDP_BLOCK_BYTES, MeshLimits
from icn_lite.mesh.observers import Observer, Observers
from icn_lite.mesh.ports import MeshHandlers, Remote, Speaker
from icn_lite.mesh.refusals import Refusal, overload, refusal_of, too_large
from icn_lite.mesh.resources import Answer, Asked, Resources
from icn_lite.mesh.served import Served
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, IcnLiteError

LOG: Final = logging.getLogger("icn_lite.mesh")

_SINGLE: Final = (
    OptionNumber.URI_HOST,
    OptionNumber.URI_PORT,
    OptionNumber.ACCEPT,
    OptionNumber.BLOCK1,
    OptionNumber.BLOCK2,
)
_KNOWN_CRITICAL: Final = frozenset((*_SINGLE, OptionNumber.URI_PATH, OptionNumber.URI_QUERY))
_PROXY: Final = (OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME)
MAX_QUERY: Final = 8  # parts of a query; nothing here takes more than two
MAX_LATER: Final = 32  # answers to POSTs that wait for their second block, 4 KiB each at most


_ALL_CLASSES: Final = 0b11010  # RFC 7967: no answer of any class
_CHANNEL_CODES: Final = (Code.POST, Code.FETCH)
_CHANNEL_PATH: Final = tuple(table.CHANNEL.strip("/").split("/"))


class Answers(Protocol):
    """Where the answers to one request go: the library's pipe, or a sealed one."""

    def add_response(self, response: Message, is_last: bool = False) -> None: ...


class Site:
    """What the CoAP library hands every incoming request to. Without a door everybody is let in."""

    def __init__(self, handlers: MeshHandlers, limits: MeshLimits, echoes: Echoes, door: Door | None = None) -> None:
        self._handlers = handlers
        self._limits = limits
        self._echoes = echoes
        self._door = door
        if door is not None:
            door.heard_back = self._heard_back
        self._resources = Resources(handlers, door)
        self._assemblies = Assemblies(limits)
        self._served = Served(limits)
        self._later: OrderedDict[Hashable, Answer] = OrderedDict()
        self._active = 0
        self._leisurely = 0
        self._posts: set[asyncio.Task[Answer]] = set()
        self.observers = Observers(limits)

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer one request (the library's interface for sites)."""
        request = pipe.request
        if sent_to_all(request.remote):
            await self._answer_to_all(pipe, request)
            return
        remote, now_s = remote_of(request.remote), asyncio.get_running_loop().time()
        answers: Answers = pipe
        if not self._echoes.believes(remote, now_s) and not (
            request.opt.echo is not None and self._echoes.heard(remote, request.opt.echo, now_s)
        ):
            answers = _StrangersAnswers(pipe, self._echoes, remote)
        if self._door is None or request.opt.uri_path != _CHANNEL_PATH:
            await self._answer(answers, request, None)
            return
        try:
            _check_options(request)
            if request.code not in _CHANNEL_CODES:
                raise Refusal("no_such_method", f"{table.CHANNEL} takes POST, and FETCH to observe")
            opened = self._door.open(bytes(request.payload), now_s)
            self._echoes.remember(remote, now_s)
            asked = inner.decode_request(opened.plain, request)
        except Refusal as refusal:
            self._refuse(answers, request, refusal)
        except IcnLiteError as error:
            self._refuse(answers, request, refusal_of(error))
        else:
            await self._answer(_SealedAnswers(pipe, opened), asked, opened.session)

    async def _answer(self, pipe: Answers, request: Message, session: Session | None) -> None:
        """Serve a request, or say why not."""
        try:
            await self._serve(pipe, request, session)
        except Refusal as refusal:
            self._refuse(pipe, request, refusal)
        except IcnLiteError as error:
            translated = refusal_of(error)
            if translated.kind == "internal":
                LOG.error("%s: %s", error.kind, error.message)
            self._refuse(pipe, request, translated)
        except TimeoutError:
            self._refuse(pipe, request, overload(f"no answer within {self._limits.handler_ms} ms"))
        except Exception as error:  # a fault of ours must neither kill the node nor be told to a peer
            LOG.error("a request ended in %s: %s", type(error).__name__, error, exc_info=error)
            self._refuse(pipe, request, Refusal("internal", "see this node's log"))

    async def _answer_to_all(self, pipe: Pipe, request: Message) -> None:
        """Everybody was asked: answer at leisure, so that not all do at once, or not at all (RFC 7252 §8.2)."""
        answer = Message(code=Code.CONTENT, payload=multicast.LINK, content_format=table.LINK_FORMAT)
        silent = not multicast.matches(request) or weight(answer) > weight(request)
        if silent or self._leisurely >= self._limits.leisurely:
            pipe.add_response(Message(code=Code.NOT_FOUND, no_response=_ALL_CLASSES), is_last=True)
            return
        self._leisurely += 1
        try:
            await asyncio.sleep(secrets.randbelow(self._limits.leisure_ms) / 1000)
        finally:
            self._leisurely -= 1
        pipe.add_response(answer, is_last=True)

    def _heard_back(self, remote: Remote) -> None:
        self._echoes.remember(remote, asyncio.get_running_loop().time())

    async def close(self) -> None:
        """End what is still being handled."""
        for post in self._posts:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)

    def forget_old(self, now_s: float) -> None:
        """Let go what was kept for pieces that nobody came for, and bodies that were not gone on with."""
        self._served.forget_old(now_s)
        self._assemblies.forget_old(now_s)
        self._resources.directory.forget_old(now_s)
        if self._door is not None:
            self._door.forget_old(now_s)

    def _refuse(self, pipe: Answers, request: Message, refusal: Refusal) -> None:
        if refusal.echo is None:  # to be asked for one is no refusal yet
            self._handlers.on_refused(refusal.kind)
        answer = refusal.message()
        answer.opt.no_response = request.opt.no_response
        with contextlib.suppress(Refusal):  # the session has ended meanwhile, which was said outside of it
            pipe.add_response(answer, is_last=True)

    async def _serve(self, pipe: Answers, request: Message, session: Session | None) -> None:
        speaker = session.speaker if session is not None else None
        remote = remote_of(request.remote)
        if speaker is not None:
            remote = Remote(remote.host, remote.port, remote.transport, speaker)
        row, cid = _route(request)
        if self._door is not None and not row.may(speaker):
            raise _not_allowed(row, speaker)
        if row.access is not table.Access.ANYONE and isinstance(pipe, _StrangersAnswers):
            # Not done before it is known that the answer may be told; else it would be done twice.
            raise Refusal("echo_required", "repeat the request with this Echo", echo=pipe.challenge())
        peer = _peer(remote)
        later = self._later_block(request, row, peer)
        if later is not None:
            pipe.add_response(self._cut(request, later, peer), is_last=True)
            return
        body = self._body(request, row, peer)
        if body is None:
            block1 = request.opt.block1
            pipe.add_response(Message(code=Code.CONTINUE, block1=tuple(block1)), is_last=True)
            return
        asked = Asked(row, cid, request.opt.uri_query[:MAX_QUERY], body, remote)
        observer = self._observer(request, asked)
        if observer is not None:
            await self._keep_ringing(pipe, request, asked, observer)
            return
        pipe.add_response(self._cut(request, await self._perform(asked), peer), is_last=True)

    async def _perform(self, asked: Asked) -> Answer:
        now_s = asyncio.get_running_loop().time()
        if asked.row.action is table.Action.BLOCK and asked.cid is not None:
            kept = self._served.get(asked.cid, now_s)
            if kept is not None:
                return kept
        if self._active >= self._limits.active:
            raise overload(f"{self._active} requests are being handled")
        if asked.row.method == "POST":
            # Its asker may lose interest, or its connection, at any moment: what was begun is ended all the same.
            post = asyncio.create_task(self._handled(asked), name=f"{asked.row.method} {asked.row.path}")
            self._posts.add(post)
            post.add_done_callback(self._post_done)
            return await asyncio.shield(post)
        answer = await self._handled(asked)
        if asked.row.action is table.Action.BLOCK and asked.cid is not None:
            at_once = self._limits.tcp_answer_bytes // 2 if asked.remote.transport == "tcp" else UDP_BLOCK_BYTES
            if len(answer.payload) > at_once:  # a leaf over TCP is one answer: nobody comes for a second piece
                self._served.keep(asked.cid, answer, now_s)
        return answer

    async def _handled(self, asked: Asked) -> Answer:
        self._active += 1
        try:
            async with asyncio.timeout(self._limits.handler_ms / 1000):
                return await self._resources.perform(asked)
        finally:
            self._active -= 1

    def _post_done(self, post: asyncio.Task[Answer]) -> None:
        self._posts.discard(post)
        if not post.cancelled():
            post.exception()  # told to the asker, if there still is one

    def _body(self, request: Message, row: table.Row, peer: str) -> bytes | None:
        """The whole body, or None while blocks of it are missing."""
        block1, payload = request.opt.block1, bytes(request.payload)
        if not row.body:
            if payload or block1 is not None:
                raise Refusal("unexpected_body", f"{row.method} {row.path} takes no body")
            return b""
        if block1 is None:
            if len(payload) > row.body:
                raise too_large(row.body, len(payload))
            if not payload:
                raise Refusal("missing_body", f"{row.method} {row.path} takes a body")
            return payload
        if row.action is table.Action.HANDSHAKE:
            raise Refusal("bad_block", "a handshake's messages come in one piece")  # nothing is kept of strangers
        if block1.size_exponent == BERT_EXPONENT and request.remote.scheme == "coap":
            raise Refusal("bad_block", "size exponent 7 is for TCP")
        block = Block(block1.block_number, block1.more, block1.size_exponent)
        key = (peer, request.remote.blockwise_key, row.path, request.opt.request_tag)
        try:
            self._assemblies.check(block, payload, row.body, request.opt.size1)
        except Refusal:
            self._assemblies.drop(key)
            raise
        return self._assemblies.feed(key, peer, block, payload, asyncio.get_running_loop().time())

    def _cut(self, request: Message, answer: Answer, peer: str) -> Message:
        """The block of an answer that was asked for, or as much as the peer takes at once."""
        wanted = request.opt.block2
        if answer.whole:
            return Message(code=answer.code, payload=answer.payload, content_format=answer.content_format)
        exponent = request.remote.maximum_block_size_exp if wanted is None else wanted.size_exponent
        if exponent == BERT_EXPONENT and request.remote.scheme == "coap":
            raise Refusal("bad_block", "size exponent 7 is for TCP")
        block = Block(0 if wanted is None else wanted.block_number, False, exponent)
        size = block.size
        if exponent == BERT_EXPONENT:
            room = min(request.remote.maximum_payload_size, self._limits.tcp_answer_bytes)
            size = max(1, room // BERT_UNIT_BYTES) * BERT_UNIT_BYTES
        if block.start >= len(answer.payload) and block.number > 0:
            raise Refusal("bad_block", f"block {block.number} is beyond the end ({len(answer.payload)} bytes)")
        piece = answer.payload[block.start : block.start + size]
        more = block.start + len(piece) < len(answer.payload)
        message = Message(code=answer.code, payload=piece, content_format=answer.content_format, etag=answer.etag)
        if answer.location:
            message.opt.location_path = answer.location
        if wanted is not None or more:
            message.opt.block2 = (block.number, more, exponent)
            message.opt.size2 = len(answer.payload)
        block1 = request.opt.block1
        if block1 is not None:
            message.opt.block1 = (block1.block_number, False, block1.size_exponent)
        if more and request.code is Code.POST:
            self._later[_later_key(request, peer)] = answer
            if len(self._later) > MAX_LATER:
                self._later.popitem(last=False)
        message.opt.no_response = request.opt.no_response
        return message

    def _later_block(self, request: Message, row: table.Row, peer: str) -> Answer | None:
        """A POST is not done twice for the second block of its answer: the answer waits."""
        block2 = request.opt.block2
        if row.method != "POST" or block2 is None or block2.block_number == 0 or request.opt.block1 is not None:
            return None
        answer = self._later.get(_later_key(request, peer))
        if answer is None:
            raise Refusal("incomplete", "the answer to this POST is not kept any more; send it again")
        return answer

    def _observer(self, request: Message, asked: Asked) -> Observer | None:
        if not asked.row.observable or asked.cid is None or request.opt.observe != 0:
            return None
        return self.observers.enter(asked.cid, _peer(asked.remote))

    async def _keep_ringing(self, pipe: Answers, request: Message, asked: Asked, observer: Observer) -> None:
        """Answer, and again whenever the observer is rung, until the observation's time is over."""
        loop, peer = asyncio.get_running_loop(), _peer(asked.remote)
        until_s = loop.time() + self._limits.observe_ms / 1000
        try:
            while True:
                observer.rung.clear()
                message = self._cut(request, await self._perform(asked), peer)
                message.opt.observe = self.observers.next_number()
                message.opt.max_age = self._limits.watchdog_ms // 1000
                pipe.add_response(message, is_last=False)
                await asyncio.sleep(self._limits.doorbell_ms / 1000)
                try:
                    async with asyncio.timeout_at(until_s):
                        await observer.rung.wait()
                except TimeoutError:
                    break
            pipe.add_response(self._cut(request, await self._perform(asked), peer), is_last=True)
        finally:
            self.observers.leave(observer)


class _StrangersAnswers:
    """What somebody is answered who may only pretend to be there: never more bytes than were asked with."""

    def __init__(self, pipe: Pipe, echoes: Echoes, remote: Remote) -> None:
        self._pipe = pipe
        self._echoes = echoes
        self._remote = remote

    def challenge(self) -> bytes:
        return self._echoes.challenge(self._remote, asyncio.get_running_loop().time())

    def add_response(self, response: Message, is_last: bool = False) -> None:
        request = self._pipe.request
        now_s = asyncio.get_running_loop().time()
        if self._echoes.believes(self._remote, now_s):  # since a moment ago, by a handshake's cookie
            self._pipe.add_response(response, is_last=is_last)
            return
        answer = fitted(response, weight(request), self.challenge())
        answer.opt.no_response = request.opt.no_response
        self._pipe.add_response(answer, is_last=is_last or answer is not response)


class _SealedAnswers:
    """Seals what a session's request is answered with; a session that ended says no more than that it did."""

    def __init__(self, pipe: Pipe, opened: Opened) -> None:
        self._pipe = pipe
        self._opened = opened
        self._over = False

    def add_response(self, response: Message, is_last: bool = False) -> None:
        session = self._opened.session
        if self._over:
            return
        if session.closed:
            self._over = True
            self._pipe.add_response(Refusal("session_unknown", "the session was ended").message(), is_last=True)
            raise Refusal("session_unknown")
        sealed = session.end.answer(inner.encode(response), self._opened.counter)
        observe = response.opt.observe
        outer = Message(code=Code.CONTENT if observe is not None else Code.CHANGED, payload=sealed)
        if observe is not None:
            outer.opt.observe = observe
        if response.opt.no_response is not None:
            outer.opt.no_response = response.opt.no_response
        self._pipe.add_response(outer, is_last=is_last)


def _peer(remote: Remote) -> str:
    """Under which name a peer's share of what is bounded is counted: its DID where it is known."""
    return peer_key(remote.host, remote.port) if remote.speaker is None else str(remote.speaker.did)


def _later_key(request: Message, peer: str) -> Hashable:
    return (peer, request.remote.blockwise_key, request.opt.uri_path)


def _not_allowed(row: table.Row, speaker: Speaker | None) -> Refusal:
    if speaker is None:
        return Refusal(
            "session_required", f"{row.method} {row.path} is for {row.who}: begin a session at {table.HANDSHAKE}"
        )
    return Refusal("role_required", f"{row.method} {row.path} is for {row.who}")


def _route(request: Message) -> tuple[table.Row, Cid | None]:
    """The row of a request and the CID in its path, its options and formats checked."""
    _check_options(request)
    found = table.find(request.opt.uri_path)
    if found is None:
        raise Refusal("not_found", "see /.well-known/core for what is here")
    methods, last = found
    row = methods.get(request.code.name if request.code.is_request() else "")
    if row is None:
        raise Refusal("no_such_method", f"{'/'.join(request.opt.uri_path)} takes {' and '.join(sorted(methods))}")
    accept, given = request.opt.accept, request.opt.content_format
    if accept is not None and row.gives is not None and int(accept) != row.gives:
        raise Refusal("not_acceptable", f"expected Accept {row.gives} or none, found {int(accept)}")
    if given is not None and row.takes is not None and int(given) != row.takes:
        raise Refusal("wrong_format", f"expected Content-Format {row.takes} or none, found {int(given)}")
    if last is None:
        return row, None
    try:
        return row, Cid.parse(last)
    except DocumentError as error:
        raise Refusal("not_found", error.message) from error


def _check_options(request: Message) -> None:
    """Refuse critical options that are unknown, or repeated where they may stand once (RFC 7252 §5.4.1, §5.4.5)."""
    counts: dict[OptionNumber, int] = {}
    for option in request.opt.option_list():
        counts[option.number] = counts.get(option.number, 0) + 1
    for number, count in counts.items():
        if number in _PROXY:
            raise Refusal("not_a_proxy", "this node forwards no requests")
        if number.is_critical() and (number not in _KNOWN_CRITICAL or (number in _SINGLE and count > 1)):
            raise Refusal("unknown_option", f"critical option {int(number)}, {count} times")
