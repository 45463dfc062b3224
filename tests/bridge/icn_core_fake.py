"""A small icn-core node behind its HTTP interface, to the letter of what was read in its source.

Errors are `{"error": "…"}`; without a key 60 requests a minute are answered, then 429; a receipt that was handed in
before is 500 "Job already completed"; where its stores are the real ones a receipt may be 500 "CID mismatch".
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from icn_lite.bridge import icn_core_codec as core
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import SignatureError
from icn_lite.model.receipt import icn_core_cid, parse_icn_core_cid

WITHOUT_KEY = 60  # requests a minute


@dataclass
class FakeCore:
    """One node."""

    api_key: str | None = None
    jobs: dict[str, Any] = field(default_factory=dict)
    blocks: dict[str, bytes] = field(default_factory=dict)
    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    specs: list[bytes] = field(default_factory=list)
    asked: int = 0
    mismatch: bool = False
    names_blocks: Callable[[bytes], Cid] = Cid.of_raw
    raw: bytes | None = None  # an answer of somebody who speaks no such interface
    server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        status, answer = self._answer(method, path, headers.get("x-api-key"), json.loads(body or b"null"))
        data = json.dumps(answer).encode()
        whole = (
            self.raw or b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(data)) + data
        )
        writer.write(whole)
        await writer.drain()
        writer.close()

    def _answer(self, method: str, path: str, key: str | None, body: Any) -> tuple[int, Any]:
        if self.api_key is not None and key is not None and key != self.api_key:
            return 401, {"error": "missing or invalid api key"}
        if key is None:
            self.asked += 1
            if self.asked > WITHOUT_KEY:
                return 429, {"error": "rate limit exceeded"}
        match method, path:
            case "GET", "/health":
                return 200, {"status": "OK"}
            case "GET", "/mesh/jobs":
                return 200, {"jobs": [{"job_id": job, "status": status} for job, status in self.jobs.items()]}
            case "GET", _ if path.startswith("/mesh/jobs/"):
                job = path.rsplit("/", 1)[1]
                if job not in self.jobs:
                    return 404, {"error": "Job not found"}
                return 200, {"job_id": job, "status": self.jobs[job]}
            case "POST", "/mesh/submit":
                parse_icn_core_cid(body["manifest_cid"])
                self.specs.append(base64.b64decode(body["spec_bytes"], validate=True))
                job = icn_core_cid(Cid.of_raw(b"%d" % len(self.jobs)))
                self.jobs[job] = "pending"
                return 202, {"job_id": job}
            case "POST", "/mesh/receipt":
                return self._receipt(body)
            case "POST", "/dag/put":
                data = bytes(body["data"])
                cid = icn_core_cid(self.names_blocks(data))
                self.blocks[cid] = data
                return 201, cid
            case "POST", "/dag/get":
                found = self.blocks.get(body["cid"])
                return (200, list(found)) if found is not None else (404, {"error": "Block not found"})
        return 404, {"error": "Not found"}

    def _receipt(self, body: dict[str, Any]) -> tuple[int, Any]:
        job = body["job_id"]
        if job not in self.jobs:
            return 404, {"error": "Job not found"}
        if job in self.receipts:
            return 500, {"error": "Job already completed"}
        if self.mismatch:
            return 500, {"error": "CID mismatch: expected x, got y"}
        receipt = core.CoreReceipt(
            parse_icn_core_cid(job), Did.parse(body["executor_did"]), parse_icn_core_cid(body["result_cid"]),
            body["cpu_ms"], body["success"], bytes.fromhex(body["signature_hex"]),
        )  # fmt: skip
        try:
            receipt.check()
        except SignatureError:
            return 400, {"error": "Invalid receipt signature"}
        self.receipts[job] = body
        self.jobs[job] = {"Completed": {"result_cid": body["result_cid"]}}
        return 202, {"anchored_cid": icn_core_cid(Cid.of_raw(job.encode())), "receipt_job_id": job}
