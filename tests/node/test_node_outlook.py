"""From readings to a bid or a refusal: battery, heat, quiet hours, memory and network, through the real parts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from icn_lite.device.catalogue import load_profile
from icn_lite.device.forecast import Forecast, forecast
from icn_lite.device.governor import GovernorState, step
from icn_lite.device.profile import HoursPolicy, NetworkPolicy, Profile
from icn_lite.device.reading import Quantity, Readings, known
from icn_lite.market.match import Refusal
from icn_lite.market.price import Pace
from icn_lite.model.bid import Bid
from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import Architecture, Budget, ComputeRequirements, InputSpec, JobSpec, WasmRuntime
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.node.offers import _held_back
from icn_lite.node.outlook import outlook_of, prices_of
from icn_lite.work.bidding import BidderView, consider, lacking

J009 = JobErrorCode.RESOURCE_EXHAUSTED
PHONE = load_profile("termux-phone")
ROAMING = replace(PHONE, battery=replace(PHONE.battery, only_when_charging=False))  # its owner lets it use the battery
SUBMITTER = Did(b"\x02" * 32)
JOB = JobSpec(
    name="job",
    submitter=SUBMITTER,
    nonce=bytes(16),
    created_at=0,
    runtime=WasmRuntime(Cid.of_raw(b"m"), memory_pages=160),
    input=InputSpec(data=Cid.of_raw(b"i"), total_bytes=1 << 20),
    budget=Budget(max_total=10**9),
    deadline=3_600,
    compute=ComputeRequirements(max_fuel=20_000_000_000, timeout_ms=60_000),  # 40 s, 120 J on this phone
)


def readings(pct: int = 90, mains: int = 1, **others: int) -> Readings:
    values = {
        Quantity.BATTERY_PRESENT: 1,
        Quantity.BATTERY_PCT: pct,
        Quantity.ON_MAINS: mains,
        Quantity.PLUGGED: mains,
        Quantity.BATTERY_TEMP: 25_000,
        Quantity.SOC_TEMP: 35_000,
        Quantity.WIFI: 1,
        Quantity.METERED: 0,
        **{Quantity[name]: value for name, value in others.items()},
    }
    return Readings(tuple(known(quantity, value, "test") for quantity, value in values.items()))


def seen(profile: Profile, now: Readings) -> Forecast:
    """The governor's first step, and what it expects."""
    state, _ = step(profile, GovernorState(), now, 0)
    return replace(forecast(profile, state, now, profile.prior.fuel_per_s), duty_pm=1000, lasts_ms=None, later_pm=1000)


def capability(profile: Profile) -> NodeCapability:
    return NodeCapability(
        profile.name, (NodeRole.EXECUTE,), Architecture.ARM64, 8, 10, 160, 1, profile.prior.fuel_per_s
    )


def view_of(profile: Profile, now: Readings, expected: Forecast | None = None) -> BidderView:
    outlook = outlook_of(profile, expected or seen(profile, now), now)
    return BidderView(
        Did(b"\x01" * 32), capability(profile), prices_of(profile.price), outlook, bytes(16), 0,
        open_shards=0, max_open_shards=128, max_output_bytes=profile.guest.output_bytes,
    )  # fmt: skip


def answer(profile: Profile, now: Readings, expected: Forecast | None = None) -> Bid | Refusal:
    """What a device of this profile says to the job."""
    view = view_of(profile, now, expected)
    return consider(JobAnnouncementV1(SUBMITTER, JOB, 5_000, (), bytes(16)), view)


def refused(profile: Profile, now: Readings, expected: Forecast | None = None) -> Refusal:
    found = answer(profile, now, expected)
    assert isinstance(found, Refusal)
    assert found.code is JobErrorCode.RESOURCE_EXHAUSTED
    assert found.needed is not None
    assert found.available is not None
    assert found.needed > found.available
    return found


def test_a_phone_at_its_charger_bids() -> None:
    bid = answer(PHONE, readings())
    assert isinstance(bid, Bid)
    assert bid.completion_ms == 2 * 40_000


def test_a_battery_above_its_floor_counts_in_joules() -> None:
    """At 51 % of which 50 are the floor, a 51st of what it holds is left."""
    enough = readings(51, 0, BATTERY_ENERGY=51 * 120_000)
    assert isinstance(answer(ROAMING, enough), Bid)
    found = refused(ROAMING, readings(51, 0, BATTERY_ENERGY=51 * 119_999))
    assert (found.reason, found.needed, found.available, found.unit) == ("battery", 120_000, 119_999, "mJ")


