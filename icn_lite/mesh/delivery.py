"""A parcel at its end: its body goes to the resource that it names, as if its sender had come by itself.

What the sender may do follows from the memberships in the parcel, judged as at the door. The same checks, the same
refusals: the reply holds the code and the body that the sender would have been answered with.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from icn_lite.mesh import table
from icn_lite.mesh.ports import Admission, MeshHandlers, Remote, Speaker
from icn_lite.mesh.refusals import Refusal, overload, refusal_of
from icn_lite.mesh.resources import Asked, Resources
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError
from icn_lite.model.parcel import Parcel

FOR_ONE: Final = frozenset(
    (table.BIDS, table.LEASES, table.LEASE_RETURNS, table.STATUS, table.RECEIPTS, table.JOBS)
)  # what travels to somebody
FOR_ALL: Final = frozenset((table.JOBS, table.CAPABILITY))  # and to everybody
HANDLER_MS: Final = 10_000  # less than a sender waits
LOG: Final = logging.getLogger("icn_lite.mesh")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a parcel: a CoAP code (`2.04`), the body of the answer, and when to try again where that helps."""

    code: str
    body: bytes = b""
    retry_after_s: int | None = None


class Delivery:
    """Delivers parcels to the handlers of this node."""

    def __init__(self, handlers: MeshHandlers, admission: Admission) -> None:
        self._resources = Resources(handlers)
        self._admission = admission

    def speaker(self, parcel: Parcel) -> Speaker:
        """Who its sender is here; raises `NotAdmitted`."""
        return self._admission.admit(parcel.sender, parcel.certificates).speaker

    async def deliver(self, sealed: Sealed[Parcel], bringer: Remote) -> Outcome:
        """Hand a parcel up; whatever is refused is an outcome too."""
        try:
            return await self._deliver(sealed.document, bringer)
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

    async def _deliver(self, parcel: Parcel, bringer: Remote) -> Outcome:
        row = _row(parcel)
        speaker = self.speaker(parcel)
        if not row.may(speaker):
            raise Refusal("role_required", f"POST {row.path} is for {row.who}")
        remote = Remote(bringer.host, bringer.port, bringer.transport, speaker)
        async with asyncio.timeout(HANDLER_MS / 1000):
            answer = await self._resources.perform(Asked(row, None, (), parcel.body, remote))
        return Outcome(answer.code.dotted, answer.payload)


def check_path(parcel: Parcel) -> None:
    """Refuse a parcel for what isn't told by parcels."""
    _row(parcel)


def _row(parcel: Parcel) -> table.Row:
    if parcel.path not in (FOR_ALL if parcel.to is None else FOR_ONE):
        raise Refusal("not_found", f"no parcels are taken for {parcel.path}")
    row = table.ROUTES[tuple(parcel.path.strip("/").split("/"))]["POST"]
    if len(parcel.body) > row.body:
        raise Refusal("too_large", f"expected at most {row.body} bytes, found {len(parcel.body)}")
    return row


def _refused(refusal: Refusal) -> Outcome:
    return Outcome(refusal.code.dotted, refusal.told.encode(), refusal.max_age_s)
