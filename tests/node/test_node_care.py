"""The device's care: what the sensors say reaches the guests, their originators and the receipts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from node_guests import slow_guest
from node_stranger import Stranger
from node_world import World, until

from icn_lite.device.catalogue import load_profile
from icn_lite.device.governor import Level
from icn_lite.device.reading import Quantity, Readings, known, unknown
from icn_lite.mesh import table as paths
from icn_lite.node import care as module
from icn_lite.node.care import BUSY_MS, DUTY_PERIOD_MS, Care
from icn_lite.node.config import Role
from icn_lite.resources import guest_module
from icn_lite.sandbox.pool import PoolConfig, Progress

PHONE = load_profile("termux-phone")
HOUR_MS = 3_600_000


def phone(soc_c: int | None = 30, pct: int = 96, mains: int = 1) -> Readings:
    heat = (
        unknown(Quantity.SOC_TEMP, "test", "denied") if soc_c is None else known(Quantity.SOC_TEMP, soc_c * 1000, "t")
    )
    battery = (
        known(Quantity.BATTERY_PRESENT, 1, "t"),
        known(Quantity.BATTERY_PCT, pct, "t"),
        known(Quantity.ON_MAINS, mains, "t"),
        known(Quantity.BATTERY_TEMP, 25_000, "t"),
        known(Quantity.WIFI, 1, "t"),
    )
    return Readings((heat, *battery))


class Hub:
    """Says what the test wants."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings

    async def read(self, deadline_ms: int | None = None, *, busy: bool = True) -> Readings:
        return self.readings


class FakePool:
    """Notes when it stood still, on the test's clock."""

    def __init__(self, time: Time) -> None:
        self.time, self.accepted, self.suspended = time, 1, False
        self.config = PoolConfig(workers=1)
        self.under_way: list[Progress] = []
        self.moves: list[tuple[int, str]] = []

    def suspend(self) -> None:
        self.suspended = True
        self.moves.append((self.time.now_ms, "stop"))

    def resume(self) -> None:
        self.suspended = False
        self.moves.append((self.time.now_ms, "go"))


class Time:
    """A clock that a pause moves on; the given number of pauses ends the test's watch."""

    def __init__(self, pauses: int) -> None:
        self.now_ms, self.left = 0, pauses

    async def pause(self, care: Care, pause_ms: int) -> bool:
        if self.left == 0:
            raise asyncio.CancelledError
        self.left -= 1
        self.now_ms += pause_ms
        return False


async def watched(monkeypatch: pytest.MonkeyPatch, readings: Readings, pauses: int) -> tuple[Care, FakePool]:
    time = Time(pauses)
    pool = FakePool(time)
    care = Care(PHONE, Hub(readings), pool, lambda: None)  # type: ignore[arg-type]
    monkeypatch.setattr(module, "clock_ms", lambda: time.now_ms)
    monkeypatch.setattr(Care, "_pause", lambda care, pause_ms: time.pause(care, pause_ms))
    with pytest.raises(asyncio.CancelledError):
        await care.watch()
    return care, pool


async def test_a_cool_device_is_never_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    care, pool = await watched(monkeypatch, phone(), 5)
    assert (care.allowance.level, pool.moves) == (Level.RUN, [])
    assert pool.time.now_ms == 5 * BUSY_MS
    assert care.why_not() == ""


async def test_a_warm_device_runs_its_share_of_every_period(monkeypatch: pytest.MonkeyPatch) -> None:
    thermal = PHONE.thermal
    warm_c = thermal.soft_c - 2
    care, pool = await watched(monkeypatch, phone(warm_c), 8)
    assert care.allowance.level is Level.SLOW
    assert pool.time.now_ms == 4 * DUTY_PERIOD_MS
    stops = [at for at, what in pool.moves if what == "stop"]
    goes = [at for at, what in pool.moves if what == "go"]
    # Two periods a look, each look with the duty that the regulator found.
    first, second, third, fourth = (at - period * DUTY_PERIOD_MS for period, at in enumerate(stops))
    assert 0 < first == second < DUTY_PERIOD_MS
    assert first <= third == fourth < DUTY_PERIOD_MS
    assert goes == [period * DUTY_PERIOD_MS for period in range(1, 5)]


async def test_a_hot_device_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    care, pool = await watched(monkeypatch, phone(PHONE.thermal.hard_c + 1), 3)
    assert care.allowance.level is Level.SUSPEND
    assert pool.moves == [(0, "stop")]
    assert care.why_not().startswith("suspend: ")


async def test_unknown_is_never_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    care, _ = await watched(monkeypatch, phone(None), 2)
    assert care.allowance.duty_pm < 1000
    assert any("SoC" in reason or "temperature" in reason for reason in care.allowance.reasons)
    health = care.health()
    assert health is not None
    assert (health.battery_pct, health.charging, health.temp_mc) == (96, True, None)


async def test_without_readings_a_receipt_says_nothing_of_health() -> None:
    care = Care(PHONE, Hub(Readings()), FakePool(Time(0)), lambda: None)  # type: ignore[arg-type]
    await care.look()
    assert care.health() is None
    assert care.why_not()  # a phone whose battery nobody sees still has one


async def test_heat_stops_a_guest_and_coolness_lets_it_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = [0]
    monkeypatch.setattr(module, "clock_ms", lambda: now_ms[0])
    monkeypatch.setattr(module, "BUSY_MS", 20)
    node = await world.start("executor-1", Role.EXECUTE)
    cool, hot = (
        Readings((known(Quantity.SOC_TEMP, temp_mc, "t"), known(Quantity.BATTERY_PRESENT, 0, "t")))
        for temp_mc in (40_000, 95_000)
    )

    class HeatingUp(Hub):
        """Hot as soon as a guest is there, until the test cools it."""

        async def read(self, deadline_ms: int | None = None, *, busy: bool = True) -> Readings:
            return hot if node.pool.accepted and self.readings is cool else cool

    cooled = Readings(cool.items)
    hub: Any = HeatingUp(cool)
    node.care._hub, node.care._profile = hub, load_profile("pi-4")
    originator = Stranger("originator")
    await originator.start(node)
    try:
        job = originator.job(b"x", slow_guest(120_000_000))
        bid = await originator.announce(job)
        await originator.post(paths.LEASES, originator.lease(job, bid).block)
        await until(node, lambda: node.pool.suspended)
        assert not originator.receipts
        other = originator.job(b"y", guest_module("echo"), nonce=bytes(16))
        await originator.post(paths.JOBS, originator.announcement(other).block)
        assert node.executions is not None
        reason = node.executions.offers.declined[other.id].message
        assert "suspend" in reason
        assert "°C" in reason or "temperature" in reason.lower()
        hub.readings = cooled
        now_ms[0] += HOUR_MS
        await until(node, lambda: not node.pool.suspended)
        (receipt,) = await originator.until(lambda: originator.receipts)
        assert receipt.document.health is not None
        assert receipt.document.health.temp_mc == 40_000
    finally:
        await originator.close()
