"""The node's own function table: one row a host function, with signature, permission and price.

The sandbox implements the rows; what it lacks answers `HostAbiError.NOT_SUPPORTED`, what policy forbids
`NOT_PERMITTED`. Preparation refuses an import without a row. Conventions: pointers and lengths are i32 and read as
unsigned; functions that fill a buffer take `(ptr, max_len)` and return the bytes written, or the total length when
`max_len` is 0, so that a guest can ask first; negative results are `HostAbiError`s. Prices are charged by the
prepared module before the call, the length argument at its face value, so that fuel needs no word from the host.

Names and numbers: `icn-runtime.md` "Host ABI", `enhanced-mesh-job-system.md` (MeshHostAbi), `mesh-job-protocol.md`
§4.1 (whitelist), WASI preview 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from icn_lite.wasm.opcodes import I32, I64
from icn_lite.wasm.types import FuncType

Permission = Literal["io", "job", "interactive", "data", "economy", "mesh", "crypto", "wasi"]


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One row. `byte_param` is the index of the i32 parameter that is priced by the byte, or None."""

    module: str
    name: str
    params: tuple[int, ...]
    results: tuple[int, ...]
    permission: Permission
    fuel_base: int = 100
    fuel_per_byte: int = 1
    byte_param: int | None = None
    ends_run: bool = False  # the call never returns to the guest (`proc_exit`)

    @property
    def type(self) -> FuncType:
        """Its function type."""
        return FuncType(self.params, self.results)


HostTable = Mapping[tuple[str, str], HostFunction]

_P: Final = I32  # a pointer or a length


def _icn(name: str, params: tuple[int, ...], results: tuple[int, ...], permission: Permission, *,
         base: int = 100, per_byte: int = 1, length: int | None = None) -> HostFunction:  # fmt: skip
    return HostFunction("icn", name, params, results, permission, base, per_byte, length)


def _wasi(name: str, params: tuple[int, ...], *, length: int | None = None) -> HostFunction:
    # base 0: a guest that speaks WASI pays what wasmtime counts for it, the `call` itself
    return HostFunction("wasi_snapshot_preview1", name, params, (I32,), "wasi", 0, 0, length)


