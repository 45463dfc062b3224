"""Parcels for somebody in a running node: sent, handed on, delivered, and their replies brought back.

Each parcel is one task from its arrival to its reply, bounded by the time that its bringer waits; a bringer that asks
again waits for the same reply. The reply is signed by the one whom the parcel was for, and is checked at every hop:
so a neighbour that makes one up is as good as silent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from dataclasses import replace
from typing import Final

from icn_lite.mesh import problem, table
from icn_lite.mesh.letter import LetterOut
from icn_lite.mesh.noise import Ephemeral
from icn_lite.mesh.ports import Remote
from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import (
    DeviceRefuses,
    DocumentError,
    IcnLiteError,
    JobErrorCode,
    PeerError,
    PeerRefused,
    SignatureError,
)
from icn_lite.model.parcel import (
    MAX_BODY_BYTES,
    MAX_HOPS,
    MAX_LIFETIME_MS,
    Answer,
    Envelope,
    Parcel,
    Question,
    Reply,
    SealedAnswer,
    read_reply,
)
from icn_lite.node.post import Post, fulfil, source_of
from icn_lite.work.holding import Held, Holding
from icn_lite.work.relay import Answered, Arrived, Deliver, Effect, Failed, Forward, GiveUp, Repeat, Why

KEYS_TRIED: Final = 3  # none known, one that ran out meanwhile, the one that was told
SEND_MS: Final = 15_000  # for a reply from any distance; less than an endpoint gives its handlers
MARGIN_MS: Final = 150  # of that, each node on the way keeps so much for itself
MAX_REPLIES: Final = 256  # that may be asked for again, 4 KiB each
log = logging.getLogger(__name__)
_J_CODES: Final = {code.value: code for code in JobErrorCode}


class Parcels:
    """The parcels that begin, end or pass here."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._relay = post.relay
        self.holding = Holding()
        self._replies: OrderedDict[Cid, asyncio.Future[bytes]] = OrderedDict()

    async def ask(self, to: Did, question: Question, *, lifetime_ms: int = SEND_MS) -> bytes:
        """Ask somebody through neighbours, in a letter that only it can open; returns the body of its answer.

        A relay may bring it later, as long as it lives, should `to` be away: no answer doesn't mean that nothing came.
        Where its mailbox key isn't known, or is forgotten there, the first reply tells it, and the question goes out
        again. Raises `PeerRefused` for its signed refusal, else `PeerError`.
        """
        if len(question.body) > MAX_BODY_BYTES:
            size = len(question.body)
            raise PeerError(f"{size} bytes are too much for a parcel, at most {MAX_BODY_BYTES} are carried")
        until_ms = self._post.now_ms() + SEND_MS
        for _ in range(KEYS_TRIED):
            answer = await self._asked(to, question, until_ms, lifetime_ms)
            if answer is None:
                continue
            if answer.code.startswith("2."):
                return answer.body
            raise _refusal(to, answer)
        raise PeerError(f"{to} can't open what is sealed for the keys that it tells", hint="is it restarting?")

    async def _asked(self, to: Did, question: Question, until_ms: int, lifetime_ms: int) -> Answer | None:
        """Send one parcel; None where its receiver only tells its key."""
        post = self._post
        draft, mailbox = post.parcel(to, lifetime_ms), post.key_of(to)
        letter = LetterOut(draft, mailbox, Ephemeral.of(secrets.token_bytes(32))) if mailbox is not None else None
        try:
            parcel = replace(draft, letter=letter.seal(question)) if letter is not None else draft
        except SignatureError as error:
            raise PeerError(f"{to} tells a mailbox key that is none: {error.message}") from error
        sealed = document.seal(parcel, post.shell.signer)
        envelope = Envelope(sealed.block, MAX_HOPS, 0, max(0, until_ms - post.now_ms()))
        arrived = Arrived(sealed.cid, to, None, MAX_HOPS, len(sealed.block))
        try:
            reply = read_reply(await self._settle(arrived, sealed, envelope, None), sealed.cid, to)
        except DeviceRefuses as busy:  # ourselves
            raise PeerError(f"{to} is not asked now: {busy.message}") from busy
        post.learn_key(to, reply.mailbox)
        if letter is None or reply.answer is None:
            return None
        try:
            return letter.open(reply.answer)
        except (DocumentError, SignatureError) as error:
            raise PeerError(f"{to} answered what doesn't hold: {error.message}") from error

    async def take(self, envelope: Envelope, remote: Remote) -> bytes:
        """A neighbour hands a parcel over; returns its signed reply."""
        source, sealed = source_of(remote), self._post.open_parcel(envelope)
        self._post.learn(sealed.signer, source, envelope.hops)
        arrived = Arrived(sealed.cid, sealed.document.to, source, envelope.hops, len(envelope.parcel))
        return await self._settle(arrived, sealed, envelope, remote)

    async def _settle(
        self, arrived: Arrived, sealed: Sealed[Parcel], envelope: Envelope, bringer: Remote | None
    ) -> bytes:
        """What comes of a parcel. It goes on when its bringer loses interest, who may ask again."""
        post = self._post
        effect = self._relay.handle(arrived, post.neighbours(), post.now_ms())[0]
        wait_ms = min(SEND_MS, envelope.wait_ms) - (MARGIN_MS if bringer is not None else 0)
        if isinstance(effect, GiveUp):
            if bringer is not None:
                self._hold(effect, sealed, envelope)
            raise _given_up(effect, arrived.to)
        if not isinstance(effect, Repeat):
            future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._replies[sealed.cid] = future
            if len(self._replies) > MAX_REPLIES:
                self._replies.popitem(last=False)
            way = _Way(sealed, envelope, bringer, post.now_ms(), wait_ms)
            post.shell.tasks.spawn(fulfil(future, self._carry(effect, way)), f"parcel for {arrived.to.short}")
        waiting = self._replies.get(sealed.cid)
        if waiting is None:
            raise PeerError("what came of this parcel is not known any more")
        try:
            async with asyncio.timeout(max(0, wait_ms) / 1000):
                return await asyncio.shield(waiting)
        except TimeoutError as late:
            raise PeerError(f"no reply of {arrived.to} in time", hint="it may have got the parcel") from late

    async def _carry(self, effect: Effect, way: _Way) -> bytes:
        """Deliver a parcel, or hand it to one neighbour after the other, until there is a reply."""
        post, cid = self._post, way.sealed.cid
        while True:
            match effect:
                case Deliver():
                    try:
                        reply = await self._delivered(way)
                    except IcnLiteError:  # what can't be opened is over, too, and takes no place any more
                        self._relay.handle(Answered(cid), post.neighbours(), post.now_ms())
                        raise
                case Forward(_, hop, _, _):
                    try:
                        reply = await self._forward(way, effect)
                    except IcnLiteError as error:
                        failed = Failed(cid, hop, silent=not isinstance(error, PeerRefused))
                        effects = self._relay.handle(failed, post.neighbours(), post.now_ms())
                        effect = effects[0] if effects else GiveUp(cid, Why.NO_WAY)
                        continue
                case GiveUp():
                    if way.bringer is not None:
                        self._hold(effect, way.sealed, way.aged(post.now_ms()))
                    raise _given_up(effect, way.to)
                case _:
                    raise AssertionError(effect)
            self._relay.handle(Answered(cid), post.neighbours(), post.now_ms())
            return reply

    async def _forward(self, way: _Way, forward: Forward) -> bytes:
        now_ms = self._post.now_ms()
        left_ms = way.until_ms - now_ms
        wait_ms = forward.wait_ms(left_ms)
        if wait_ms <= 0:
            raise PeerError(f"no time is left to reach {way.to}")
        envelope = replace(way.aged(now_ms), hops=forward.hops, wait_ms=wait_ms)
        reply = await self._post.hand(forward.hop, table.PARCELS, envelope, wait_ms)
        read_reply(reply, way.sealed.cid, way.to)
        return reply

    # -- for whom is away

    def _hold(self, effect: GiveUp, sealed: Sealed[Parcel], envelope: Envelope) -> None:
        """Keep what nobody could be handed, if its receiver is a neighbour of ours that went silent."""
        post, parcel = self._post, sealed.document
        if effect.why is not Why.NO_WAY or parcel.to not in post.shell.peers.peers or parcel.letter is None:
            return
        now_ms = post.now_ms()
        held = Held(sealed.cid, parcel.sender, parcel.to, sealed.block, envelope.age_ms, parcel.lifetime_ms, now_ms)
        if self.holding.keep(held, now_ms):
            log.debug("a parcel of %s is kept for %s", parcel.sender.short, parcel.to.short)

    def back(self, did: Did) -> None:
        """A neighbour answers again: it gets what was kept for it."""
        held = self.holding.back(did, self._post.now_ms())
        if held:
            self._post.shell.tasks.spawn(self._bring(held), f"parcels kept for {did.short}")

    async def _bring(self, held: tuple[Held, ...]) -> None:
        for place, one in enumerate(held):
            now_ms = self._post.now_ms()
            envelope = Envelope(one.block, 1, min(MAX_LIFETIME_MS, one.age(now_ms)), SEND_MS)
            try:
                await self._post.hand(one.to, table.PARCELS, envelope, SEND_MS)
            except PeerRefused as refused:
                log.debug("a parcel that was kept is not taken: %s", refused)
            except PeerError as error:
                log.debug("%s is away again: %s", one.to, error)
                for again in held[place:]:
                    self.holding.keep(again, self._post.now_ms())
                return

    async def _delivered(self, way: _Way) -> bytes:
        post, parcel = self._post, way.sealed.document
        opened = post.mailbox.open(way.sealed, post.now_ms())
        mailbox, signer = post.mailbox.key(post.now_ms()), post.shell.signer
        answer: SealedAnswer | None = None
        if opened is not None:
            said = await post.delivery.letter(parcel, opened.question, way.bringer or Remote("", 0, "letter"))
            answer = opened.answer(said, Ephemeral.of(secrets.token_bytes(32)))
        return document.seal(Reply(signer.did, way.sealed.cid, mailbox, answer), signer).block


