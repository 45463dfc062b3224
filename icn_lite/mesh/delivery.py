"""What comes by others, at its end: it goes to the resource that it names, as if its sender had come by itself.

What the sender may do follows from the memberships that it brings, judged as at the door. The same checks, the same
refusals: the answer holds the code and the body that the sender would have been answered with.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiocoap.numbers.codes import Code

from icn_lite.mesh import table
from icn_lite.mesh.ports import Admission, MeshHandlers, Remote, Speaker
from icn_lite.mesh.refusals import Refusal, overload, refusal_of
from icn_lite.mesh.resources import Asked, Resources
from icn_lite.mesh.table import Row
from icn_lite.model.cid import Cid
from icn_lite.model.errors import IcnLiteError
from icn_lite.model.parcel import MAX_ANSWER_BYTES, Answer, Method, Notice, Parcel, Question

FOR_ONE: Final = frozenset(
    (
        *(("POST", path) for path in (table.BIDS, table.LEASES, table.LEASE_RETURNS, table.STATUS, table.RECEIPTS)),
        *(("GET", path) for path in (table.JOB, table.LOG, table.RECEIPT)),
        ("POST", table.JOBS),
        ("POST", table.MEMBERSHIP),
    )
)  # what somebody may be asked in a letter
FOR_ALL: Final = frozenset((table.JOBS, table.CAPABILITY))  # what everybody may be told
HANDLER_MS: Final = 10_000  # less than a sender waits
LOG: Final = logging.getLogger("icn_lite.mesh")


class Delivery:
    """Delivers letters and notices to the handlers of this node."""

    def __init__(self, handlers: MeshHandlers, admission: Admission) -> None:
        self._resources = Resources(handlers)
        self._admission = admission

    def speaker(self, carried: Parcel | Notice) -> Speaker:
        """Who its sender is here; raises `NotAdmitted`."""
        return self._admission.admit(carried.sender, carried.certificates).speaker

    async def notice(self, notice: Notice, bringer: Remote) -> Answer:
        """Hand a notice up; whatever is refused is an answer too."""
        return await self._deliver(notice, Question(Method.POST, notice.path, notice.body), bringer)

    async def letter(self, parcel: Parcel, question: Question, bringer: Remote) -> Answer:
        """Hand up what a parcel's letter asks."""
        return await self._deliver(parcel, question, bringer)

    async def _deliver(self, carried: Parcel | Notice, question: Question, bringer: Remote) -> Answer:
        try:
            return await self._perform(carried, question, bringer)
        except Refusal as refusal:
            return _refused(refusal)
        except IcnLiteError as error:
            translated = refusal_of(error)
            if translated.kind == "internal":
                LOG.error("%s: %s", error.kind, error.message)
            return _refused(translated)
        except TimeoutError:
            return _refused(overload(f"no answer within {HANDLER_MS} ms"))
        except Exception as error:  # as at the site: a fault of ours is neither fatal nor told
            LOG.error("a parcel ended in %s: %s", type(error).__name__, error, exc_info=error)
            return _refused(Refusal("internal", "see this node's log"))

    async def _perform(self, carried: Parcel | Notice, question: Question, bringer: Remote) -> Answer:
        path, _, query = question.path.partition("?")
        row, cid = _notice_row(carried) if isinstance(carried, Notice) else _letter_row(question.method, path)
        if len(question.body) > row.body:
            raise Refusal("too_large", f"expected at most {row.body} bytes, found {len(question.body)}")
        speaker = self.speaker(carried)
        if not row.may(speaker):
            raise Refusal("role_required", f"{row.method} {row.path} is for {row.who}")
        remote = Remote(bringer.host, bringer.port, "letter", speaker)
        asked = Asked(row, cid, tuple(query.split("&")) if query else (), question.body, remote)
        async with asyncio.timeout(HANDLER_MS / 1000):
            if row.action is table.Action.PROLONG:  # of the door's, the only one that is asked from afar
                return Answer(Code.CHANGED.dotted, await self._admission.renew(speaker, question.body))
            answer = await self._resources.perform(asked)
        if len(answer.payload) > MAX_ANSWER_BYTES:
            raise Refusal("too_large", f"the answer has {len(answer.payload)} bytes, a letter takes {MAX_ANSWER_BYTES}")
        return Answer(answer.code.dotted, answer.payload)


def check_notice(notice: Notice) -> None:
    """Refuse a notice of what isn't told to everybody, before it is handed on."""
    _notice_row(notice)


def _notice_row(notice: Notice) -> tuple[Row, None]:
    if notice.path not in FOR_ALL:
        raise Refusal("not_found", f"no notices are taken for {notice.path}")
    row = table.ROUTES[tuple(notice.path.strip("/").split("/"))]["POST"]
    if len(notice.body) > row.body:
        raise Refusal("too_large", f"expected at most {row.body} bytes, found {len(notice.body)}")
    return row, None


def _letter_row(method: Method, path: str) -> tuple[Row, Cid | None]:
    methods, last = table.find(tuple(path.strip("/").split("/"))) or ({}, None)
    row = methods.get(method.value)
    if row is None or (row.method, row.path) not in FOR_ONE:
        raise Refusal("not_found", f"no letters are taken for {method.value} {path}")
    return row, Cid.parse(last) if last is not None else None


def _refused(refusal: Refusal) -> Answer:
    return Answer(refusal.code.dotted, refusal.told.encode(), refusal.max_age_s)
