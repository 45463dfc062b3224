"""Packed events come back as they were."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.events import NO_EVENTS, Event, EventFields, Events
from icn_lite.wasm.opcodes import I32
from icn_lite.wasm.types import FuncType

numbers = st.integers(0, (1 << 32) - 1)
kinds = st.sampled_from([None, FuncType((), ()), FuncType((I32,), (I32, I32))])
events = st.lists(
    st.tuples(
        st.sampled_from([op.BLOCK, op.CALL, op.CALL_INDIRECT, op.BR_TABLE, op.EVENT_MEMORY_INIT]),
        numbers, numbers, numbers, numbers, st.integers(0, 1 << 30),
        st.lists(numbers, max_size=4).map(tuple), kinds,
    ),
    max_size=20,
)  # fmt: skip


@settings(derandomize=True, deadline=None)
@given(events)
def test_what_was_packed_is_unpacked(rows: list[EventFields]) -> None:
    packed = Events(rows)
    found = packed.unpack()
    assert found == rows
    assert all(isinstance(event, Event) for event in found)
    assert len(packed) == len(rows)
    assert list(packed.codes()) == [row[0] for row in rows]
    for i, row in enumerate(rows):
        if row[0] in (op.CALL, op.CALL_INDIRECT):
            assert packed.callee(i) == (row[5] if row[0] == op.CALL else -1 - row[5])
    wanted = {row[5] for row in rows if row[0] == op.EVENT_MEMORY_INIT}
    assert packed.arguments(op.EVENT_MEMORY_INIT) == wanted


@settings(derandomize=True, deadline=None)
@given(events, st.integers(0, 19))
def test_another_type_stands_in_the_new_one_alone(rows: list[EventFields], at: int) -> None:
    packed, kind = Events(rows), FuncType((), (I32,))
    changed = packed.with_types({at: kind})
    assert packed.unpack() == rows
    assert [event.type for event in changed.unpack()] == [kind if i == at else row[7] for i, row in enumerate(rows)]
    assert [event[:7] for event in changed.unpack()] == [row[:7] for row in rows]
    assert packed.with_types({}) is packed


def test_none_are_none() -> None:
    assert (len(NO_EVENTS), NO_EVENTS.unpack(), list(NO_EVENTS.codes())) == (0, [], [])
