"""One run, in the forked child: enter the jail, read the request, close the jail, run the guest, answer, end.

The request comes from the node and is believed. The answer is one `DONE` frame; between the two any number of `CALL`
frames may go up, each answered before the guest goes on, and `LOG` frames with pieces of the log, which nobody
answers. A child that can't answer just ends, and its way of ending (exit status or signal) tells the node why.
"""

from __future__ import annotations

import posix
import time

from icn_lite.sandbox import frames, hostabi, wasi
from icn_lite.sandbox.engine import Engine, EngineError, GuestExit, HostLink, Trap
from icn_lite.sandbox.jail import PAGE_BYTES, Jail, JailLimits
from icn_lite.sandbox.memory import GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from icn_lite.sandbox.frames import Item

    # The parts of a request as they stand in its frame; `wire.py` writes them.
    # style, the engine's name, arguments, types of the results, the allocator
    EntryRow: TypeAlias = tuple[int, str, list[tuple[str, int]], list[str], str | None]
    ImportRow: TypeAlias = tuple[str, str, list[str], list[str], int]  # module, name, params, results, how to link
    LimitsRow: TypeAlias = tuple[int, int, int, int, int, int]  # ms, pages, output, log, host calls, stack bytes
    FactsRow: TypeAlias = tuple[str, str, bool, int, str, str]  # job, input, interactive, stage: index, id, input
    RequestRow: TypeAlias = tuple[
        bytes, str, str, int, list[str], EntryRow, bytes, list[ImportRow], LimitsRow, FactsRow, bytes, list[str]
    ]

RUN, PROBE = 0, 1  # kinds of request
CALL, DONE, LAYERS, LOG = 0, 1, 2, 3  # kinds of answer
CALL_ENTRY, INPUT_ENTRY = 0, 1  # arguments as given; or (pointer, length) of the input
LINK_LOCAL, LINK_REMOTE, LINK_FORBIDDEN, LINK_MISSING = 0, 1, 2, 3

EXIT_FAULT = 70  # EX_SOFTWARE: a fault in this room
EXIT_OUT_OF_MEMORY = 71

FLAG_OUT_OF_FUEL, FLAG_STACK, FLAG_HOST_MEMORY = 1, 2, 3  # icn_lite.wasm.types.TrapFlag, without its enum
INPUT_AT = 1024  # where icn's other executor puts the input
PROBE_LIMITS = JailLimits(10_000, 160, 0)

# (module (global (export "f") (mut i64) (i64.const 0)) (global (export "t") (mut i32) (i32.const 0))
#   (func (export "r") (result i32) (i32.const 0)))
REHEARSAL_CODE = bytes.fromhex(
    "0061736d010000000105016000017f03020100060b027e0142000b7f0141000b070d030166030001740301017200000a0601040041000b"
)
REHEARSAL: list[Item] = [REHEARSAL_CODE, "f", "t", 1, [], [CALL_ENTRY, "r", [], ["i32"], None], b"", [],
                         [1, 0, 0, 0, 0, 0], ["", "", False, 0, "", ""], b"", []]  # fmt: skip


class Request:
    """The fields of a run, in the order of the frame."""

    def __init__(self, item: RequestRow) -> None:
        (
            self.code,
            self.fuel_global,
            self.trap_global,
            self.fuel_limit,
            self.calls_before,
            self.entry,
            self.input,
            self.imports,
            self.limits,
            self.facts,
            self.seed,
            self.arguments,
        ) = item


