"""Fuel analysis of one body: which costs belong together, and where they are charged.

The algorithm. Costs are summed into *points*. A point is the place after one event (or the function's entry, -1)
from which all the instructions that are charged there run together, unless the run traps. Walking the events in
order: a branch that may be taken opens a point behind it; `if`, `else` and `loop` open one for their arm or body;
the `end` of a block goes on with the point from before the block when no branch inside leaves past that end (a
*dominator join*), and opens a point when one does.

    local.get 0        ;; 1 ┐
    if                 ;; 1 │ entry: 1 + 1 + 1 + 2 = 5, the entry itself costs 1
      i32.const 1      ;;   │ point `if`: 2
      call 7           ;;   │
    end                ;;   │
    i32.const 2        ;; 1 │
    drop               ;; 0 ┘

So a charge may run ahead of what it pays for, but never ahead of something that a completing run skips. Calls don't
interrupt a point, except calls that may end the run (`proc_exit`): after those nothing is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.validate import Event

ENTRY: Final = -1
# Fuel of an event itself (`icn-fuel-1`, as wasmtime counts): control is free, what decides or calls is not.
OWN_COST: Final[dict[int, int]] = {
    op.UNREACHABLE: 0, op.BLOCK: 0, op.LOOP: 0, op.ELSE: 0, op.END: 0, op.RETURN: 0,
    op.IF: 1, op.BR: 1, op.BR_IF: 1, op.BR_TABLE: 1, op.CALL: 1, op.CALL_INDIRECT: 1,
    op.SELECT_T: 1, op.MEMORY_GROW: 1,
    op.EVENT_MEMORY_INIT: 1, op.EVENT_DATA_DROP: 1, op.EVENT_MEMORY_COPY: 1, op.EVENT_MEMORY_FILL: 1,
}  # fmt: skip


@dataclass(slots=True)
class Flow:
    """Result: fuel by point, calls by point, and the shape that the writer needs."""

    charges: dict[int, int] = field(default_factory=dict)
    calls: list[tuple[int, int]] = field(default_factory=list)  # (point, function index)
    repeated: set[int] = field(default_factory=set)  # `loop` events that some branch returns to
    innermost: set[int] = field(default_factory=set)  # of these, the ones without another loop inside
    ends: dict[int, int] = field(default_factory=dict)  # `loop` event -> its `end`
    carrying: set[int] = field(default_factory=set)  # `br_if` events that take values along
    leaves_by_branch: bool = False  # a conditional branch to the outermost label


@dataclass(slots=True)
class _Frame:
    op: int
    at: int  # its event
    point: int  # where charging goes on after an end that is always reached
    lowest: int  # outermost frame that a branch inside goes to
    carries: bool  # whether a branch to it takes values along
    has_loop: bool = False


def analyse(events: Sequence[Event], ending_calls: frozenset[int], gives_values: bool) -> Flow:
    """Distribute the fuel of a body; `ending_calls` are the call events that may end the run.

    `gives_values` says whether the function has results.
    """
    flow = Flow()
    charges, own = flow.charges, OWN_COST
    charges[ENTRY] = 1
    frames = [_Frame(op.BLOCK, ENTRY, ENTRY, 1 << 30, gives_values)]
    point = ENTRY
    for i, event in enumerate(events):
        code = event.op
        charges[point] = charges.get(point, 0) + event.cost + own[code]
        if code == op.END:
            frame = frames.pop()
            if not frames:
                break
            point = _close(flow, frame, frames, i)
        elif code == op.IF or code == op.LOOP or code == op.BLOCK:
            frames.append(_Frame(code, i, point, 1 << 30, _carries(event)))
            if code != op.BLOCK:
                point = i
        elif code == op.ELSE:
            point = i
        elif code == op.CALL:
            flow.calls.append((point, event.arg))
            if i in ending_calls:
                frames[-1].lowest = -1
                point = i
        elif code == op.CALL_INDIRECT:
            if i in ending_calls:
                frames[-1].lowest = -1
                point = i
        elif code == op.BR or code == op.BR_IF:
            _branch(flow, frames, event.arg, code == op.BR_IF)
            if code == op.BR_IF:
                point = i
                if frames[len(frames) - 1 - event.arg].carries:
                    flow.carrying.add(i)
        elif code == op.BR_TABLE:
            for depth in set(event.targets):
                _branch(flow, frames, depth, True)
        elif code == op.RETURN:
            frames[-1].lowest = min(frames[-1].lowest, 0)
    return flow


def _carries(event: Event) -> bool:
    """Whether a branch to a block takes values along."""
    kind = event.type
    return kind is not None and bool(kind.params if event.op == op.LOOP else kind.results)


def _close(flow: Flow, frame: _Frame, frames: list[_Frame], i: int) -> int:
    """Leave a block; returns the point for what follows."""
    parent = frames[-1]
    parent.lowest = min(parent.lowest, frame.lowest)
    if frame.op == op.LOOP:
        flow.ends[frame.at] = i
        if frame.at in flow.repeated:
            if not frame.has_loop:
                flow.innermost.add(frame.at)
            parent.has_loop = True
    parent.has_loop = parent.has_loop or frame.has_loop
    return i if frame.lowest < len(frames) else frame.point


def _branch(flow: Flow, frames: list[_Frame], depth: int, conditional: bool) -> None:
    """Note where a branch goes."""
    target = len(frames) - 1 - depth
    frames[-1].lowest = min(frames[-1].lowest, target)
    if frames[target].op == op.LOOP:
        flow.repeated.add(frames[target].at)
    if target == 0 and conditional:
        flow.leaves_by_branch = True
