"""The host functions of module `icn`, as the child answers them.

Signatures, permissions and prices stand in `icn_lite.wasm.hostfuncs`; the prepared module pays before it calls. The
functions in `LOCAL` are answered here, from what came with the request. Those in `REMOTE` need the node: arguments
are read out of the guest's memory, sent through the pipe, and the answer's bytes are written back. What the node's
policy forbids or nobody serves never comes here (`child.py` links a refusal instead).

A range that doesn't lie in the memory answers `MemoryAccess` and changes nothing, as does a buffer larger than its
answer. Every answer of a local function depends on the module, the input and the job alone, so that it is the same
on every device: `host_data_read_cid` knows the input and what the guest itself wrote, and nothing of the node's.

Results are `HostAbiError`s (`enhanced-mesh-job-system.md`) as plain numbers: the enum would cost the child more
memory than this whole room. A test compares them.
"""

from __future__ import annotations

from icn_lite.sandbox.digests import BLAKE2B_MAX_BYTES, CID_BYTES, blake2b, raw_cid, sha256
from icn_lite.sandbox.memory import U32, BadPointer, GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Answer: TypeAlias = tuple[int, bytes]
    RemoteCall: TypeAlias = Callable[[str, list[int], list[bytes]], Answer]
    HostFn: TypeAlias = Callable[..., int | None]
    SendLog: TypeAlias = Callable[[bytes], None]
    Spend: TypeAlias = Callable[[int], None]  # so many host calls more

INVALID_PARAMETERS = -2
MEMORY_ACCESS = -3
BUFFER_TOO_SMALL = -4
NOT_PERMITTED = -5
NOT_SUPPORTED = -6
NOT_FOUND = -7
RESOURCE_LIMIT = -9
NOT_INTERACTIVE = -13

HOST_CALL_LIMIT = 250_000  # the binding loses up to 400 bytes at each: 100 MB at the most, gone with the child
MAX_REMOTE_BYTES = 1 << 20  # that much a call may send to the node or get from it
MAX_BLOCKS = 256  # that a run may write: each is a row in the executor's store
MAX_CID_BYTES = 128  # of a CID as text; ours have 59
LOG_LEVELS = (b"trace", b"debug", b"info", b"warn", b"error")
INTERACTIVE = "host_interactive_"
FULL_PROGRESS = 100  # per cent
SCRIPT_HEADER_BYTES = 20  # before every object of AssemblyScript's runtime

# A log goes to the node as it grows, so that it is there when the run is killed: each line at once at first, and from
# a talkative guest in pieces, of which a kill may take the last. At most 2,000 frames for the longest log.
LOG_FRAMES_AT_ONCE = 1000
LOG_PIECE_BYTES = 1024

