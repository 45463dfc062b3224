"""The charging guard by itself: a probe finds what guests take; who takes nothing is probed again when that changes."""

from __future__ import annotations

import pytest

from icn_lite.device.charging import CHANGED_PM, PHASE_MS, PROBE_EVERY_MS, ChargeGuard, Phase

LOOK_MS = 2_000
REST_UA = 800_000


def live(guard: ChargeGuard, at_ms: int, for_ms: int, taken_ua: int) -> tuple[ChargeGuard, int, list[int]]:
    """Let the guard set the duty of guests that take `taken_ua` at full duty; also returns the duties."""
    duties = []
    for now_ms in range(at_ms, at_ms + for_ms, LOOK_MS):
        duty_pm = guard.duty_pm(30)
        duties.append(duty_pm)
        guard = guard.step(REST_UA - taken_ua * duty_pm // 1000, duty_pm, now_ms)
    return guard, at_ms + for_ms, duties


def test_a_probe_finds_what_guests_take() -> None:
    guard, _, duties = live(ChargeGuard(), 0, 60_000, 200_000)
    assert guard.drop_ua == pytest.approx(200_000, rel=0.1)
    assert 0 < duties[-1] * 200_000 / 1000 <= 0.03 * REST_UA


@pytest.mark.parametrize("fall_pm", [CHANGED_PM + 50, CHANGED_PM - 50])
def test_who_took_nothing_is_probed_again_when_the_current_falls_under_work(fall_pm: int) -> None:
    guard, now_ms, duties = live(ChargeGuard(), 0, 60_000, 0)
    assert (guard.drop_ua, guard.phase, duties[-1]) == (0, Phase.NONE, 1000)
    guard, now_ms, duties = live(guard, now_ms, 4 * PHASE_MS, REST_UA * fall_pm // 1000)
    if fall_pm > CHANGED_PM:
        assert 0 in duties, "guests stood still to be compared"
        assert duties[-1] < 400, "and take no more than their share since"
    else:
        assert set(duties) == {1000}, "so small a fall is the battery's own"
        assert 4 * PHASE_MS < PROBE_EVERY_MS
