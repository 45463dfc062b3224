"""Who answers each host function and with which errors, for readers; the README's table is drawn from here.

Names, signatures, permissions and prices are rows of `icn_lite.wasm.hostfuncs`. What the sandbox itself can answer
follows from how the function is read (`hostabi.REMOTE`) or stands in `LOCAL_ERRORS`; a node that serves a function
may answer any `HostAbiError` besides. A test provokes every error named here from inside a guest, on both engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from icn_lite.model.errors import HostAbiError
from icn_lite.sandbox import hostabi
from icn_lite.sandbox.host import ALWAYS_PERMITTED, BUILT_IN
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS, HostFunction
from icn_lite.wasm.opcodes import I32

MODULE: Final = "icn"
E = HostAbiError

LOCAL_ERRORS: Final[Mapping[str, frozenset[HostAbiError]]] = MappingProxyType(
    {
        "get_input": frozenset({E.MEMORY_ACCESS}),
        "input_len": frozenset(),
        "read_input": frozenset({E.MEMORY_ACCESS}),
        "put_output": frozenset({E.MEMORY_ACCESS, E.RESOURCE_LIMIT}),
        "log": frozenset(),  # it has no result; a bad pointer logs nothing
        "host_log_message": frozenset({E.INVALID_PARAMETERS, E.MEMORY_ACCESS}),
        "host_job_get_id": frozenset({E.MEMORY_ACCESS, E.BUFFER_TOO_SMALL, E.NOT_FOUND}),
        "host_job_get_initial_input_cid": frozenset({E.MEMORY_ACCESS, E.BUFFER_TOO_SMALL, E.NOT_FOUND}),
        "host_job_is_interactive": frozenset(),
        "host_job_report_progress": frozenset({E.INVALID_PARAMETERS, E.MEMORY_ACCESS}),
        "host_workflow_get_current_stage_index": frozenset(),
        "host_workflow_get_current_stage_id": frozenset({E.MEMORY_ACCESS, E.BUFFER_TOO_SMALL, E.NOT_FOUND}),
        "host_workflow_get_current_stage_input_cid": frozenset({E.MEMORY_ACCESS, E.BUFFER_TOO_SMALL, E.NOT_FOUND}),
        "host_data_read_cid": frozenset({E.INVALID_PARAMETERS, E.MEMORY_ACCESS, E.NOT_FOUND}),
        "host_data_write_buffer": frozenset({E.MEMORY_ACCESS, E.BUFFER_TOO_SMALL, E.RESOURCE_LIMIT}),
        "sha256": frozenset({E.MEMORY_ACCESS}),
        "blake2b": frozenset({E.INVALID_PARAMETERS, E.MEMORY_ACCESS}),
    }
)


def rows() -> list[HostFunction]:
    """The functions of module `icn`, in the order of the table."""
    return [row for row in HOST_FUNCTIONS.values() if row.module == MODULE]


def errors(row: HostFunction) -> frozenset[HostAbiError]:
    """What the sandbox answers instead of a result."""
    if row.name in hostabi.LOCAL:
        return LOCAL_ERRORS[row.name]
    pattern = hostabi.REMOTE[row.name]
    found = set()
    if row.name not in BUILT_IN:
        found |= {E.NOT_SUPPORTED, E.UNKNOWN}
    if row.permission not in ALWAYS_PERMITTED:
        found.add(E.NOT_PERMITTED)
    if row.name.startswith(hostabi.INTERACTIVE):
        found.add(E.NOT_INTERACTIVE)
    if any(kind != "int" for kind in pattern):
        found.add(E.MEMORY_ACCESS)
    if "bytes" in pattern:
        found.add(E.RESOURCE_LIMIT)
    if "out" in pattern:
        found.add(E.BUFFER_TOO_SMALL)
    return frozenset(found)


def answered_by(row: HostFunction) -> str:
    """Which process knows the answer."""
    if row.name in hostabi.LOCAL:
        return "child"
    return "pool" if row.name in BUILT_IN else "node"


def markdown() -> str:
    """The table as the README shows it."""
    lines = ["| function | type | permission | fuel | by | errors |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows():
        params, results = (" ".join("i32" if t == I32 else "i64" for t in part) for part in (row.params, row.results))
        price = f"{row.fuel_base}" + (f" + {row.fuel_per_byte}/B" if row.byte_param is not None else "")
        names = " ".join(_words(error) for error in sorted(errors(row), reverse=True))
        lines.append(
            f"| `{row.name}` | `({params})`{f' → `{results}`' if results else ''} | {row.permission} | {price} "
            f"| {answered_by(row)} | {names} |"
        )
    return "\n".join(lines) + "\n"


def _words(error: HostAbiError) -> str:
    return "".join(part.capitalize() for part in error.name.split("_"))
