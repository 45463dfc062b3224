"""What the owner may ask a running node: one method a command of the control socket."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

from icn_lite.market.settle import account_of
from icn_lite.model import cbor, schema, unixfs
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, JobError, NotSupported, UsageError
from icn_lite.model.job import Full, JobSpec, NoRedundancy, PrivacyLevel, WasmRuntime
from icn_lite.node import views
from icn_lite.node.control import Command, Json
from icn_lite.node.coop_commands import CoopCommands
from icn_lite.node.inquiries import Inquiries
from icn_lite.node.job_run import JobRun
from icn_lite.node.origination import Originations
from icn_lite.node.runner import arguments_of
from icn_lite.node.sync_commands import SyncCommands
from icn_lite.node.work_commands import WorkCommands
from icn_lite.store.db import Store
from icn_lite.store.peers import Found
from icn_lite.work import originator_events as ev
from icn_lite.work.fit import typed_args

if TYPE_CHECKING:
    from icn_lite.node.node import Node

MAX_WAIT_S: Final = 60  # of one `wait`; who waits longer asks again
MAX_JOBS_LISTED: Final = 200


class Commands:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {
            "status": self.status,
            "peers": self.peers,
            "greet": self.greet,
            "put_block": self.put_block,
            "get_block": self.get_block,
            "submit": self.submit,
            "job": self.job,
            "jobs": self.jobs,
            "cancel": self.cancel,
            "wait": self.wait,
            "ledger": self.ledger,
            "bridge_status": self.bridge_status,
            **CoopCommands(self._node).table(),
            **SyncCommands(self._node).table(),
            **Inquiries(self._node).table(),
            **WorkCommands(self._node).table(),
        }

    async def status(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Everything that `icn-lite status` shows."""
        return await self._node.status()

    async def peers(self, request: Mapping[str, Json], body: bytes) -> Json:
        """The neighbours."""
        return views.peers_view(self._node)

    async def greet(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Look for a peer at these URIs."""
        uris = request.get("uris")
        if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
            raise UsageError("greet: expected a list of URIs")
        self._node.shell.peers.propose([str(uri) for uri in uris], Found.STATIC, self._node.clock.now_ms())
        self._node.shell.changed.ring()
        return len(uris)

    async def put_block(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Store a document or a blob; the answer is its CID. It stays at least until the next job pins it."""
        cid = Cid.of_dag_cbor(body) if request.get("codec") == "dag-cbor" else unixfs.blob_cid(body)
        await self._node.shell.storage.run(lambda store: store.blocks.put(cid, body))
        return str(cid)

    async def get_block(self, request: Mapping[str, Json], body: bytes) -> Json:
        """A block, as hexadecimal text."""
        cid = self._cid(request, "cid")
        data = await self._node.shell.storage.run(lambda store: store.blocks.get(cid))
        return data.hex() if data is not None else None

    async def submit(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Make a job of the fields given and submit it."""
        fields = request.get("job")
        if not isinstance(fields, dict):
            raise JobError("job: expected a map of fields")
        job = self._job_spec(dict(fields))
        _check_supported(job)
        if isinstance(job.runtime, WasmRuntime):
            job = await self._check_call(job, job.runtime)
        return str(await self._originations().submit(job))

    def _job_spec(self, fields: dict[str, Json]) -> JobSpec:
        """The fields of a job file, with what the submitter's node knows: who, when, a fresh nonce."""
        shell, now_s = self._node.shell, self._node.clock.wall_s()
        seconds = fields.pop("deadline_in_s", None)
        if seconds is not None and "deadline" in fields:
            raise JobError("deadline: expected either deadline or deadline_in_s, not both")
        if seconds is not None:
            if not isinstance(seconds, int) or isinstance(seconds, bool):
                raise JobError(f"deadline_in_s: expected whole seconds, found {seconds!r}")
            fields["deadline"] = now_s + seconds
        given = {key: value for key, value in fields.items() if key not in ("submitter", "created_at")}
        try:
            return schema.from_value(
                JobSpec,
                {**_plain(given), "submitter": str(shell.did), "created_at": now_s, "nonce": shell.nonce()},
                form="json",
            )
        except DocumentError as error:
            raise JobError(error.reason, hint="see `icn-lite submit --help` for the keys of a job") from error

    async def _check_call(self, job: JobSpec, runtime: WasmRuntime) -> JobSpec:
        """Prepare the module here first: a job that nobody can run is refused before it is announced.

        Typed arguments are written in their one form, because receipts repeat them.
        """
        code = await self._node.shell.storage.run(lambda store: store.blocks.get(runtime.module))
        if code is None:
            raise JobError(f"runtime.module: block {runtime.module} is not in the store")
        prepared = await self._node.preparations.get(runtime.module, code, runtime.memory_pages)
        values, words = arguments_of(prepared, runtime.function, job.code.args)
        checked = replace(job, code=replace(job.code, args=words or tuple(str(value) for value in values)))
        if words and typed_args(checked):
            raise JobError("code.args: the words of a program can't all look like typed values (i32:7)")
        return checked

    async def job(self, request: Mapping[str, Json], body: bytes) -> Json:
        """All about one job of ours."""
        run = self._run(self._cid(request, "job"))
        receipts = await self._node.shell.storage.run(lambda store: views.receipts_of(store, run))
        return views.job_view(run, receipts)

    async def jobs(self, request: Mapping[str, Json], body: bytes) -> Json:
        """The newest jobs, in both roles."""

        def rows(store: Store) -> list[Json]:
            records = store.jobs.list()[-MAX_JOBS_LISTED:]
            return [
                views.job_row(store, str(record.id), record.role.value, record.status, record.error)
                for record in records
            ]

        return await self._node.shell.storage.run(rows)

    async def cancel(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Call a job off."""
        job = self._cid(request, "job")
        if self._run(job).machine.phase in ev.ENDED:
            raise JobError(f"job {job} has ended already ({self._run(job).machine.phase.value})")
        await self._originations().cancel(job)
        return True

    async def wait(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Progress of a job: answers when it is past `settled` shards or over, at the latest after `MAX_WAIT_S`."""
        job, settled = self._cid(request, "job"), request.get("settled", -1)
        if not isinstance(settled, int):
            raise UsageError("settled: expected a number of shards")
        run, shell = self._run(job), self._node.shell
        until_s = asyncio.get_running_loop().time() + MAX_WAIT_S
        while run.machine.settled <= settled and run.machine.phase not in ev.ENDED:
            left_s = until_s - asyncio.get_running_loop().time()
            if left_s <= 0 or not await shell.changed.wait(left_s):
                break  # nothing new is an answer, too
        machine = run.machine
        return {
            "status": machine.phase.value,
            "settled": machine.settled,
            "shards": len(machine.terms.shards),
            "ended": machine.phase in ev.ENDED,
            "message": machine.ended.sentence if machine.ended else None,
        }

    async def ledger(self, request: Mapping[str, Json], body: bytes) -> Json:
        """All accounts of our ledger and their sum."""

        def read(store: Store) -> Json:
            accounts = store.ledger.accounts()
            return {
                "accounts": dict(accounts),
                "sum": store.ledger.sum(),
                "own": store.ledger.balance(account_of(self._node.shell.did)),
            }

        return await self._node.shell.storage.run(read)

    async def bridge_status(self, request: Mapping[str, Json], body: bytes) -> Json:
        """The upstreams of a bridge."""
        if self._node.bridging is None:
            raise NotSupported("this node is no bridge", hint="give it an upstream: `icn-lite bridge --help`")
        return self._node.bridging.status()

    def _run(self, job: Cid) -> JobRun:
        run = self._originations().jobs.get(job)
        if run is None:
            raise JobError(f"no job {job} was submitted here", hint="see `icn-lite jobs`")
        return run

    def _originations(self) -> Originations:
        if self._node.originations is None and self._node.options.config.offline:
            raise NotSupported("a node that is offline submits no jobs", hint="start it without --offline")
        if self._node.originations is None:
            raise NotSupported("this node submits no jobs", hint="give it the role: `icn-lite up --role submit`")
        return self._node.originations

    @staticmethod
    def _cid(request: Mapping[str, Json], key: str) -> Cid:
        text = request.get(key)
        try:
            return Cid.parse(text if isinstance(text, str) else "")
        except DocumentError as error:
            raise UsageError(f"{key}: {error.reason}", hint="see `icn-lite jobs`") from error


def _check_supported(job: JobSpec) -> None:
    """Refuse what this version would quietly do otherwise than asked."""
    wanted = {
        "code.stages: workflows": bool(job.code.stages),
        "is_interactive: conversations": job.is_interactive,
        f"privacy {job.privacy.value}: keeping inputs from who runs them": job.privacy is not PrivacyLevel.PUBLIC,
        f"redundancy {job.redundancy.TAG}: anything but None and Full(n)": not isinstance(
            job.redundancy, NoRedundancy | Full
        ),
        "budget: bonuses": bool(job.budget.early_completion_bonus or job.budget.quality_bonus),
        "expected_output_schema_cid: checking outputs against a schema": job.expected_output_schema_cid is not None,
    }
    for what, asked in wanted.items():
        if asked:
            raise NotSupported(f"{what} is not done by this version", hint="leave it out of the job")


def _plain(fields: dict[str, Json]) -> dict[str, cbor.Value]:
    """JSON's values are CBOR's, which the type checker can't see of nested ones."""
    return cast(dict[str, cbor.Value], fields)