def test_quiet_hours_that_begin_soon_end_a_shard_half_way() -> None:
    profile = replace(PHONE, hours=HoursPolicy(((22 * 60, 7 * 60),)))
    assert isinstance(answer(profile, readings(LOCAL_MINUTE=21 * 60 + 58)), Bid)
    found = refused(profile, readings(LOCAL_MINUTE=21 * 60 + 59))
    assert (found.reason, found.needed, found.available) == ("heat", 40_000, 0)
    assert found.message.endswith("quiet hours")


def test_heat_that_is_foreseen_makes_it_slower_or_stops_it() -> None:
    now = readings()
    slower = replace(seen(PHONE, now), lasts_ms=10_000, later_pm=500)
    bid = answer(PHONE, now, slower)
    assert isinstance(bid, Bid)
    assert bid.completion_ms == 2 * (10_000 + 60_000)
    assert outlook_of(PHONE, slower, now).pace == Pace(1000, 10_000, 500)
    stopped = replace(seen(PHONE, now), work_ms=39_999, why="heat")
    assert refused(PHONE, now, stopped).message == (
        "a shard takes up to 40 s at 1000 ‰ duty, the device can go on for 39 s: heat"
    )


def test_memory_that_others_took_is_not_lent() -> None:
    assert isinstance(answer(PHONE, readings(MEMORY_AVAILABLE=14)), Bid)  # 10 MiB, and input and output twice
    found = refused(PHONE, readings(MEMORY_AVAILABLE=13))
    assert (found.reason, found.needed, found.available, found.unit) == ("memory", 14, 13, "MiB")


@pytest.mark.parametrize(
    ("policy", "changes", "taken"),
    [
        (NetworkPolicy("allow", wifi_only=False), {"METERED": 1, "WIFI": 0}, True),
        (NetworkPolicy("avoid", wifi_only=False), {"METERED": 0, "WIFI": 0}, True),
        (NetworkPolicy("avoid", wifi_only=False), {"METERED": 1}, False),
        (NetworkPolicy("never", wifi_only=False), {"METERED": 1}, False),
        (NetworkPolicy("allow", wifi_only=True), {"WIFI": 1}, True),
        (NetworkPolicy("allow", wifi_only=True), {"WIFI": 0}, False),
    ],
)
def test_the_network_s_policy_lets_a_shard_s_bytes_through_or_none(
    policy: NetworkPolicy, changes: dict[str, int], taken: bool
) -> None:
    profile, now = replace(PHONE, network=policy), readings(**changes)
    if taken:
        assert isinstance(answer(profile, now), Bid)
        return
    found = refused(profile, now)
    assert (found.reason, found.needed, found.available, found.unit) == ("network", 2 << 20, 0, "bytes")


def test_what_stands_still_has_no_pace() -> None:
    still = replace(seen(PHONE, readings()), duty_pm=0)
    assert outlook_of(PHONE, still, readings()).pace is None
    assert outlook_of(PHONE, still, readings()).headroom_pm == 0
    lack = lacking(JOB, replace(view_of(PHONE, readings(), still), capability=replace(capability(PHONE), duty_pm=0)))
    assert lack is not None
    assert (lack.reason, lack.needed, lack.available, lack.unit) == ("heat", 40_000, 0, "ms")
    assert lack.message.endswith("guests stand still now")


def test_a_device_that_holds_back_says_so_in_its_own_words_with_the_numbers() -> None:
    profile = replace(PHONE, network=NetworkPolicy("avoid", wifi_only=False))
    metered = view_of(profile, readings(METERED=1))
    found = _held_back("drain: the network is metered", JOB, metered)
    assert (found.code, found.reason, found.needed, found.available) == (J009, "network", 2 << 20, 0)
    assert found.message.startswith("drain: the network is metered; a shard moves 2097152 bytes")
    plain = _held_back("drain: on battery", JOB, view_of(PHONE, readings()))
    assert plain == Refusal(J009, "device", "drain: on battery")
    for unknown in (replace(JOB, input=replace(JOB.input, shards=0)), JOB):
        speed = 0 if unknown is JOB else 1
        nobody = replace(metered, capability=replace(capability(profile), fuel_per_s=speed))
        assert _held_back("drain", unknown, nobody).reason == "device"
