"""A node's own sensors: what members read of them, whose load is whose, and the owner's own command."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import cbor2
import pytest
from node_stranger import Stranger
from node_world import World, until

from icn_lite.device.catalogue import load_profile
from icn_lite.device.governor import GovernorState, step
from icn_lite.device.reading import Quantity, Readings
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.device.sensors.own import OwnCommand
from icn_lite.device.sensors.rows import Wishes, default_sources
from icn_lite.mesh import table
from icn_lite.mesh.client import Client
from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.model.errors import PeerError, PeerRefused
from icn_lite.node.config import Config, Role
from icn_lite.node.sensing import device_state, sensors_of

FIXTURES = Path(__file__).parents[1] / "device" / "fixtures"
HAT = 'print(\'{"battery_present": true, "battery_pct": 71, "on_mains": true, "plugged": true}\')'


async def test_members_and_nobody_else_read_the_devices_state(world: World) -> None:
    node = await world.start("executor", Role.EXECUTE, sensor_command=(sys.executable, "-I", "-S", "-c", HAT))
    await until(node, lambda: node.care.readings.get(Quantity.BATTERY_PCT).value == 71)
    member = Stranger("member")
    await member.start(node)
    try:
        answer = await member.client.get(member.uri, table.DEVICE)
    finally:
        await member.close()
    assert answer.content_format == 112
    records = cbor2.loads(answer.payload)
    assert records[0][-2] == "/3/0/"
    found = {record[0]: record.get(2, record.get(3)) for record in records}
    assert (found["9"], found["20"], found["17"]) == (71, 1, "server")
    outsider = Endpoint(EndpointConfig("127.0.0.1", 0), member)
    await outsider.start()
    try:
        with pytest.raises((PeerRefused, PeerError)):
            await Client(outsider).get(member.uri, table.DEVICE)
    finally:
        await outsider.close()


async def test_guests_are_no_strangers_load(world: World) -> None:
    node = await world.start("executor", Role.EXECUTE)
    zygote = node.pool.zygote_pid
    assert zygote is not None
    hub = node.care._hub
    load = next(slot.source for slot in hub._slots if slot.source.name == "stat")
    pids = load._pids()  # type: ignore[union-attr]
    assert {zygote, *node.pool.spare_pids, *node.pool.child_pids} == set(pids)
    assert os.getpid() not in pids, "this process is counted by its own clock"


async def test_what_a_hub_never_heard_is_not_told() -> None:
    profile = load_profile("pi-4")
    hub = SensorHub(default_sources(root=FIXTURES / "phone-termux"), clock=lambda: 0)
    tell = device_state(profile, hub)
    assert {record[0] for record in cbor2.loads(tell())} == {"20", "17", "19"}
    await hub.read()
    assert {record[0]: record.get(2) for record in cbor2.loads(tell())}["9"] == 76


async def test_a_hat_that_falls_silent_is_no_mains(tmp_path: Path) -> None:
    hat, now = tmp_path / "hat.py", [0]
    hat.write_text(HAT.replace("71", "99"))
    profile = load_profile("pi-4")
    wishes = Wishes(own_command=(sys.executable, "-I", "-S", str(hat)))
    rows = default_sources(root=FIXTURES / "pi-4", wishes=wishes)
    hub = SensorHub([OwnCommand(wishes.own_command), *rows[1:]], clock=lambda: now[0])
    heard = asyncio.Event()
    hub.heard = heard.set
    state, may_bid = GovernorState(), list[bool]()
    for now[0] in (0, 11_000, 60_000, 140_000, 700_000):
        state, allowance = step(profile, state, await hub.read(), now[0])
        may_bid.append(allowance.may_bid)
        hat.write_text("raise SystemExit(1)")
        if any(slot.asking for slot in hub._slots):  # it answers after the look
            async with asyncio.timeout(30):
                await heard.wait()
        heard.clear()
    assert may_bid == [True, True, True, False, False]
    assert any("battery charge unknown" in reason for reason in allowance.reasons)


async def test_a_command_that_misbehaves_costs_nothing_but_its_readings() -> None:
    for body in ("print('x' * 10_000_000)", "import signal; signal.pause()", "print('no json')", "raise SystemExit(1)"):
        config = Config(sensor_command=(sys.executable, "-I", "-S", "-c", body))
        hub = sensors_of(load_profile("pi-4"), config)
        async with asyncio.timeout(60):
            readings: Readings = await hub.read(deadline_ms=30_000)
        assert readings.get(Quantity.MEMORY_TOTAL).value, "the others answer"
        assert [name for name, _ in hub.problems() if name == "sensor_command"] == ["sensor_command"]
