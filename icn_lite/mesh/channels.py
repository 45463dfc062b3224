"""The asking side of the guarded channel: sessions that we began with peers, by address, begun when first needed.

A request goes out sealed in the session with its peer; the first one waits for the handshake, and whoever asks
meanwhile waits for the same one. After three quarters of a session's time or messages a new one is agreed on beside it,
and what is under way ends in the old. A peer that doesn't know a session any more (it restarted) is asked once more
after a new handshake. Answers count only if they are sealed in the session and bound to their request; outside it a
peer can say no more than that it is too busy or that it has forgotten us.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from aiocoap import Message
from aiocoap.numbers.codes import Code

from icn_lite.mesh import handshake, inner, problem, table
from icn_lite.mesh.addresses import PeerAddress
from icn_lite.mesh.handshake import Granted, Offer
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.noise import Ephemeral, Initiator, hint
from icn_lite.mesh.ports import Admission
from icn_lite.mesh.session import AskingEnd, counter_of
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, NotAdmitted, PeerError, PeerRefused, SignatureError, VerificationError
from icn_lite.model.invitation import Invitation
from icn_lite.model.membership import fingerprint, read_membership

Ask: TypeAlias = Callable[[bytes], Awaitable[bytes]]  # posts one message of the handshake to a peer, gives its answer
RENEW_AFTER: Final = 0.75  # of a session's time or messages
BUSY_S: Final = 60  # an unsealed "later" is obeyed no longer; what Max-Age means where it is left out
OFFERS_TRIED: Final = 2  # the first may run out between its two round trips


class AnsweredBeforeError(PeerError):
    """An answer that was taken already, or one from before it; whoever recorded it may have sent it again."""


class SessionLostError(PeerError):
    """The peer doesn't know the session any more; a new handshake mends it."""


@dataclass(eq=False, slots=True)
class Link:
    """A session that we began."""

    end: AskingEnd
    did: Did
    until_s: float
    renew_s: float
    messages: int
    admins: frozenset[Did] = frozenset()  # on whose word it was admitted, beside the cooperatives'
    closed: bool = False

    def good(self, now_s: float) -> bool:
        """Whether a request may still go out in it."""
        return not self.closed and now_s < self.until_s and self.end.sealer.counter < self.messages

    def old(self, now_s: float) -> bool:
        """Whether it is time for the next one."""
        return now_s >= self.renew_s or self.end.sealer.counter >= self.messages * RENEW_AFTER


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way: what is sent, and what opens its answers."""

    peer: PeerAddress
    link: Link
    outer: Message
    counter: int
    heard: list[int] = field(default_factory=list)  # the counter of the last answer: a ring of before is none now

    def open(self, answer: Message) -> Message:
        """The answer inside; raises `SessionLostError`, or `PeerError` for what is not the peer's, or was here."""
        if answer.code.is_successful():
            if self.link.closed:
                raise PeerError(f"the session with {self.peer} was ended")
            try:
                plain = self.link.end.answered(answer.payload, self.counter)
                number = counter_of(answer.payload)
                if self.heard and number <= self.heard[0]:
                    raise AnsweredBeforeError(f"{self.peer} seems to repeat an answer")
                self.heard[:] = [number]
                return inner.decode_answer(plain, answer)
            except (DocumentError, SignatureError) as error:
                raise PeerError(f"{self.peer} answered what doesn't hold: {error.message}") from error
        if answer.code is Code.SERVICE_UNAVAILABLE:
            # Anybody can say so: what is believed is that it is busy, not why, and not for how long at will.
            wait_s = None if answer.opt.max_age is None else min(answer.opt.max_age, BUSY_S)
            return Message(code=Code.SERVICE_UNAVAILABLE, max_age=wait_s)
        told = problem.decode(answer.payload) if answer.opt.content_format == problem.CONTENT_FORMAT else None
        challenged = answer.code is Code.UNAUTHORIZED and answer.opt.echo is not None  # to strangers it says no more
        if challenged or (told is not None and told.kind == "session_unknown"):
            raise SessionLostError(f"{self.peer} has forgotten the session", hint="it has probably been restarted")
        said = told.title if told is not None else "no reason"
        raise PeerError(f"{self.peer} answered outside the session ({answer.code.dotted}: {said})")


