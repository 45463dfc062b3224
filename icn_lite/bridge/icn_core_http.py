"""icn-core's HTTP interface: jobs submitted and polled, receipts handed in, blocks put and got, errors as it has them.

`IcnCore` asks; `IcnCoreUpstream` is the port over it. This interface knows neither bids nor assignments nor anything
that a node could listen to, so of the port it does receipts and blocks, and answers `NotSupported` for the rest. It
`anchors`: every receipt that passes the bridge is handed in, in icn-core's form with the executor's own signature.

Its answers that need reading: 429 is "too often, come back"; 500 `Job already completed` is a receipt that it had;
500 `CID mismatch` is a fault of its stores, so the receipt is kept and handed in again later.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from icn_lite.bridge.http import Answer, HttpClient, Server
from icn_lite.bridge.icn_core_codec import CoreJobSpec, CoreReceipt, encode_spec
from icn_lite.bridge.upstream import Delivery, Evidence, Health, Route, State
from icn_lite.model.bid import Bid
from icn_lite.model.cid import DAG_PB, Cid
from icn_lite.model.document import Sealed
from icn_lite.model.errors import DocumentError, NotSupported, UpstreamError, UpstreamRefused
from icn_lite.model.messages import (
    AssignJobV1,
    CapabilityAdvertisementV1,
    JobAnnouncementV1,
    LeaseReturnV1,
    ReceiptAckV1,
)
from icn_lite.model.receipt import ExecutionReceipt, icn_core_cid, parse_icn_core_cid

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DEFAULT_PORT: Final = 7845
ANSWER_S: Final = 10.0
HEALTH_S: Final = 60.0  # without a key 60 requests a minute are allowed: little of that for asking how it is
MAX_NAMES: Final = 1_024  # of blocks that it named otherwise than we do
MAX_BLOCK_BYTES: Final = 1 << 20  # blocks travel as lists of numbers
COMPLETED: Final = "job already completed"
MISMATCH: Final = "cid mismatch"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CoreJob:
    """A job that icn-core knows; `status` is its first word, `detail` the rest as JSON."""

    job_id: Cid
    status: str
    detail: str = ""


class IcnCore:
    """Asks one icn-core node."""

    def __init__(self, server: Server, api_key: str | None = None) -> None:
        self.name = f"icn-core+{server}"
        headers = {"Accept": "application/json"}
        if api_key is not None:
            headers["x-api-key"] = api_key
        self._client = HttpClient(server, headers, ANSWER_S)

    def close(self) -> None:
        """Ask no more."""
        self._client.close()

    async def submit(self, manifest: Cid, spec: CoreJobSpec, cost_mana: int) -> Cid:
        """Submit a job in the name of the account that the key belongs to; returns its id."""
        body: Json = {
            "manifest_cid": icn_core_cid(manifest),
            "spec_bytes": base64.b64encode(encode_spec(spec)).decode("ascii"),
            "cost_mana": cost_mana,
        }
        return self._cid(self._field(await self._ask("POST", "/mesh/submit", 202, body), "job_id"))

    async def jobs(self) -> tuple[CoreJob, ...]:
        """All jobs that it knows."""
        found = self._field(await self._ask("GET", "/mesh/jobs", 200), "jobs")
        if not isinstance(found, list):
            raise self._odd("a list of jobs", found)
        return tuple(self._job(row) for row in found)

    async def job(self, job: Cid) -> CoreJob | None:
        """One job, None where it doesn't know it."""
        try:
            return self._job(await self._ask("GET", f"/mesh/jobs/{icn_core_cid(job)}", 200))
        except _Missing:
            return None

    async def hand_in(self, receipt: CoreReceipt) -> Evidence:
        """Hand a receipt in; raises `UpstreamRefused` where it is refused, whosever fault that is."""
        body: Json = {
            "job_id": icn_core_cid(receipt.job_id),
            "executor_did": str(receipt.executor_did),
            "result_cid": icn_core_cid(receipt.result_cid),
            "cpu_ms": receipt.cpu_ms,
            "success": receipt.success,
            "signature_hex": receipt.sig.hex(),
        }
        answer = await self._client.ask("POST", "/mesh/receipt", json.dumps(body).encode("ascii"))
        if answer.status == 202:
            return Evidence.ACCEPTED
        said = _error_of(answer)
        if COMPLETED in said.lower():
            return Evidence.KNOWN
        if MISMATCH in said.lower():
            raise UpstreamRefused(
                f"{self.name} can't store the receipt ({said}): a fault of its store",
                hint="the receipt is kept and handed in again",
            )
        raise self._refusal(answer)

    async def put_block(self, data: bytes) -> Cid:
        """Put a block; returns the CID that it gave, translated."""
        if len(data) > MAX_BLOCK_BYTES:
            raise NotSupported(f"{self.name} takes blocks of at most {MAX_BLOCK_BYTES} bytes, this one has {len(data)}")
        return self._cid(await self._ask("POST", "/dag/put", 201, {"data": list(data)}))

    async def get_block(self, cid: Cid) -> bytes | None:
        """The bytes under one of its CIDs, unchecked; None where it has none."""
        try:
            found = await self._ask("POST", "/dag/get", 200, {"cid": icn_core_cid(cid)})
        except _Missing:
            return None
        if not isinstance(found, list) or not all(type(item) is int and 0 <= item <= 255 for item in found):
            raise self._odd("a list of bytes", found)
        return bytes(item for item in found if isinstance(item, int))

    async def health(self) -> None:
        """Whether it is well; raises `UpstreamError` where it isn't."""
        answer = await self._client.ask("GET", "/health")
        if answer.status != 200:
            raise self._refusal(answer)

    async def _ask(self, method: str, path: str, wanted: int, body: Json = None) -> Json:
        data = json.dumps(body).encode("ascii") if body is not None else None
        answer = await self._client.ask(method, path, data)
        if answer.status != wanted:
            raise self._refusal(answer)
        try:
            found: Json = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise UpstreamError(f"{self.name} answered {method} {path} with no JSON") from error
        return found

    def _refusal(self, answer: Answer) -> UpstreamError:
        said = _error_of(answer)
        if answer.status == 404:
            return _Missing(f"{self.name}: {said}")
        if answer.status == 429:
            return UpstreamError(f"{self.name} was asked too often", hint="an API key lifts its limit")
        if answer.status in (401, 403):
            return UpstreamError(f"{self.name} doesn't know us: {said}", hint="see `?key-file=` of the upstream")
        if 400 <= answer.status < 500:
            return UpstreamRefused(f"{self.name} refused ({answer.status}): {said}")
        return UpstreamError(f"{self.name} failed ({answer.status}): {said}")

    def _job(self, row: Json) -> CoreJob:
        job, status = self._cid(self._field(row, "job_id")), self._field(row, "status")
        if isinstance(status, str):
            return CoreJob(job, status)
        if isinstance(status, dict) and status:
            word = next(iter(status))
            return CoreJob(job, word, json.dumps(status[word]))
        raise self._odd("a status", status)

    def _field(self, found: Json, name: str) -> Json:
        if not isinstance(found, dict) or name not in found:
            raise self._odd(f"an object with {name!r}", found)
        return found[name]

    def _cid(self, found: Json) -> Cid:
        if not isinstance(found, str):
            raise self._odd("a CID", found)
        try:
            return parse_icn_core_cid(found) if len(found) == 57 else Cid.parse(found)
        except DocumentError as error:
            raise UpstreamError(f"{self.name}: {error.message}") from error

    def _odd(self, wanted: str, found: Json) -> UpstreamError:
        return UpstreamError(f"{self.name}: expected {wanted}, found {json.dumps(found)[:80]}")


