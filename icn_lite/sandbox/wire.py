"""Requests to a child and its answers, on the node's side.

A request is written from checked values. An answer comes from a process that ran a stranger's program: it is decoded
strictly, and every field must have its type and lie in its range, or the run has failed. What the child can lie about
even so are the values themselves; that is what re-execution and quorum are for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from icn_lite.model import cbor
from icn_lite.model.errors import DocumentError, FailureReason
from icn_lite.sandbox import child, hostabi, wasi
from icn_lite.sandbox.entry import Entry, type_words
from icn_lite.sandbox.host import ALWAYS_PERMITTED, BUILT_IN, HostCall, HostPort
from icn_lite.sandbox.outcome import TRAPS, RunOutcome, RunRequest, RunStatus
from icn_lite.sandbox.value import BITS, Value
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS

FRAME_OVERHEAD_BYTES: Final = 64 << 10  # everything in an answer but output, log and a call's blocks
MAX_DETAIL: Final = 400
_STATUSES: Final[dict[str, RunStatus]] = {
    "completed": "completed",
    "trapped": "trapped",
    "out_of_fuel": "out_of_fuel",
    "failed": "failed",
    "out_of_memory": "failed",
}


_KINDS: Final = (child.CALL, child.DONE, child.LAYERS, child.LOG)


class ProtocolError(Exception):
    """The child said something that no child of ours says."""


@dataclass(frozen=True, slots=True)
class LayerReport:
    """A layer of the jail as the child found it."""

    name: str
    active: bool
    why: str


def answer_limit(request: RunRequest) -> int:
    """Bytes that one frame of this run may have."""
    return max(request.output_limit + request.log_limit, hostabi.MAX_REMOTE_BYTES) + FRAME_OVERHEAD_BYTES


def encode_request(request: RunRequest, entry: Entry, host: HostPort | None) -> tuple[bytes, bytes]:
    """The frame that starts a run, its length and its body; the order of the fields is `child.Request`'s.

    Two pieces, because a body holds the input, tens of megabytes, and joining them would copy it once more.
    """
    prepared, context = request.prepared, request.context
    style = child.INPUT_ENTRY if entry.takes_input else child.CALL_ENTRY
    args: list[cbor.Value] = [[value.type, value.bits] for value in entry.args]
    imports: list[cbor.Value] = []
    for item in prepared.imports:
        params, results = type_words(item.type.params), type_words(item.type.results)
        how = _link(item.module, item.name, request.permissions, host)
        imports.append([item.module, item.name, list(params), list(results), how])
    limits: list[cbor.Value] = [
        request.timeout_ms, request.max_pages, request.output_limit, request.log_limit, request.host_calls,
        prepared.stack_bytes,
    ]  # fmt: skip
    facts: list[cbor.Value] = [
        context.job_id, context.initial_input_cid, context.interactive,
        context.stage_index, context.stage_id, context.stage_input_cid,
    ]  # fmt: skip
    fields: list[cbor.Value] = [
        prepared.code,
        prepared.fuel_global,
        prepared.trap_global,
        request.fuel_limit,
        list(entry.calls_before),
        [style, entry.function, args, list(entry.engine_results), entry.alloc],
        request.input,
        imports,
        limits,
        facts,
        request.seed,
        list(context.arguments),
    ]
    body = cbor.encode([child.RUN, fields])
    return len(body).to_bytes(4, "big"), body


def encode_probe() -> bytes:
    return frame([child.PROBE, None])


def frame(item: cbor.Value) -> bytes:
    body = cbor.encode(item)
    return len(body).to_bytes(4, "big") + body


def _link(module: str, name: str, permissions: frozenset[str], host: HostPort | None) -> int:
    row = HOST_FUNCTIONS.get((module, name))
    if row is None:
        return child.LINK_MISSING
    is_local = module == wasi.MODULE or name in hostabi.LOCAL
    if not is_local and name not in BUILT_IN and (host is None or not host.serves(name)):
        return child.LINK_MISSING  # before the policy, which differs from node to node
    if row.permission not in permissions | ALWAYS_PERMITTED:
        return child.LINK_FORBIDDEN
    return child.LINK_LOCAL if is_local else child.LINK_REMOTE


def decode_answer(body: bytes) -> list[cbor.Value]:
    """An answer's fields, its kind first; the kind is checked, the rest not yet."""
    try:
        value = cbor.decode(body, max_bytes=len(body))
    except DocumentError as error:
        raise ProtocolError(f"an answer that is not canonical: {error}") from error
    if not isinstance(value, list) or not value or value[0] not in _KINDS:
        raise ProtocolError("an answer of no known kind")
    return value


