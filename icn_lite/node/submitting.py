"""Submitting to the node that runs on a home: blocks first, then the job that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from icn_lite.model import document
from icn_lite.model.cid import Cid
from icn_lite.model.errors import JobError, PeerError
from icn_lite.model.job import PlannedShard, ShardPlan
from icn_lite.node.control import MAX_BODY_BYTES, Json, ask
from icn_lite.node.jobfile import JobFile

EMPTY: Final[Mapping[str, Json]] = MappingProxyType({})
POLL_S: Final = 90.0  # longer than the node holds a `wait`


@dataclass(frozen=True, slots=True)
class NodeAtHome:
    """The running node, by its control socket."""

    socket: Path

    def ask(
        self, command: str, fields: Mapping[str, Json] = EMPTY, body: bytes = b"", *, timeout_s: float = 60.0
    ) -> Json:
        """One command."""
        return ask(self.socket, {**fields, "command": command}, body, timeout_s=timeout_s)

    def ask_map(self, command: str, fields: Mapping[str, Json] = EMPTY, *, timeout_s: float = 60.0) -> dict[str, Json]:
        """One command whose answer is a map."""
        answer = self.ask(command, fields, timeout_s=timeout_s)
        if not isinstance(answer, dict):
            raise PeerError(f"the node answered {command} with something else", hint="is it another version?")
        return answer

    def put(self, data: bytes, *, codec: str = "raw") -> Cid:
        """Store a block."""
        return Cid.parse(str(self.ask("put_block", {"codec": codec}, data)))


def submit_shards(node: NodeAtHome, fields: dict[str, Json], shards: Iterable[bytes]) -> str:
    """Store the shards one after the other, then submit a job over them; returns its id."""
    planned = [PlannedShard(node.put(data), len(data), max(1, len(data))) for data in shards]
    if len(planned) == 1:
        spec: dict[str, Json] = {"data": str(planned[0].input), "total_bytes": planned[0].bytes}
    else:
        plan = node.put(document.encode(ShardPlan(tuple(planned))), codec="dag-cbor")
        total = sum(shard.bytes for shard in planned)
        spec = {"plan": str(plan), "shards": len(planned), "total_bytes": total}
    return str(node.ask("submit", {"job": {**fields, "input": spec}}))


def submit_file(node: NodeAtHome, job: JobFile) -> str:
    """Submit a job file's job."""
    module = node.put(_read(job.module, "module"))
    runtime: dict[str, Json] = {"type": "WASM", "module": str(module)}
    if job.function is not None:
        runtime["function"] = job.function
    if job.memory_pages is not None:
        runtime["memory_pages"] = job.memory_pages
    return submit_shards(node, {**job.fields, "runtime": runtime}, (_read(path, "input") for path in job.inputs))


def follow(node: NodeAtHome, job: str, progress: Callable[[int, int], None]) -> dict[str, Json]:
    """Wait until a job is over; `progress` hears of (settled, shards)."""
    last: dict[str, Json] = {}
    for last in _progress(node, job):
        settled, shards = last["settled"], last["shards"]
        if isinstance(settled, int) and isinstance(shards, int):
            progress(settled, shards)
    return last


def _progress(node: NodeAtHome, job: str) -> Iterator[dict[str, Json]]:
    settled: Json = -1
    while True:
        answer = node.ask_map("wait", {"job": job, "settled": settled}, timeout_s=POLL_S)
        yield answer
        if answer["ended"]:
            return
        settled = answer["settled"]


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BODY_BYTES + 1)
    except OSError as error:
        raise JobError(f"{what}: can't read {path}: {error.strerror}", hint="check the path in the job file") from error
    if len(data) > MAX_BODY_BYTES:
        raise JobError(f"{what}: {path} has more than {MAX_BODY_BYTES} bytes", hint="cut it into several inputs")
    return data
