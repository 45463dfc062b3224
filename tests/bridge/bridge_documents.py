"""Documents about a given job."""

from __future__ import annotations

from dataclasses import replace

from mesh_samples import bid

from icn_lite.model.bid import Bid
from icn_lite.model.cose import KeySigner
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed, seal
from icn_lite.model.messages import JobAnnouncementV1


def bid_on(job: Sealed[JobAnnouncementV1], bidder: KeySigner, originator: Did | None = None) -> Sealed[Bid]:
    """A bid on a job; to somebody else than its originator if one is named."""
    to = originator or job.signer
    return seal(replace(bid().document, bidder=bidder.did, job_originator=to, job_id=job.document.job.id), bidder)
