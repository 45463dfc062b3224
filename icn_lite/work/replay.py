"""Events of a machine as journal entries: what happened and when, in the machine's own time.

A machine's time is milliseconds that never run backwards, not even over a restart: the shell goes on where the
journal stopped. Time in which a device was off does not count, because a lease is a duration, not a date.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from icn_lite.model import cbor, schema
from icn_lite.model.errors import DocumentError


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry as read back."""

    at_ms: int
    event: object


def encode_event(event: object, at_ms: int) -> bytes:
    """The journal's bytes for an event at a machine's time."""
    return cbor.encode({"at": at_ms, "event": schema.to_value(event)})


def decode_event(kinds: object, data: bytes) -> Entry:
    """Read a journal entry whose event is one of the union `kinds`; raises `DocumentError`."""
    value = cbor.decode(data)
    at_ms = value.get("at") if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.keys() != {"at", "event"} or type(at_ms) is not int or at_ms < 0:
        raise DocumentError("expected a journal entry {at, event} with a time of 0 or more", offset=0)
    return Entry(at_ms, schema.from_value(cast(type[object], kinds), value["event"]))