class _Way:
    """One parcel on its way through this node."""

    def __init__(
        self, sealed: Sealed[Parcel], envelope: Envelope, bringer: Remote | None, since_ms: int, wait_ms: int
    ) -> None:
        self.sealed = sealed
        self.envelope = envelope
        self.bringer = bringer
        self.since_ms = since_ms
        self.until_ms = since_ms + wait_ms

    def aged(self, now_ms: int) -> Envelope:
        """Its envelope as it is handed on now."""
        age_ms = min(MAX_LIFETIME_MS, self.envelope.age_ms + now_ms - self.since_ms)
        return replace(self.envelope, age_ms=age_ms)

    @property
    def to(self) -> Did:
        """For whom it is."""
        return self.sealed.document.to


def _given_up(effect: GiveUp, to: Did) -> IcnLiteError:
    if effect.why is Why.BUSY:
        return DeviceRefuses("too many parcels are under way")
    return PeerError(f"{to} is not reached: {effect.why.value}", hint="see `icn-lite peers`")


def _refusal(to: Did, answer: Answer) -> PeerRefused:
    """What the receiver refused, as if it had been asked without anybody between."""
    told = problem.decode(answer.body) or problem.Problem(answer.code)
    said = f"{told.title}: {told.detail}" if told.detail else told.title
    return PeerRefused(
        f"{to} refused ({answer.code}): {said}",
        response=answer.code,
        problem=told.kind,
        retry_after_s=answer.retry_after_s,
        hint=told.hint,
        code=_J_CODES.get(told.code),
    )