_ROWS: Final = (
    # input, output, log (`mesh-job-protocol.md` §4.1)
    _icn("get_input", (_P, _P), (I32,), "io", length=1),  # ptr, max_len -> bytes copied; max_len 0: total length
    _icn("input_len", (), (I32,), "io"),
    _icn("read_input", (_P, _P, _P), (I32,), "io", length=2),  # offset, ptr, max_len -> bytes copied
    _icn("put_output", (_P, _P), (I32,), "io", length=1),  # appends; -> 0
    _icn("log", (_P, _P), (), "io", length=1),  # UTF-8 text
    # the job itself (MeshHostAbi)
    _icn("host_job_get_id", (_P, _P), (I32,), "job", length=1),
    _icn("host_job_get_initial_input_cid", (_P, _P), (I32,), "job", length=1),
    _icn("host_job_is_interactive", (), (I32,), "job"),
    _icn("host_job_report_progress", (I32, _P, _P), (I32,), "job", length=2),  # percent, message
    _icn("host_workflow_get_current_stage_index", (), (I32,), "job"),
    _icn("host_workflow_get_current_stage_id", (_P, _P), (I32,), "job", length=1),
    _icn("host_workflow_get_current_stage_input_cid", (_P, _P, _P, _P), (I32,), "job", length=3),  # key, buffer
    _icn("host_interactive_prompt_for_input", (_P, _P), (I32,), "interactive", length=1),  # prompt CID
    _icn("host_interactive_peek_input_len", (), (I32,), "interactive"),
    _icn("host_interactive_receive_input", (_P, _P, I32), (I32,), "interactive", length=1),  # buffer, timeout_ms
    _icn("host_interactive_send_output", (_P, _P, _P, _P, I32), (I32,), "interactive", length=1),  # payload,key,final
    _icn("host_data_read_cid", (_P, _P, I32, _P, _P), (I32,), "data", base=1000, length=4),  # cid, offset, buffer
    # bytes, buffer for the CID; hashing is part of the price
    _icn("host_data_write_buffer", (_P, _P, _P, _P), (I32,), "data", base=1000, per_byte=6, length=1),
    _icn("host_log_message", (I32, _P, _P), (I32,), "io", length=2),  # level, text
    # economy, mesh, proofs: signatures are icn-core's
    _icn("host_account_get_mana", (), (I64,), "economy"),
    _icn("host_account_spend_mana", (I64,), (I32,), "economy"),
    _icn("host_account_credit_mana", (_P, _P, I64), (I32,), "economy", length=1),  # DID, amount
    _icn("host_get_reputation", (), (I64,), "economy"),
    _icn("host_submit_mesh_job", (_P, _P), (I32,), "mesh", base=10_000, length=1),
    _icn("host_get_pending_mesh_jobs", (_P, _P), (I32,), "mesh", base=1000, length=1),
    _icn("host_anchor_receipt", (_P, _P), (I32,), "mesh", base=10_000, length=1),
    _icn("host_create_governance_proposal", (_P, _P), (I32,), "mesh", base=10_000, length=1),
    _icn("host_cast_governance_vote", (_P, _P), (I32,), "mesh", base=10_000, length=1),
    _icn("host_execute_governance_proposal", (_P, _P), (I32,), "mesh", base=10_000, length=1),
    _icn("host_verify_zk_proof", (_P, _P), (I32,), "crypto", base=100_000, length=1),
    _icn("host_generate_zk_proof", (_P, _P, _P, _P), (I32,), "crypto", base=100_000, length=1),
    # native helpers: prices are a tenth of what a guest pays for the same work in wasm
    _icn("sha256", (_P, _P, _P), (I32,), "crypto", base=500, per_byte=5, length=1),  # ptr, len, 32 bytes out
    _icn("blake2b", (_P, _P, _P, _P), (I32,), "crypto", base=500, per_byte=3, length=1),  # ptr, len, out, out_len
    _icn("ed25519_verify", (_P, _P, _P, _P), (I32,), "crypto", base=200_000, per_byte=5, length=1),  # msg,len,sig,key
    # what AssemblyScript calls before it traps: message, file, line, column; free, as in an engine that ignores it
    HostFunction("env", "abort", (_P, _P, I32, I32), (), "io", 0, 0),
    # icn's other executor names the logger alike; WASI preview 1 follows, as wasi-libc imports it
    _wasi("args_get", (_P, _P)),
    _wasi("args_sizes_get", (_P, _P)),
    _wasi("environ_get", (_P, _P)),
    _wasi("environ_sizes_get", (_P, _P)),
    _wasi("clock_res_get", (I32, _P)),
    _wasi("clock_time_get", (I32, I64, _P)),
    _wasi("fd_advise", (I32, I64, I64, I32)),
    _wasi("fd_allocate", (I32, I64, I64)),
    _wasi("fd_close", (I32,)),
    _wasi("fd_datasync", (I32,)),
    _wasi("fd_fdstat_get", (I32, _P)),
    _wasi("fd_fdstat_set_flags", (I32, I32)),
    _wasi("fd_fdstat_set_rights", (I32, I64, I64)),
    _wasi("fd_filestat_get", (I32, _P)),
    _wasi("fd_filestat_set_size", (I32, I64)),
    _wasi("fd_filestat_set_times", (I32, I64, I64, I32)),
    _wasi("fd_pread", (I32, _P, _P, I64, _P)),
    _wasi("fd_prestat_get", (I32, _P)),
    _wasi("fd_prestat_dir_name", (I32, _P, _P)),
    _wasi("fd_pwrite", (I32, _P, _P, I64, _P)),
    _wasi("fd_read", (I32, _P, _P, _P)),
    _wasi("fd_readdir", (I32, _P, _P, I64, _P)),
    _wasi("fd_renumber", (I32, I32)),
    _wasi("fd_seek", (I32, I64, I32, _P)),
    _wasi("fd_sync", (I32,)),
    _wasi("fd_tell", (I32, _P)),
    _wasi("fd_write", (I32, _P, _P, _P)),
    _wasi("path_create_directory", (I32, _P, _P)),
    _wasi("path_filestat_get", (I32, I32, _P, _P, _P)),
    _wasi("path_filestat_set_times", (I32, I32, _P, _P, I64, I64, I32)),
    _wasi("path_link", (I32, I32, _P, _P, I32, _P, _P)),
    _wasi("path_open", (I32, I32, _P, _P, I32, I64, I64, I32, _P)),
    _wasi("path_readlink", (I32, _P, _P, _P, _P, _P)),
    _wasi("path_remove_directory", (I32, _P, _P)),
    _wasi("path_rename", (I32, _P, _P, I32, _P, _P)),
    _wasi("path_symlink", (_P, _P, I32, _P, _P)),
    _wasi("path_unlink_file", (I32, _P, _P)),
    _wasi("poll_oneoff", (_P, _P, _P, _P)),
    _wasi("proc_raise", (I32,)),
    _wasi("random_get", (_P, _P), length=1),
    _wasi("sched_yield", ()),
    _wasi("sock_accept", (I32, I32, _P)),
    _wasi("sock_recv", (I32, _P, _P, I32, _P, _P)),
    _wasi("sock_send", (I32, _P, _P, I32, _P)),
    _wasi("sock_shutdown", (I32, I32)),
    HostFunction("wasi_snapshot_preview1", "proc_exit", (I32,), (), "wasi", 0, 0, None, ends_run=True),
)


def host_table(rows: tuple[HostFunction, ...]) -> HostTable:
    """A table from rows; the key is (module, name)."""
    return MappingProxyType({(row.module, row.name): row for row in rows})


HOST_FUNCTIONS: Final = host_table(_ROWS)