class Run:
    """A guest in its engine, and what it said so far."""

    def __init__(self, request: Request, engine: Engine, fd: int) -> None:
        _, _, output_limit, log_limit, self._calls_here, _ = request.limits
        self._request = request
        self._engine = engine
        self._fd = fd
        self._calls = 0
        memory = GuestMemory(engine)
        self._streams = hostabi.Streams(request.input, output_limit, log_limit, self._send_log)
        job_id, input_cid, interactive, stage_index, stage_id, stage_cid = request.facts
        facts = hostabi.JobFacts(job_id, input_cid, interactive, (stage_index, stage_id, stage_cid))
        self._icn = hostabi.IcnFunctions(memory, self._streams, facts, self._remote)
        self._wasi = wasi.WasiFunctions(memory, self._streams, request.arguments, request.seed, self._spend)
        self._memory = memory

    def perform(self) -> Item:
        """The `DONE` frame."""
        request, engine = self._request, self._engine
        status, trap, detail, exit_code, results = "completed", None, "", None, []
        try:
            engine.load(request.code, [self._link(row) for row in request.imports])
            engine.set_global(request.fuel_global, request.fuel_limit)
            engine.set_global(request.trap_global, 0)
            results = self._enter()
        except GuestExit as ending:
            exit_code = ending.code
        except Trap as ending:
            status, trap = "trapped", ending.name
        except EngineError as error:
            status, detail = ("out_of_memory" if error.out_of_memory else "failed"), str(error)
        except MemoryError:
            status, detail = "out_of_memory", "the host functions ran out of memory"
        fuel_left, flag = self._meters()
        if flag == FLAG_OUT_OF_FUEL or fuel_left < 0:
            status, trap = "out_of_fuel", None
        elif flag == FLAG_STACK:
            status, trap = "trapped", "call_stack_exhausted"
        elif flag == FLAG_HOST_MEMORY:
            status, trap, detail = "out_of_memory", None, "the device could not give the pages that the limits allow"
        if status != "completed":
            results, exit_code = [], None
        pages = len(engine.memory()) // PAGE_BYTES if status != "failed" else 0
        streams = self._streams
        cpu_us = time.process_time_ns() // 1000
        return [DONE, status, trap, detail, exit_code, results, fuel_left, pages, bytes(streams.output),
                bytes(streams.log), self._calls, cpu_us, list(streams.blocks.values())]  # fmt: skip

    def _enter(self) -> list[Item]:
        """Start function and initialisers first, then the entry."""
        for name in self._request.calls_before:
            self._engine.call(name, [], [])
        style, name, args, results, alloc = self._request.entry
        if style == INPUT_ENTRY:
            args = self._place_input(alloc)
        bits = self._engine.call(name, [(kind, value) for kind, value in args], results)
        return list(bits)

    def _place_input(self, alloc: str | None) -> list[tuple[str, int]]:
        """Put the input where the guest's allocator says, or at the agreed place; a guest without room traps."""
        data = self._request.input
        pointer = self._engine.call(alloc, [("i32", len(data))], ["i32"])[0] if alloc else INPUT_AT
        if pointer + len(data) > len(self._engine.memory()):
            raise Trap("host_error")
        if data:
            self._memory.begin()
            self._memory.write(pointer, data)
        return [("i32", pointer), ("i32", len(data))]

    def _meters(self) -> tuple[int, int]:
        try:
            return self._engine.get_global(self._request.fuel_global), self._engine.get_global(
                self._request.trap_global
            )
        except Exception:  # noqa: BLE001 - a module that never loaded has no globals, and each engine says so otherwise
            return self._request.fuel_limit, 0

    def _link(self, row: ImportRow) -> HostLink:
        module, name, params, results, how = row
        function = self._function(module, name, results, how)
        return HostLink(module, name, params, results, self._counted(function, bool(results)))

    def _function(self, module: str, name: str, results: list[str], how: int) -> Callable[..., int | None]:
        is_wasi = module == wasi.MODULE
        if how in (LINK_FORBIDDEN, LINK_MISSING):
            forbidden = how == LINK_FORBIDDEN
            if not is_wasi:
                return self._icn.refusal(name, hostabi.NOT_PERMITTED if forbidden else hostabi.NOT_SUPPORTED)
            code = wasi.ENOTCAPABLE if forbidden else wasi.ENOSYS
            return lambda *_: code
        if is_wasi:
            return self._wasi.function(name)
        return self._icn.function(name, is_remote=how == LINK_REMOTE)

    def _counted(self, function: Callable[..., int | None], answers: bool) -> Callable[..., int | None]:
        """Count calls and stop a guest that makes too many; a function without a result can't tell its errors.

        Past the limit that holds everywhere it traps; past a lower one of this device the device has failed.
        """

        def call(*args: int) -> int | None:
            self._spend(1)
            self._memory.begin()
            answer = function(*args)
            return answer if answers else None

        return call

    def _spend(self, calls: int) -> None:
        """Count calls, and stop the guest past the limit."""
        limit = self._calls_here
        self._calls += calls
        if self._calls > limit:
            self._calls = limit + 1
            if limit < hostabi.HOST_CALL_LIMIT:
                raise EngineError(f"more than {limit} host calls, which this device allows", out_of_memory=True)
            raise Trap("host_error")

    def _send_log(self, piece: bytes) -> None:
        frames.write_frame(self._fd, [LOG, piece])

    def _remote(self, name: str, numbers: list[int], blocks: list[bytes]) -> tuple[int, bytes]:
        frames.write_frame(self._fd, [CALL, name, list(numbers), list(blocks)])
        answer: tuple[int, bytes] = frames.decode(frames.read_frame(self._fd))  # type: ignore[assignment]  # the node's
        return answer[0], answer[1]


def rehearse(make_engine: type[Engine]) -> None:
    """Run a module of our own that does nothing, so that the real run finds its pages mapped and its code warm."""
    row: RequestRow = frames.decode(frames.encode(REHEARSAL))  # type: ignore[assignment]  # written above
    frames.encode(Run(Request(row), make_engine(0), -1).perform())


def serve(fd: int, zygote_pid: int, jail: Jail, make_engine: type[Engine], ahead: bool) -> None:
    """The child's whole life after the fork; it never returns. `ahead` when nobody waits for it yet."""
    code = EXIT_FAULT
    try:
        layers = jail.enter(fd, zygote_pid)
        if ahead and make_engine.rehearses:
            rehearse(make_engine)
        message: tuple[int, RequestRow] = frames.decode(frames.read_frame(fd))  # type: ignore[assignment]  # the node's
        kind, row = message
        if kind == PROBE:
            layers += jail.close(PROBE_LIMITS)
            frames.write_frame(fd, [LAYERS, [list(layer) for layer in layers]])
        else:
            request = Request(row)
            timeout_ms, max_pages, output_limit, log_limit, _, stack_bytes = request.limits
            # The input, output and log may each be held twice: in their buffer and in a frame.
            extra = 2 * (len(request.code) + len(request.input) + output_limit + log_limit)
            jail.close(JailLimits(timeout_ms, max_pages, extra))
            frames.write_frame(fd, Run(request, make_engine(stack_bytes), fd).perform())
        code = 0
    except MemoryError:
        code = EXIT_OUT_OF_MEMORY
    except (frames.FrameError, OSError):  # the node has gone; nobody is left to tell
        code = EXIT_FAULT
    finally:
        posix._exit(code)