class _Missing(UpstreamRefused):
    """404."""


def _error_of(answer: Answer) -> str:
    """The sentence in `{"error": …}`, or the beginning of whatever came."""
    try:
        found = json.loads(answer.body)
        said = found["error"] if isinstance(found, dict) else None
    except (ValueError, KeyError, RecursionError):
        said = None
    return said[:200] if isinstance(said, str) else answer.body[:80].decode("utf-8", "replace")


class IcnCoreUpstream:
    """An icn-core node as an upstream."""

    anchors = True

    def __init__(self, core: IcnCore) -> None:
        self._core = core
        self._state = State.CLOSED
        self._error = ""
        self._sent = 0
        self._names: OrderedDict[Cid, Cid] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Its address."""
        return self._core.name

    async def start(self) -> None:
        """Begin to look how it is."""
        self._state = State.CONNECTING
        self._task = asyncio.get_running_loop().create_task(self._watch(), name=f"upstream {self.name}")

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._core.close()
        self._state = State.CLOSED

    async def _watch(self) -> None:
        while True:
            try:
                await self._core.health()
            except UpstreamError as error:
                self._failed(error)
            else:
                self._state, self._error = State.UP, ""
            await asyncio.sleep(HEALTH_S)

    def _failed(self, error: UpstreamError) -> None:
        self._state, self._error = State.WAITING, error.message

    async def announce(self, job: Sealed[JobAnnouncementV1]) -> None:
        """Not by HTTP: a job submitted there is icn-core's own (`IcnCore.submit`)."""
        raise self._unknown("announcements")

    async def advertise(self, advert: Sealed[CapabilityAdvertisementV1]) -> None:
        """Not by HTTP."""
        raise self._unknown("advertisements")

    async def bid(self, bid: Sealed[Bid], route: Route) -> None:
        """Not by HTTP."""
        raise self._unknown("bids")

    async def assign(self, lease: Sealed[AssignJobV1], route: Route) -> None:
        """Not by HTTP."""
        raise self._unknown("assignments")

    async def give_back(self, given: Sealed[LeaseReturnV1], route: Route) -> None:
        """Not by HTTP."""
        raise self._unknown("returns")

    async def put_receipt(self, receipt: Sealed[ExecutionReceipt], route: Route) -> Evidence:
        """In icn-core's form, which its executor signed beside its own."""
        try:
            evidence = await self._core.hand_in(CoreReceipt.of(receipt.document))
        except UpstreamRefused as refused:
            self._error = refused.message
            raise
        except UpstreamError as error:
            self._failed(error)
            raise
        self._state = State.UP
        self._sent += 1
        return evidence

    async def acknowledge(self, ack: Sealed[ReceiptAckV1]) -> None:
        """Not by HTTP."""
        raise self._unknown("acknowledgements")

    async def acknowledgement(self, receipt: Cid) -> Sealed[ReceiptAckV1] | None:
        """There are none."""
        return None

    async def put_block(self, cid: Cid, data: bytes) -> None:
        """Into its DAG, which may name it otherwise: its blocks carry more than their data."""
        if cid.codec == DAG_PB:
            raise self._unknown("blobs of several blocks")
        given = await self._core.put_block(data)
        if given != cid:
            self._names[cid] = given
            if len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)
        self._sent += 1

    async def get_block(self, cid: Cid, most: int) -> bytes | None:
        """From its DAG, if it is what its CID says."""
        data = await self._core.get_block(self._names.get(cid, cid)) if cid.codec != DAG_PB else None
        return data if data is not None and len(data) <= most and cid.fits(data) else None

    async def events(self) -> AsyncIterator[Delivery]:
        """Nothing comes by itself."""
        await asyncio.Event().wait()
        for none in list[Delivery]():
            yield none

    def health(self) -> Health:
        """How it stands."""
        return Health(self._state, self._error, self._sent)

    def _unknown(self, what: str) -> NotSupported:
        return NotSupported(f"{self.name}: icn-core's HTTP has no words for {what}")
