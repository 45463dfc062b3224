"""The asked side of the guarded channel: offers, proofs, and the sessions that came of them; all of it bounded.

A hello costs an HMAC and leaves nothing. A proof is looked at only when its cookie shows that its sender hears us; only
one that holds, and whose author is admitted, makes a session. So strangers can't fill this table: it holds members,
each a few times, and whoever was invited. A session ends by time, by count, by disuse, when its place is needed, or at
once when its speaker is revoked. Pure but for randomness, which comes in with the constructor; the caller brings time.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from icn_lite.mesh import handshake
from icn_lite.mesh.cookie import Offers
from icn_lite.mesh.handshake import Granted, Hello, Party, Proof
from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.noise import Ephemeral, Keys, Responder
from icn_lite.mesh.ports import Admission, Admitted, Remote, Speaker
from icn_lite.mesh.refusals import Refusal
from icn_lite.mesh.session import AskedEnd, sid_of
from icn_lite.model.did import Did
from icn_lite.model.errors import NotAdmitted, SignatureError, VerificationError

GUEST_MS: Final = 60_000  # whoever was invited joins at once or begins again


@dataclass(eq=False, slots=True)
class Session:
    """One session of somebody with us."""

    sid: bytes
    speaker: Speaker
    end: AskedEnd
    until_s: float
    used_s: float
    left: int
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """What a sealed request held: its plain bytes, and what its answer is bound to."""

    session: Session
    plain: bytes | bytearray
    counter: int


class Door:
    """Every session that others have with this node."""

    def __init__(self, admission: Admission, limits: MeshLimits, random: Callable[[int], bytes]) -> None:
        self.admission = admission
        self._limits = limits
        self._random = random
        self._offers = Offers(limits.offer_ms, random)
        self.heard_back: Callable[[Remote], None] = lambda remote: None  # a cookie shows that an address hears us
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()  # the longest unused first
        self._granted: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()  # what a proof was answered with

    def __len__(self) -> int:
        return len(self._sessions)

    # -- the handshake

    def handshake(self, message: bytes, remote: Remote, now_s: float) -> bytes:
        """Answer a hello with an offer, a proof with a grant; raises a refusal or an `IcnLiteError`."""
        asked = handshake.decode_asked(message)
        address = f"{remote.transport} {remote.host} {remote.port}"
        if isinstance(asked, Hello):
            return handshake.encode(self._offers.make(address, self.admission.cooperatives, now_s))
        taken = self._offers.take(asked.cookie, address, now_s)
        if taken is None:
            raise Refusal("stale_offer", "the offer has run out, or was made to another address")
        self.heard_back(remote)
        repeated = hashlib.sha256(message).digest()
        if repeated in self._granted:
            return self._granted[repeated][1]
        answer = self._grant(Responder(*taken), asked, now_s)
        self._granted[repeated] = (now_s + 2 * self._limits.offer_ms / 1000, answer)
        if len(self._granted) > self._limits.proofs_remembered:
            self._granted.popitem(last=False)
        return answer

    def _grant(self, responder: Responder, proof: Proof, now_s: float) -> bytes:
        party = responder.read(proof)
        admitted = self._admitted(responder, party)
        limits, speaker = self._limits, admitted.speaker
        lifetime_s = (GUEST_MS if speaker.invitation is not None else limits.session_ms) // 1000
        if admitted.for_s is not None:
            lifetime_s = min(lifetime_s, admitted.for_s)
        shown = self.admission.certificates(speaker.cooperatives)
        sid = self._random(handshake.SID_BYTES)
        granted = Granted(self.admission.signer.did, shown, sid, max(1, lifetime_s), limits.session_messages)
        answer, keys = responder.grant(self.admission.signer, granted, Ephemeral.of(self._random(32)))
        self._enter(speaker, granted, keys, now_s)
        return answer

    def _admitted(self, responder: Responder, party: Party) -> Admitted:
        if party.did == self.admission.signer.did:
            raise NotAdmitted("that is this node itself", hint="a node asks itself nothing")
        if party.invitation is None:
            return self.admission.admit(party.did, party.certificates)
        invited = self.admission.invited(party.invitation)
        if invited is None or not responder.has_token(party, invited[0]):
            raise NotAdmitted(
                "the invitation doesn't hold: it has run out, was used, or is another node's",
                hint="ask for a new one: `icn-lite invite`",
            )
        return Admitted(Speaker(party.did, cooperatives=(invited[1],), invitation=party.invitation))

    def _enter(self, speaker: Speaker, granted: Granted, keys: Keys, now_s: float) -> None:
        # One invitation is one guest, under however many names it comes.
        own = [
            session
            for session in self._sessions.values()
            if session.speaker.did == speaker.did
            or (speaker.invitation is not None and session.speaker.invitation == speaker.invitation)
        ]
        if len(own) >= self._limits.sessions_per_peer:
            self._close(own[0])
        if len(self._sessions) >= self._limits.sessions:
            self._close(next(iter(self._sessions.values())))
        self._sessions[granted.sid] = Session(
            granted.sid, speaker, AskedEnd.of(granted.sid, keys), now_s + granted.lifetime_s, now_s, granted.messages
        )

    # -- requests in sessions

    def open(self, message: bytes, now_s: float) -> Opened:
        """Open a sealed request; raises `DocumentError` or a refusal."""
        session = self._sessions.get(sid_of(message))
        if session is None or session.until_s <= now_s or session.left <= 0:
            raise Refusal("session_unknown", "no such session here, or not any more")
        try:
            plain, counter = session.end.open(message)
        except VerificationError as error:
            raise Refusal("replayed", error.message) from error
        except SignatureError as error:  # perhaps two of us with one session id: a new handshake mends it
            raise Refusal("session_unknown", error.message) from error
        session.left -= 1
        session.used_s = now_s
        self._sessions.move_to_end(session.sid)
        return Opened(session, plain, counter)

    # -- the end

    def drop(self, did: Did) -> None:
        """Somebody is no member any more: its sessions end now, and those of whoever it made a member as an admin."""
        for session in [*self._sessions.values()]:
            if session.speaker.did == did or did in session.speaker.admins:
                self._close(session)

    def review(self) -> None:
        """What this node belongs to has changed: hints are made anew, everybody shows its memberships again."""
        self._offers.renew()
        self._granted.clear()
        for session in [*self._sessions.values()]:
            if session.speaker.invitation is None:
                self._close(session)

    def forget_old(self, now_s: float) -> None:
        """Let go what has run out or is not used any more."""
        self._offers.forget_old(now_s)
        idle_s = self._limits.session_idle_ms / 1000
        for session in [*self._sessions.values()]:
            if session.until_s <= now_s or session.used_s + idle_s <= now_s:
                self._close(session)
        while self._granted and next(iter(self._granted.values()))[0] <= now_s:
            self._granted.popitem(last=False)

    def _close(self, session: Session) -> None:
        session.closed = True
        self._sessions.pop(session.sid, None)
