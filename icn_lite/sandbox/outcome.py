"""What goes into a run and what comes out of it.

A `RunRequest` is everything that a result depends on: a prepared module, its entry and arguments, the input, and
the limits. A `RunOutcome` holds what a receipt needs. Only `cpu_ms` and `wall_ms` differ from one device to the
next; of `failed` runs nothing is promised, since they tell about the device and not about the module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from icn_lite.model.errors import FailureReason, UsageError
from icn_lite.sandbox.hostabi import HOST_CALL_LIMIT
from icn_lite.sandbox.value import Value
from icn_lite.wasm.prepared import Prepared

RunStatus: TypeAlias = Literal["completed", "trapped", "out_of_fuel", "failed"]

TRAPS: Final = frozenset(
    {
        "unreachable",
        "integer_divide_by_zero",
        "integer_overflow",
        "invalid_conversion_to_integer",
        "out_of_bounds_memory_access",
        "out_of_bounds_table_access",
        "indirect_call_type_mismatch",
        "uninitialized_element",
        "call_stack_exhausted",
        "host_error",
    }
)
"""Names of traps in receipts; `host_error` is a host function's refusal to go on (too many calls, an exit by abort)."""

MAX_FUEL: Final = (1 << 63) - 1  # the counter is a signed 64-bit global
MAX_INPUT_BYTES: Final = 64 << 20  # it is held whole by the node and by the child; a phone has that much to spare
MAX_OUTPUT_BYTES: Final = 64 << 20  # the same, the other way
MAX_LOG_BYTES: Final = 1 << 20  # logs are for people
MAX_TIMEOUT_MS: Final = 24 * 3600 * 1000  # a shard that needs longer should be cut smaller
DEFAULT_FUEL: Final = 1_000_000_000  # some seconds in the interpreter on a Pi 4
DEFAULT_TIMEOUT_MS: Final = 30_000  # `icn-runtime.md`: 30 s
DEFAULT_PAGES: Final = 160  # `icn-runtime.md`: 160 pages, 10 MiB
DEFAULT_OUTPUT_BYTES: Final = 8 << 20
DEFAULT_LOG_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class RunContext:
    """What `host_job_*` and `host_workflow_*` answer; CIDs and ids are text, empty where there is none."""

    job_id: str = ""
    shard: int = 0
    initial_input_cid: str = ""
    interactive: bool = False
    stage_index: int = 0
    stage_id: str = ""
    stage_input_cid: str = ""
    arguments: tuple[str, ...] = ()  # of a `_start` module, after its name


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run. `invoke` None follows the entry rule; `seed` feeds `random_get` (the input's CID bytes)."""

    prepared: Prepared
    invoke: str | None = None
    args: tuple[Value, ...] = ()
    input: bytes = b""
    fuel_limit: int = DEFAULT_FUEL
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    max_pages: int = DEFAULT_PAGES
    output_limit: int = DEFAULT_OUTPUT_BYTES
    log_limit: int = DEFAULT_LOG_BYTES
    host_calls: int = HOST_CALL_LIMIT  # below that limit, which all share: past it this device fails
    permissions: frozenset[str] = frozenset()
    context: RunContext = field(default_factory=RunContext)
    seed: bytes = b""

    def __post_init__(self) -> None:
        _within("fuel", self.fuel_limit, 0, MAX_FUEL)
        _within("timeout_ms", self.timeout_ms, 1, MAX_TIMEOUT_MS)
        _within("max_pages", self.max_pages, 0, 65536)
        _within("output_limit", self.output_limit, 0, MAX_OUTPUT_BYTES)
        _within("log_limit", self.log_limit, 0, MAX_LOG_BYTES)
        _within("host_calls", self.host_calls, 0, HOST_CALL_LIMIT)
        _within("input bytes", len(self.input), 0, MAX_INPUT_BYTES)
        if self.prepared.memory_max_pages > self.max_pages:
            raise UsageError(
                f"the module was prepared for up to {self.prepared.memory_max_pages} pages, "
                f"this run allows {self.max_pages}",
                hint="prepare it with the same limit of pages as it runs with",
            )


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"expected {name} from {low} to {high}, found {value}")


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended. `trap` is set when trapped, `failure` and `detail` when failed."""

    status: RunStatus
    engine: str
    fuel_limit: int
    fuel_used: int = 0
    trap: str | None = None
    failure: FailureReason | None = None
    detail: str = ""
    exit_code: int | None = None
    results: tuple[Value, ...] = ()
    memory_pages_peak: int = 0
    output: bytes = b""
    log: bytes = b""
    blocks: tuple[bytes, ...] = ()  # what `host_data_write_buffer` kept, in the order of writing
    host_calls: int = 0
    cpu_ms: int = 0
    wall_ms: int = 0
