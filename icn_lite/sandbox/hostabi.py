"""The host functions of module `icn`, as the child answers them.

Signatures, permissions and prices stand in `icn_lite.wasm.hostfuncs`; the prepared module pays before it calls. The
functions in `LOCAL` are answered here, from what came with the request. Those in `REMOTE` need the node: arguments
are read out of the guest's memory, sent through the pipe, and the answer's bytes are written back. A pointer out of
bounds answers `MemoryAccess` and changes nothing. What the node's policy forbids or nobody serves never comes here
(`child.py` links a refusal instead).

Results are `HostAbiError`s (`enhanced-mesh-job-system.md`) as plain numbers: the enum would cost the child more
memory than this whole room. A test compares them.
"""

from __future__ import annotations

from icn_lite.sandbox.digests import BLAKE2B_MAX_BYTES, blake2b, sha256
from icn_lite.sandbox.memory import U32, BadPointer, GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Answer: TypeAlias = tuple[int, bytes]
    RemoteCall: TypeAlias = Callable[[str, list[int], list[bytes]], Answer]
    HostFn: TypeAlias = Callable[..., int | None]

INVALID_PARAMETERS = -2
MEMORY_ACCESS = -3
BUFFER_TOO_SMALL = -4
NOT_PERMITTED = -5
NOT_SUPPORTED = -6
NOT_FOUND = -7
RESOURCE_LIMIT = -9
NOT_INTERACTIVE = -13

MAX_REMOTE_BYTES = 1 << 20  # that much a call may send to the node or get from it
LOG_LEVELS = (b"trace", b"debug", b"info", b"warn", b"error")

# How the parameters of a remote function are read: "bytes" is (ptr, len), "out" is (ptr, max_len) of the buffer for
# the answer, "int" is a number, a number is a pointer to that many bytes.
REMOTE: dict[str, tuple[str | int, ...]] = {
    "host_job_report_progress": ("int", "bytes"),
    "host_interactive_prompt_for_input": ("bytes",),
    "host_interactive_peek_input_len": (),
    "host_interactive_receive_input": ("out", "int"),
    "host_interactive_send_output": ("bytes", "bytes", "int"),
    "host_data_read_cid": ("bytes", "int", "out"),
    "host_data_write_buffer": ("bytes", "out"),
    "host_account_get_mana": (),
    "host_account_spend_mana": ("int",),
    "host_account_credit_mana": ("bytes", "int"),
    "host_get_reputation": (),
    "host_submit_mesh_job": ("bytes",),
    "host_get_pending_mesh_jobs": ("out",),
    "host_anchor_receipt": ("bytes",),
    "host_create_governance_proposal": ("bytes",),
    "host_cast_governance_vote": ("bytes",),
    "host_execute_governance_proposal": ("bytes",),
    "host_verify_zk_proof": ("bytes",),
    "host_generate_zk_proof": ("bytes", "out"),
    "ed25519_verify": ("bytes", 64, 32),
}

LOCAL = frozenset(
    {
        "get_input", "input_len", "read_input", "put_output", "log", "host_log_message", "host_job_get_id",
        "host_job_get_initial_input_cid", "host_job_is_interactive", "host_workflow_get_current_stage_index",
        "host_workflow_get_current_stage_id", "host_workflow_get_current_stage_input_cid", "sha256", "blake2b",
    }
)  # fmt: skip


class JobFacts:
    """What the job's context functions answer."""

    __slots__ = ("initial_input_cid", "interactive", "job_id", "stage_id", "stage_index", "stage_input_cid")

    def __init__(self, job_id: str, initial_input_cid: str, interactive: bool, stage: tuple[int, str, str]) -> None:
        self.job_id = job_id.encode()
        self.initial_input_cid = initial_input_cid.encode()
        self.interactive = interactive
        self.stage_index, stage_id, stage_input_cid = stage
        self.stage_id = stage_id.encode()
        self.stage_input_cid = stage_input_cid.encode()


class Streams:
    """Input, output and log of one run, with their limits; shared by the `icn` functions and WASI."""

    def __init__(self, data: bytes, output_limit: int, log_limit: int) -> None:
        self.input = data
        self.output = bytearray()
        self.log = bytearray()
        self.output_limit = output_limit
        self._log_limit = log_limit

    def put_output(self, data: bytes) -> bool:
        """All or nothing, so that a guest knows what is in its output."""
        if len(self.output) + len(data) > self.output_limit:
            return False
        self.output += data
        return True

    def put_log(self, data: bytes) -> None:
        """What is past the limit is dropped: logs are for people and no part of a result."""
        self.log += data[: self._log_limit - len(self.log)]

    def log_room(self) -> int:
        return self._log_limit - len(self.log)