def read_call(fields: list[cbor.Value]) -> HostCall:
    """A `CALL` frame, fitting the row of the function that it names."""
    match fields:
        case [_, str(name), list(numbers), list(blocks)] if name in hostabi.REMOTE:
            pattern = hostabi.REMOTE[name]
            wanted = sum(1 for kind in pattern if kind in ("int", "out"))
            ints = tuple(n for n in numbers if type(n) is int)
            texts = tuple(b for b in blocks if isinstance(b, bytes))
            counts = (len(ints), len(numbers), len(texts), len(blocks))
            if counts == (wanted, wanted, len(pattern) - wanted, len(pattern) - wanted):
                return HostCall(name, ints, texts)
    raise ProtocolError("a host call of the wrong form")


def encode_reply(result: int, data: bytes) -> bytes:
    """The answer to a `CALL`."""
    return frame([result, data])


def read_layers(fields: list[cbor.Value]) -> list[LayerReport]:
    match fields:
        case [child.LAYERS, list(rows)]:
            return [_layer(row) for row in rows]
    raise ProtocolError("a list of layers of the wrong form")


def _layer(row: cbor.Value) -> LayerReport:
    match row:
        case [str(name), bool(active), str(why)]:
            return LayerReport(name, active, why)
    raise ProtocolError("a layer of the wrong form")


def read_log(fields: list[cbor.Value], room: int) -> bytes:
    """A piece of the log, for which there is so much room."""
    match fields:
        case [child.LOG, bytes(piece)] if 0 < len(piece) <= room:
            return piece
    raise ProtocolError("a piece of the log of the wrong form or past the limit")


@dataclass(frozen=True, slots=True)
class Timing:
    """What the node measured itself, and the log that came before."""

    engine: str
    wall_ms: int
    log: bytes = b""


def read_done(fields: list[cbor.Value], request: RunRequest, entry: Entry, timing: Timing) -> RunOutcome:
    """A `DONE` frame as an outcome; `ProtocolError` when a field is out of its type or range."""
    match fields:
        case [
            _, str(word), (str() | None) as trap, str(detail), (int() | None) as exit_code, list(bits), int(fuel_left),
            int(pages), bytes(output), bytes(log), int(calls), int(cpu_us), list(items),
        ] if word in _STATUSES:  # fmt: skip
            blocks = tuple(item for item in items if isinstance(item, bytes))
        case _:
            raise ProtocolError("an outcome of the wrong form")
    status = _STATUSES[word]
    if (trap in TRAPS) is not (status == "trapped") or (trap is not None and status != "trapped"):
        raise ProtocolError("a trap without a name, or a name without a trap")
    within = (
        -(1 << 63) <= fuel_left <= request.fuel_limit
        and 0 <= pages <= max(request.max_pages, request.prepared.memory_max_pages)
        and len(output) + sum(map(len, blocks)) <= request.output_limit
        and len(blocks) == len(items) <= hostabi.MAX_BLOCKS
        and len(timing.log) + len(log) <= request.log_limit
        and 0 <= calls <= request.host_calls + 1
        and cpu_us >= 0
        and (exit_code is None or 0 <= exit_code < 1 << 32)
    )
    if not within:
        raise ProtocolError("a figure past its limit")
    failure = None
    if status == "failed":
        # What an engine refuses of a prepared module it refuses everywhere: another device is no better.
        failure = FailureReason.OUT_OF_MEMORY if word == "out_of_memory" else FailureReason.UNSUPPORTED_OPERATION
    results = _results(bits, entry) if status == "completed" and exit_code is None else ()
    if entry.is_wasi and status == "completed" and exit_code is None:
        exit_code = 0
    return RunOutcome(
        status=status,
        engine=timing.engine,
        fuel_limit=request.fuel_limit,
        fuel_used=min(request.fuel_limit, request.fuel_limit - fuel_left),
        trap=trap,
        failure=failure,
        detail=detail[:MAX_DETAIL],
        exit_code=exit_code,
        results=results,
        memory_pages_peak=pages,
        output=output or _as_output(results),
        log=timing.log + log,
        blocks=blocks if status == "completed" else (),
        host_calls=min(calls, request.host_calls),
        cpu_ms=min(cpu_us // 1000, timing.wall_ms),
        wall_ms=timing.wall_ms,
    )


def _as_output(results: tuple[Value, ...]) -> bytes:
    """icn-core's output: the eight little-endian bytes of the i64 that `run` returns. Other results are no output."""
    return results[0].to_bytes() if [value.type for value in results] == ["i64"] else b""


def _results(bits: list[cbor.Value], entry: Entry) -> tuple[Value, ...]:
    if len(bits) != len(entry.results):
        raise ProtocolError(f"{len(bits)} results in place of {len(entry.results)}")
    values = []
    for kind, item in zip(entry.results, bits, strict=True):
        if type(item) is not int or not 0 <= item < 1 << BITS[kind]:
            raise ProtocolError("a result that doesn't fit its type")
        values.append(Value(kind, item))
    return tuple(values)