class Channels:
    """Every session that this node began."""

    def __init__(self, admission: Admission, limits: MeshLimits, random: Callable[[int], bytes]) -> None:
        self.admission = admission
        self._limits = limits
        self._random = random
        self._loop = asyncio.get_running_loop()
        self._links: OrderedDict[PeerAddress, Link] = OrderedDict()
        self._shaking: dict[PeerAddress, asyncio.Task[Link]] = {}

    def __len__(self) -> int:
        return len(self._links)

    async def close(self) -> None:
        """End the handshakes under way and forget every session."""
        shaking = [*self._shaking.values()]
        for task in shaking:
            task.cancel()
        await asyncio.gather(*shaking, return_exceptions=True)
        self._links.clear()

    def ready(self, peer: PeerAddress) -> Link | None:
        """The session with a peer, if there is one that needs no handshake now."""
        link = self._links.get(peer)
        if link is None:
            return None
        now_s = self._loop.time()
        return link if link.good(now_s) and (not link.old(now_s) or peer in self._shaking) else None

    async def link(self, peer: PeerAddress, ask: Ask, until_s: float) -> Link:
        """The session with a peer, which is begun if there is none; an old one still serves while the next is made."""
        link = self._links.get(peer)
        if link is None or not link.good(self._loop.time()):
            return await self._begun(peer, ask, until_s)
        if peer not in self._shaking:
            self._begin(peer, ask)
        return link

    @staticmethod
    def seal_in(peer: PeerAddress, link: Link, message: Message) -> Asked:
        """Seal a request in this session."""
        observe = message.opt.observe
        sealed, counter = link.end.ask(inner.encode(message))
        outer = Message(
            code=Code.FETCH if observe is not None else Code.POST,
            payload=sealed,
            uri_path=_CHANNEL_PATH,
            transport_tuning=message.transport_tuning,
        )
        if observe is not None:
            outer.opt.observe = observe
        outer.remote = message.remote
        return Asked(peer, link, outer, counter)

    def peer(self, peer: PeerAddress) -> Did | None:
        """Who answers at an address, as its session showed."""
        link = self._links.get(peer)
        return link.did if link is not None else None

    def forget(self, peer: PeerAddress, link: Link) -> None:
        """The peer has lost this session."""
        link.closed = True
        if self._links.get(peer) is link:
            del self._links[peer]

    def drop(self, did: Did) -> None:
        """Somebody is no member any more: nothing more is asked of it, nothing that it answers is believed."""
        for peer, link in [*self._links.items()]:
            if link.did == did or did in link.admins:
                self.forget(peer, link)

    def review(self) -> None:
        """What this node belongs to has changed: sessions are begun anew."""
        for peer, link in [*self._links.items()]:
            self.forget(peer, link)

    # -- the handshake

    async def _begun(self, peer: PeerAddress, ask: Ask, until_s: float) -> Link:
        task = self._shaking.get(peer) or self._begin(peer, ask)
        async with asyncio.timeout_at(until_s):
            return await asyncio.shield(task)

    def _begin(self, peer: PeerAddress, ask: Ask) -> asyncio.Task[Link]:
        async def begin() -> Link:
            try:
                async with asyncio.timeout(self._limits.handshake_ms / 1000):
                    link = await self.shake(peer, ask)
            except PeerRefused as refused:  # said before anybody showed who it is: no answer to what is to be asked
                raise PeerError(f"no session with {peer}: {refused.message}", hint=refused.hint) from refused
            self._links[peer] = link
            self._links.move_to_end(peer)
            if len(self._links) > self._limits.sessions_out:
                self._links.popitem(last=False)
            return link

        task = self._shaking[peer] = self._loop.create_task(begin(), name=f"handshake with {peer}")
        task.add_done_callback(lambda done: self._ended(peer, done))
        return task

    def _ended(self, peer: PeerAddress, task: asyncio.Task[Link]) -> None:
        self._shaking.pop(peer, None)
        if not task.cancelled():
            task.exception()  # told to whoever waited; a renewal in the background is tried again at the next request

    async def shake(self, peer: PeerAddress, ask: Ask, invitation: Invitation | None = None) -> Link:
        """Begin a session: two round trips. With an invitation it is good for joining and nothing else."""
        for left in reversed(range(OFFERS_TRIED)):
            try:
                return await self._shake(peer, ask, invitation)
            except PeerRefused as refused:
                if refused.problem != "stale_offer" or not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _shake(self, peer: PeerAddress, ask: Ask, invitation: Invitation | None) -> Link:
        try:
            offer = handshake.decode(Offer, await ask(handshake.hello()))
            initiator = Initiator(offer, Ephemeral.of(self._random(32)))
            proof = initiator.proof(
                self.admission.signer, self._shown(peer, offer, invitation), invitation.token if invitation else None
            )
            granted, keys = initiator.finish(await ask(proof))
            admins = self._check(granted, invitation)
        except (DocumentError, SignatureError, VerificationError) as error:
            raise PeerError(f"no session with {peer}: {error.message}") from error
        except NotAdmitted as error:
            raise PeerError(f"no session with {peer}: {error.message}", hint=error.hint) from error
        now_s = self._loop.time()
        lifetime_s = min(granted.lifetime_s, self._limits.session_ms / 1000)
        return Link(
            AskingEnd.of(granted.sid, keys),
            granted.did,
            now_s + lifetime_s,
            now_s + lifetime_s * RENEW_AFTER,
            min(granted.messages, self._limits.session_messages),
            admins,
        )

    def _shown(self, peer: PeerAddress, offer: Offer, invitation: Invitation | None) -> tuple[bytes, ...]:
        """Our memberships of those cooperatives that the peer hinted at; all others stay unknown to it."""
        if invitation is not None:
            return ()
        shared = [did for did in self.admission.cooperatives() if hint(did, offer.key) in offer.hints]
        if not shared:
            raise PeerError(
                f"{peer} belongs to no cooperative of ours", hint="join one of its own: `icn-lite invite` there"
            )
        return self.admission.certificates(shared)

    def _check(self, granted: Granted, invitation: Invitation | None) -> frozenset[Did]:
        """The other side has to be a member as well; of an invitation, of the cooperative that invited.

        Returns the admins on whose word it is one.
        """
        if granted.did == self.admission.signer.did:
            raise NotAdmitted("that is this node itself")
        if invitation is None:
            return self.admission.admit(granted.did, granted.certificates).speaker.admins
        for block in granted.certificates:
            held = read_membership(block).document
            if held.member == granted.did and fingerprint(held.cooperative) == invitation.fingerprint:
                return frozenset()
        raise NotAdmitted("it is no member of the cooperative that the invitation names")


_CHANNEL_PATH: Final = tuple(table.CHANNEL.strip("/").split("/"))
