"""What validation may find (`mesh-job-protocol.md` §5.1), from which payment, stake and reputation follow (§6.1)."""

from __future__ import annotations

from enum import Enum


class ValidationOutcome(Enum):
    """`ValidationOutcome`: of one executor's result."""

    ACCEPTED = "Accepted"
    ACCEPTED_WITH_DISPUTE = "AcceptedWithDispute"
    REJECTED = "Rejected"
