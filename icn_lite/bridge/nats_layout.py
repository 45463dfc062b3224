"""What lies where on a NATS JetStream hub: subjects, streams, buckets, and their bounds.

    icn.v1.work.TO.KIND.FROM      mail of the bridge TO: job, bid, lease, return   work queue ICN_WORK
    icn.v1.receipts.TO.FROM       receipts for jobs that TO announced              stream ICN_RECEIPTS
    icn.v1.acks.RECEIPT           the acknowledgement of a receipt, by its CID     stream ICN_ACKS
    icn_bridges, icn_capabilities keys: bridges, nodes                             key-value buckets
    icn_blocks                    names: CIDs                                      object store

TO and FROM are bridges, written as the part of their DID after `did:key:`. FROM stands in the subject, so that the
hub's permissions can hold every bridge to its own name. Payloads are signed blocks as their authors made them.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from nats.js import api
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from icn_lite.bridge.upstream import MAX_ROUTE_CHARACTERS, Route
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import UpstreamError

WORK: Final = "ICN_WORK"
RECEIPTS: Final = "ICN_RECEIPTS"
ACKS: Final = "ICN_ACKS"
BRIDGES: Final = "icn_bridges"
CAPABILITIES: Final = "icn_capabilities"
BLOCKS: Final = "icn_blocks"
ROOT: Final = "icn.v1"

HOUR_S: Final = 3_600
DAY_S: Final = 24 * HOUR_S
WORK_S: Final = HOUR_S  # longer than any bidding; what a dead bridge never fetched goes after that
RECEIPT_S: Final = (
    30 * DAY_S
)  # an originator may be away for a month; executors keep theirs until they are acknowledged
BLOCK_S: Final = 7 * DAY_S
BRIDGE_S: Final = DAY_S  # a bridge says every few minutes that it is there
CAPABILITY_S: Final = HOUR_S
DUPLICATES_S: Final = DAY_S  # a bridge that was off for a day sends again what it had sent; 100 bytes each on the hub
MAX_MESSAGE_BYTES: Final = 64 << 10  # an announcement takes 16 KiB at most
WORK_BYTES: Final = 256 << 20
ACK_WAIT_S: Final = 30.0  # what a killed bridge had taken comes again after that
MAX_UNCONFIRMED: Final = 20_000  # postponed ones included: an originator that is away must not hold up the others

WorkKind = Literal["job", "bid", "lease", "return"]
_TOKEN: Final = re.compile(rf"[A-Za-z0-9]{{1,{MAX_ROUTE_CHARACTERS}}}")
_DID_PREFIX: Final = "did:key:"


def token(did: Did) -> Route:
    """A bridge's name in subjects."""
    return Route(str(did).removeprefix(_DID_PREFIX))


def work_subject(to: str, kind: WorkKind, sender: Route) -> str:
    """Where mail for a bridge goes."""
    return f"{ROOT}.work.{_checked(to)}.{kind}.{sender}"


def receipt_subject(to: str, sender: Route) -> str:
    """Where receipts for a bridge's jobs go."""
    return f"{ROOT}.receipts.{_checked(to)}.{sender}"


def ack_subject(receipt: Cid | None) -> str:
    """Where the acknowledgement of a receipt lies; of all receipts if none is named."""
    return f"{ROOT}.acks.{receipt or '*'}"


def _checked(route: str) -> str:
    if not _TOKEN.fullmatch(route):
        raise UpstreamError(f"expected a bridge's name, found {route[:64]!r}")
    return route


def streams() -> tuple[api.StreamConfig, ...]:
    """The streams of a hub."""
    return (
        api.StreamConfig(
            name=WORK, subjects=[f"{ROOT}.work.>"], retention=api.RetentionPolicy.WORK_QUEUE, max_age=WORK_S,
            max_bytes=WORK_BYTES, max_msg_size=MAX_MESSAGE_BYTES, discard=api.DiscardPolicy.NEW,
            duplicate_window=WORK_S,
        ),
        api.StreamConfig(
            name=RECEIPTS, subjects=[f"{ROOT}.receipts.>"], max_age=RECEIPT_S, max_msg_size=MAX_MESSAGE_BYTES,
            discard=api.DiscardPolicy.NEW, duplicate_window=DUPLICATES_S,
        ),
        api.StreamConfig(
            name=ACKS, subjects=[ack_subject(None)], max_age=RECEIPT_S, max_msg_size=MAX_MESSAGE_BYTES,
            max_msgs_per_subject=1, duplicate_window=DUPLICATES_S,
        ),
    )  # fmt: skip


async def lay_out(js: JetStreamContext) -> None:
    """Make what is missing; what an administrator made with other bounds stays as it is."""
    for stream in streams():
        assert stream.name is not None
        try:
            await js.stream_info(stream.name)
        except NotFoundError:
            await js.add_stream(stream)
    for bucket, kept_s in ((BRIDGES, BRIDGE_S), (CAPABILITIES, CAPABILITY_S)):
        try:
            await js.stream_info(f"KV_{bucket}")
        except NotFoundError:
            await js.create_key_value(api.KeyValueConfig(bucket=bucket, ttl=kept_s))
    try:
        await js.stream_info(f"OBJ_{BLOCKS}")
    except NotFoundError:
        await js.create_object_store(BLOCKS, api.ObjectStoreConfig(ttl=BLOCK_S))


def consumer(own: Route) -> api.ConsumerConfig:
    """A bridge's place in a stream: what it hasn't confirmed comes again, however often it is restarted."""
    return api.ConsumerConfig(
        durable_name=own, ack_policy=api.AckPolicy.EXPLICIT, ack_wait=ACK_WAIT_S, max_ack_pending=MAX_UNCONFIRMED
    )


def bridges_of(subjects: dict[str, int]) -> list[str]:
    """The bridges among a bucket's subjects."""
    prefix = f"$KV.{BRIDGES}."
    return sorted(name for name in (subject.removeprefix(prefix) for subject in subjects) if _TOKEN.fullmatch(name))