# How the parameters of a remote function are read: "bytes" is (ptr, len), "out" is (ptr, max_len) of the buffer for
# the answer, "int" is a number, a number is a pointer to that many bytes.
REMOTE: dict[str, tuple[str | int, ...]] = {
    "host_interactive_prompt_for_input": ("bytes",),
    "host_interactive_peek_input_len": (),
    "host_interactive_receive_input": ("out", "int"),
    "host_interactive_send_output": ("bytes", "bytes", "int"),
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
        "host_job_report_progress", "host_data_read_cid", "host_data_write_buffer", "abort",
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

    def __init__(self, data: bytes, output_limit: int, log_limit: int, send_log: SendLog | None = None) -> None:
        self.input = data
        self.output = bytearray()
        self.blocks: dict[bytes, bytes] = {}  # what the guest wrote, by its CID as text
        self.log = bytearray()  # what has not been sent
        self._output_room = output_limit
        self._log_room = log_limit
        self._send_log = send_log
        self._frames = 0

    def put_output(self, data: bytes) -> bool:
        """All or nothing, so that a guest knows what is in its output."""
        if len(data) > self._output_room:
            return False
        self._output_room -= len(data)
        self.output += data
        return True

    def put_block(self, cid: bytes, data: bytes) -> bool:
        """A block counts as output; one that is written twice counts once."""
        if cid in self.blocks:
            return True
        if len(data) > self._output_room or len(self.blocks) >= MAX_BLOCKS:
            return False
        self._output_room -= len(data)
        self.blocks[cid] = data
        return True

    def output_room(self) -> int:
        return self._output_room

    def put_log(self, data: bytes) -> None:
        """What is past the limit is dropped: logs are for people and no part of a result."""
        piece = data[: self._log_room]
        self._log_room -= len(piece)
        self.log += piece
        if self._send_log is None or not piece:
            return
        if self._frames < LOG_FRAMES_AT_ONCE or len(self.log) >= LOG_PIECE_BYTES:
            self._frames += 1
            self._send_log(bytes(self.log))
            self.log.clear()

    def log_room(self) -> int:
        return self._log_room


class IcnFunctions:
    """Answers one run's calls."""

    def __init__(self, memory: GuestMemory, streams: Streams, facts: JobFacts, remote: RemoteCall) -> None:
        self._memory = memory
        self._streams = streams
        self._facts = facts
        self._remote = remote

    def refusal(self, name: str, code: int) -> HostFn:
        """What to link for a function that is forbidden or not served; what a job can't have comes before both."""
        if name.startswith(INTERACTIVE) and not self._facts.interactive:
            code = NOT_INTERACTIVE
        return lambda *_: code

    def function(self, name: str, *, is_remote: bool) -> HostFn:
        """What to link for a row of the table."""
        if name.startswith(INTERACTIVE) and not self._facts.interactive:
            return self.refusal(name, NOT_INTERACTIVE)
        inner: HostFn = self._remote_function(name) if is_remote else getattr(self, name)

        def guarded(*args: int) -> int | None:
            try:
                return inner(*args)
            except BadPointer:
                return MEMORY_ACCESS

        return guarded

    def _fill(self, pointer: int, max_len: int, data: bytes) -> int:
        """A whole text into a guest's buffer: its length when the guest asks for that with max_len 0."""
        if not data:
            return NOT_FOUND
        if max_len == 0:
            return len(data)
        self._memory.check(pointer, max_len)
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
        return self._copy(self._streams.input, offset, pointer, max_len)

    def _copy(self, data: bytes, offset: int, pointer: int, max_len: int) -> int:
        """A part of some bytes, as much as there is and fits."""
        self._memory.check(pointer, max_len)
        start = offset & U32
        chunk = data[start : start + (max_len & U32)]
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

    def abort(self, message: int, file: int, line: int, column: int) -> None:
        """AssemblyScript's `env.abort`, here for its words: the compiler puts `unreachable` behind every call."""
        where = b"%s:%d:%d" % (self._script_text(file), line & U32, column & U32)
        self._streams.put_log(b"abort: %s at %s\n" % (self._script_text(message), where))

    def _script_text(self, pointer: int) -> bytes:
        """AssemblyScript's string as UTF-8: UTF-16LE code units, their size in bytes 4 before; "?" when it is none."""
        start = pointer & U32
        if start < SCRIPT_HEADER_BYTES:
            return b"?"
        try:
            size = int.from_bytes(self._memory.read(start - 4, 4), "little")
            units = self._memory.read(start, min(size, 2 * self._streams.log_room()) & ~1)
        except BadPointer:
            return b"?"
        return (b"\xff\xfe" + units).decode("utf-16", "replace").encode()  # with its mark: a codec in C, no import

    # the job

    def host_job_get_id(self, pointer: int, max_len: int) -> int:
        return self._fill(pointer, max_len, self._facts.job_id)

    def host_job_get_initial_input_cid(self, pointer: int, max_len: int) -> int:
        return self._fill(pointer, max_len, self._facts.initial_input_cid)

    def host_job_is_interactive(self) -> int:
        return int(self._facts.interactive)

    def host_job_report_progress(self, percent: int, pointer: int, length: int) -> int:
        """A line of the log, so that whoever follows it sees it at once."""
        if not 0 <= percent <= FULL_PROGRESS:
            return INVALID_PARAMETERS
        self._log_line(b"progress: %d %% " % percent, pointer, length)
        return 0

    def host_workflow_get_current_stage_index(self) -> int:
        return self._facts.stage_index

    def host_workflow_get_current_stage_id(self, pointer: int, max_len: int) -> int:
        return self._fill(pointer, max_len, self._facts.stage_id)

    def host_workflow_get_current_stage_input_cid(self, key: int, key_len: int, pointer: int, max_len: int) -> int:
        """A stage has one input here, under the empty key."""
        self._memory.check(key, key_len)
        if key_len:
            return NOT_FOUND
        return self._fill(pointer, max_len, self._facts.stage_input_cid)

    # blocks

    def host_data_read_cid(self, cid: int, cid_len: int, offset: int, pointer: int, max_len: int) -> int:
        """The input, and what this run wrote; max_len 0 asks for the length."""
        if cid_len & U32 > MAX_CID_BYTES:
            return INVALID_PARAMETERS
        name = self._memory.read(cid, cid_len)
        data = self._streams.blocks.get(name)
        if data is None:
            if not name or name != (self._facts.stage_input_cid or self._facts.initial_input_cid):
                return NOT_FOUND  # of a later stage the job's first input is not at hand
            data = self._streams.input
        if max_len == 0:
            return len(data)
        return self._copy(data, offset, pointer, max_len)

    def host_data_write_buffer(self, pointer: int, length: int, out: int, max_len: int) -> int:
        """Keep a block beside the output and tell its CID; with max_len 0 only that CID's length."""
        if max_len == 0:
            return CID_BYTES
        self._memory.check(pointer, length)
        self._memory.check(out, max_len)
        if max_len & U32 < CID_BYTES:
            return BUFFER_TOO_SMALL
        data = self._memory.read(pointer, length)
        cid = raw_cid(data)
        if not self._streams.put_block(cid, data):
            return RESOURCE_LIMIT
        self._memory.write(out, cid)
        return CID_BYTES

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

        def call(*args: int) -> int:
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