class IcnFunctions:
    """Answers one run's calls."""

    def __init__(self, memory: GuestMemory, streams: Streams, facts: JobFacts, remote: RemoteCall) -> None:
        self._memory = memory
        self._streams = streams
        self._facts = facts
        self._remote = remote

    def function(self, name: str, *, is_remote: bool) -> HostFn:
        """What to link for a row of the table."""
        inner: HostFn = self._remote_function(name) if is_remote else getattr(self, name)

        def guarded(*args: int) -> int | None:
            try:
                return inner(*args)
            except BadPointer:
                return MEMORY_ACCESS

        return guarded

    def _fill(self, pointer: int, max_len: int, data: bytes) -> int:
        """A whole text into a guest's buffer: its length when the guest asks for that with max_len 0."""
        if max_len == 0:
            return len(data)
        if len(data) > max_len & U32:
            return BUFFER_TOO_SMALL
        self._memory.write(pointer, data)
        return len(data)

    # input, output, log

    def get_input(self, pointer: int, max_len: int) -> int:
        if max_len == 0:
            return len(self._streams.input)
        return self.read_input(0, pointer, max_len)

    def input_len(self) -> int:
        return len(self._streams.input)

    def read_input(self, offset: int, pointer: int, max_len: int) -> int:
        start = offset & U32
        chunk = self._streams.input[start : start + (max_len & U32)]
        self._memory.write(pointer, chunk)
        return len(chunk)

    def put_output(self, pointer: int, length: int) -> int:
        return 0 if self._streams.put_output(self._memory.read(pointer, length)) else RESOURCE_LIMIT

    def log(self, pointer: int, length: int) -> None:
        self._log_line(b"", pointer, length)

    def host_log_message(self, level: int, pointer: int, length: int) -> int:
        if not 0 <= level < len(LOG_LEVELS):
            return INVALID_PARAMETERS
        self._log_line(LOG_LEVELS[level] + b": ", pointer, length)
        return 0

    def _log_line(self, prefix: bytes, pointer: int, length: int) -> None:
        self._memory.check(pointer, length)
        room = min(length & U32, self._streams.log_room())  # a flood is not even copied
        self._streams.put_log(prefix + self._memory.read(pointer, room) + b"\n")

    # the job

    def host_job_get_id(self, pointer: int, max_len: int) -> int:
        return self._fill(pointer, max_len, self._facts.job_id)

    def host_job_get_initial_input_cid(self, pointer: int, max_len: int) -> int:
        if not self._facts.initial_input_cid:
            return NOT_FOUND
        return self._fill(pointer, max_len, self._facts.initial_input_cid)

    def host_job_is_interactive(self) -> int:
        return int(self._facts.interactive)

    def host_workflow_get_current_stage_index(self) -> int:
        return self._facts.stage_index

    def host_workflow_get_current_stage_id(self, pointer: int, max_len: int) -> int:
        return self._fill(pointer, max_len, self._facts.stage_id)

    def host_workflow_get_current_stage_input_cid(self, key: int, key_len: int, pointer: int, max_len: int) -> int:
        """A stage has one input here, under the empty key."""
        self._memory.check(key, key_len)
        if key_len or not self._facts.stage_input_cid:
            return NOT_FOUND
        return self._fill(pointer, max_len, self._facts.stage_input_cid)

    # native helpers

    def sha256(self, pointer: int, length: int, out: int) -> int:
        self._memory.check(out, 32)
        self._memory.write(out, sha256(self._memory.read(pointer, length)))
        return 0

    def blake2b(self, pointer: int, length: int, out: int, out_len: int) -> int:
        if not 1 <= out_len <= BLAKE2B_MAX_BYTES:
            return INVALID_PARAMETERS
        self._memory.check(out, out_len)
        self._memory.write(out, blake2b(self._memory.read(pointer, length), out_len))
        return 0

    # what the node answers

    def _remote_function(self, name: str) -> HostFn:
        pattern = REMOTE[name]
        interactive = name.startswith("host_interactive_")

        def call(*args: int) -> int:
            if interactive and not self._facts.interactive:
                return NOT_INTERACTIVE
            numbers: list[int] = []
            blocks: list[bytes] = []
            out: tuple[int, int] | None = None
            at = size = 0
            for kind in pattern:
                if kind == "int":
                    numbers.append(args[at])
                    at += 1
                    continue
                length = (kind if isinstance(kind, int) else args[at + 1]) & U32
                self._memory.check(args[at], length)
                if kind == "out":
                    out = (args[at], length)
                    numbers.append(length)
                else:
                    size += length
                    if size > MAX_REMOTE_BYTES:
                        return RESOURCE_LIMIT
                    blocks.append(self._memory.read(args[at], length))
                at += 1 if isinstance(kind, int) else 2
            result, data = self._remote(name, numbers, blocks)
            if result >= 0 and data and out is not None and out[1]:
                if len(data) > out[1]:
                    return BUFFER_TOO_SMALL
                self._memory.write(out[0], data)
            return result

        return call
