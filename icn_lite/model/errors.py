"""Errors and failure codes that cross rooms.

Every error a person can meet is an `IcnLiteError`: one sentence saying what was expected, what was found and
where, a `hint` naming the next step, a `kind` for machines, and, where `spec/mesh-job-protocol.md` Appendix B has
one, a J-code. `exit_code` follows the command line's table (0 done, 1 failed, 2 usage, 3 module refused,
4 trapped, 5 out of fuel, 6 device refuses, 7 peer or network, 8 verification failed).
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import ClassVar, Literal


class JobErrorCode(Enum):
    """J-codes, `mesh-job-protocol.md` Appendix B."""

    INVALID_JOB_SPEC = "J001"
    INSUFFICIENT_BUDGET = "J002"
    NO_EXECUTOR_AVAILABLE = "J003"
    EXECUTION_TIMEOUT = "J004"
    VALIDATION_FAILED = "J005"
    DISPUTE_RAISED = "J006"
    PAYMENT_FAILED = "J007"
    SANDBOX_VIOLATION = "J008"
    RESOURCE_EXHAUSTED = "J009"
    DEADLINE_EXCEEDED = "J010"


class FailureReason(Enum):
    """Why a run or a job failed: `mesh-job-protocol.md` §7.1, with §4.2's `DeadlineExceeded`."""

    OUT_OF_MEMORY = "OutOfMemory"
    CPU_TIMEOUT = "CpuTimeout"
    DISK_FULL = "DiskFull"
    NETWORK_ERROR = "NetworkError"
    CRASH_OR_PANIC = "CrashOrPanic"
    INVALID_INPUT = "InvalidInput"
    UNSUPPORTED_OPERATION = "UnsupportedOperation"
    DETERMINISM_VIOLATION = "DeterminismViolation"
    VALIDATOR_UNAVAILABLE = "ValidatorUnavailable"
    DAG_WRITE_FAILURE = "DAGWriteFailure"
    MANA_INSUFFICIENT = "ManaInsufficient"
    DEADLINE_EXCEEDED = "DeadlineExceeded"


class HostAbiError(IntEnum):
    """Negative results of host functions (`enhanced-mesh-job-system.md`, `icn-host-abi`)."""

    SUCCESS = 0
    UNKNOWN = -1
    INVALID_PARAMETERS = -2
    MEMORY_ACCESS = -3
    BUFFER_TOO_SMALL = -4
    NOT_PERMITTED = -5
    NOT_SUPPORTED = -6
    NOT_FOUND = -7
    TIMEOUT = -8
    RESOURCE_LIMIT = -9
    DATA_ENCODING = -10
    STORAGE = -11
    NETWORK = -12
    NOT_INTERACTIVE = -13
    INVALID_STATE = -14


class IcnLiteError(Exception):
    """Base of every error that is meant to be read."""

    kind: ClassVar[str] = "error"
    code: JobErrorCode | None = None
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "", code: JobErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code

    def as_json(self) -> dict[str, str | None]:
        """The value of `error` in every `--json` answer."""
        return {
            "code": self.code.value if self.code else None,
            "kind": self.kind,
            "message": self.message,
            "hint": self.hint,
        }


class UsageError(IcnLiteError):
    """The caller asked for something that makes no sense."""

    kind = "usage"
    exit_code = 2


class NotSupported(IcnLiteError):
    """What does not exist yet, or not on this device."""

    kind = "not_supported"


class DocumentError(IcnLiteError):
    """Bytes or values that are not a document of the expected form; `offset` counts bytes from the start."""

    kind = "malformed_document"
    exit_code = 8

    def __init__(self, message: str, *, offset: int | None = None, hint: str = "") -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})", hint=hint)
        self.reason = message
        self.offset = offset


class SignatureError(IcnLiteError):
    """A signature that does not hold, or is of another kind than expected."""

    kind = "bad_signature"
    exit_code = 8


class VerificationError(IcnLiteError):
    """A well-signed statement that does not fit what it speaks about."""

    kind = "verification_failed"
    code = JobErrorCode.VALIDATION_FAILED
    exit_code = 8


class JobError(IcnLiteError):
    """A job that cannot be taken as it stands."""

    kind = "invalid_job"
    code = JobErrorCode.INVALID_JOB_SPEC


class BidError(IcnLiteError):
    """A bid that is refused; `reason` is one word for counters."""

    kind = "bid_refused"

    def __init__(self, reason: str, message: str, *, hint: str = "", code: JobErrorCode | None = None) -> None:
        super().__init__(message, hint=hint, code=code)
        self.reason = reason


class LedgerError(IcnLiteError):
    """A movement of mana that the accounts don't allow."""

    kind = "payment_failed"
    code = JobErrorCode.PAYMENT_FAILED


class StoreError(IcnLiteError):
    """The home folder or its database can't be used."""

    kind = "store"


class HomeInUse(StoreError):
    """Another process holds the home's lock."""

    kind = "home_in_use"


class DiskFullError(StoreError):
    """No room left on the disk, or in the budget that this node may use; nothing of the change was kept."""

    kind = "disk_full"
    code = JobErrorCode.RESOURCE_EXHAUSTED
    reason: ClassVar[FailureReason] = FailureReason.DISK_FULL


class PeerError(IcnLiteError):
    """A peer that can't be reached or answers wrongly."""

    kind = "peer"
    exit_code = 7


class PeerRefused(PeerError):
    """A peer that answered, and said no.

    `response` is its CoAP code (`4.22`), `problem` the kind of error that it named (`bid_refused`), or empty;
    `retry_after_s` is set when it asked to be tried again later.
    """

    kind = "peer_refused"

    def __init__(
        self,
        message: str,
        *,
        response: str,
        problem: str = "",
        retry_after_s: int | None = None,
        hint: str = "",
        code: JobErrorCode | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.response = response
        self.problem = problem
        self.retry_after_s = retry_after_s


class Later(IcnLiteError):
    """Nothing is wrong but the moment: the same thing is to be asked again after `retry_after_s`."""

    kind = "later"
    exit_code = 7

    def __init__(self, message: str, *, retry_after_s: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class UpstreamError(PeerError):
    """A larger network behind the bridge that can't be reached or answers wrongly; what was to go there is kept."""

    kind = "upstream"


class UpstreamRefused(UpstreamError):
    """An upstream that answered, and said no: asking again soon changes nothing."""

    kind = "upstream_refused"


class NotAdmitted(IcnLiteError):
    """Somebody who is no member of a cooperative of ours, or not any more."""

    kind = "not_admitted"
    exit_code = 7


class DeviceRefuses(IcnLiteError):
    """Battery, heat or policy say no."""

    kind = "device_refuses"
    exit_code = 6


class ProfileError(UsageError):
    """A firmware profile that is refused; `line` counts from 1, None where no single line is to blame."""

    kind = "invalid_profile"

    def __init__(self, message: str, *, line: int | None = None, hint: str = "") -> None:
        super().__init__(message if line is None else f"{message} (line {line})", hint=hint)
        self.reason = message
        self.line = line


ModuleErrorKind = Literal["malformed", "invalid", "unsupported", "limit"]


class ModuleError(IcnLiteError):
    """A guest module that is refused before it runs.

    `offset` counts bytes from the start of the module; `function` is the function index, or None outside code.
    """

    kind = "module_refused"
    code = JobErrorCode.SANDBOX_VIOLATION
    exit_code = 3

    def __init__(
        self,
        reason: ModuleErrorKind,
        message: str,
        *,
        offset: int | None = None,
        function: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason: ModuleErrorKind = reason
        self.offset = offset
        self.function = function
