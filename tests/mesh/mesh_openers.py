"""What the fixtures of this folder give: functions that open endpoints and raw sockets for a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh_raw import RawUdp

from icn_lite.mesh.endpoint import Endpoint

Opener = Callable[..., Awaitable[Endpoint]]
RawOpener = Callable[..., Awaitable[RawUdp]]
