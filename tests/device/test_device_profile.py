"""Profiles: what is shipped, what is refused and where, and which device gets which."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.catalogue import HostFacts, choose, detect, list_profiles, load_profile, read_facts
from icn_lite.device.profile import SECTIONS, HoursPolicy, Profile, parse_profile
from icn_lite.device.profile_text import MAX_PROFILE_BYTES
from icn_lite.model.errors import ProfileError, UsageError
from icn_lite.resources import profile_files
from icn_lite.wasm.limits import Limits

FIXTURES = Path(__file__).parent / "fixtures"
README = Path(__file__).parents[2] / "firmware_profiles" / "README.md"
PI_4 = profile_files()["pi-4"]
EXPECTED_NAMES = [
    "generic-arm64", "generic-armv7", "orange-pi", "pi-3", "pi-4", "pi-5", "pi-zero-2w", "server", "termux-old-phone",
    "termux-phone", "x86-laptop",
]  # fmt: skip


def line_of(text: str, start: str) -> int:
    """The line, from 1, that begins with `start`."""
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


def changed(key: str, value: str) -> str:
    """The Pi 4's profile with one key's value replaced."""
    text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", PI_4, count=1)
    assert count == 1
    return text


def test_every_shipped_profile_parses() -> None:
    assert list_profiles() == EXPECTED_NAMES
    for name in EXPECTED_NAMES:
        profile = load_profile(name)
        assert profile.name == name
        assert profile.guest.memory_pages * 65536 <= 1 << 27, "a guest of more than 128 MiB is no guest for these"


def test_wasm_limits_are_fields_of_the_validators_limits() -> None:
    fields = {field.name for field in dataclasses.fields(Limits)}
    for name in EXPECTED_NAMES:
        limits = load_profile(name).wasm
        assert set(limits) <= fields - {"memory_pages"}, "pages stand in [guest]"
        Limits(**limits)


def test_every_key_is_documented_with_its_range() -> None:
    rows = {
        (cells[0].strip(" `"), cells[1].strip(" `")): line
        for line in README.read_text().splitlines()
        if line.startswith("| `") and len(cells := line.strip("|").split("|")) >= 4
    }
    for section in SECTIONS:
        for key in section.keys:
            row = rows.pop((f"[{section.name}]" if section.name else "top", key.name), None)
            assert row is not None, f"firmware_profiles/README.md lacks {section.name}.{key.name}"
            for bound in key.bounds or ():
                assert f"{bound}" in row.replace("\N{NARROW NO-BREAK SPACE}", ""), row
    assert not rows, f"documented, but unknown: {rows}"


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        (PI_4.replace("soft_c =", "sofd_c ="), "unknown key thermal.sofd_c", line_of(PI_4, "soft_c")),
        (PI_4 + "\n[colour]\nred = 1\n", r"unknown section \[colour\]", len(PI_4.splitlines()) + 2),
        ("colour = 1\n" + PI_4, "unknown key colour", 1),
        (changed("memory_pages", "-1"), "guest.memory_pages: expected 1 to 65536, found -1", line_of(PI_4, "memory_p")),
        (changed("workers", "true"), "guest.workers: expected an integer, found True", line_of(PI_4, "workers")),
        (changed("soft_c", "70.5"), "thermal.soft_c: expected an integer, found 70.5", line_of(PI_4, "soft_c")),
        (changed("soft_c", '"70"'), "thermal.soft_c: expected an integer", line_of(PI_4, "soft_c")),
        (changed("only_when_charging", "1"), "battery.only_when_charging: expected true", line_of(PI_4, "only_when")),
        (changed("expected", '"maybe"'), "battery.expected: expected one of yes, no, detect", line_of(PI_4, "expec")),
        (changed("soft_resume_c", "70"), "soft_c = 70 must be above thermal.soft_resume_c", line_of(PI_4, "soft_c")),
        (changed("hard_resume_c", "90"), "hard_c = 79 must be above thermal.hard_resume_c", line_of(PI_4, "hard_c")),
        (changed("hard_c", "66"), "must be above", line_of(PI_4, "hard_c")),
        (changed("resume_pct", "20"), "resume_pct = 20 must be above battery.floor_pct", line_of(PI_4, "resume_pct")),
        (changed("hot_c", "30"), "hot_c = 30 must be above battery.hot_resume_c", line_of(PI_4, "hot_c")),
        (changed("functions", "-1"), "wasm.functions: expected 0 to", line_of(PI_4, "functions")),
        (changed("device_tree_models", '["ok", 1]'), "expected a list of texts", line_of(PI_4, "device_tree")),
        (changed("title", '""'), "title: expected a text", line_of(PI_4, "title")),
        (changed("busy_pm", "300"), "busy_pm = 300 must be above activity.busy_resume_pm", line_of(PI_4, "busy_pm")),
        (changed("metered", '"maybe"'), "network.metered: expected one of allow", line_of(PI_4, "metered")),
        (changed("quiet", '["22-7"]'), "hours.quiet: expected a list of spans of the day", line_of(PI_4, "quiet")),
        (changed("quiet", '["24:00-07:00"]'), "expected a list of spans", line_of(PI_4, "quiet")),
        (changed("quiet", '["07:00-07:00"]'), "expected a list of spans", line_of(PI_4, "quiet")),
        (changed("quiet", "[7]"), "expected a list of spans", line_of(PI_4, "quiet")),
        (changed("quiet", '"22:00-07:00"'), "expected a list of spans", line_of(PI_4, "quiet")),
        (PI_4.replace("[hours]\nquiet = []\n", ""), "missing key hours.quiet", None),
        (PI_4.replace("workers = 2\n", ""), "missing key guest.workers: guests running", line_of(PI_4, "[guest]")),
        (PI_4.replace("[prior]", "[prior"), "not TOML", line_of(PI_4, "[prior]")),
        (PI_4 + "\n[guest]\n", "not TOML", None),
        ("thermal = 3\n", "unknown key thermal", 1),
        ("x = " + "1" * 5000, "not TOML", None),
        ("x = " + "[" * 5000, "not TOML", None),
        ("#" * (MAX_PROFILE_BYTES + 1), "accepted are 65536", None),
        ("", "missing key title", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_line(text: str, reason: str, line: int | None) -> None:
    with pytest.raises(ProfileError, match=reason) as caught:
        parse_profile(text, "mine")
    assert str(caught.value).startswith("profile mine: ")
    if line is not None:
        assert caught.value.line == line
        assert f"(line {line})" in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    text = changed("memory_pages", "0").replace("workers = 2", "wrokers = 2").replace("soft_c = 70", "soft_c = 60")
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "mine")
    assert caught.value.message == (
        f"profile mine: guest.memory_pages: expected 1 to 65536, found 0 (line {line_of(PI_4, 'memory_pages')})"
    )
    also = caught.value.hint.partition("; also: ")[2].split("; ")
    assert also == [
        f"unknown key guest.wrokers (line {line_of(PI_4, 'workers')})",
        f"missing key guest.workers: guests running at a time (line {line_of(PI_4, '[guest]')})",
        f"thermal.soft_c = 60 must be above thermal.soft_resume_c = 64 (line {line_of(PI_4, 'soft_c')})",
    ]
    with pytest.raises(ProfileError) as caught:
        parse_profile("title = 3\n", "mine")
    assert caught.value.hint.endswith(" more")


def test_quiet_hours() -> None:
    hours = parse_profile(changed("quiet", '["22:00-07:30", "12:00-13:00"]'), "mine").hours
    assert hours.quiet == ((1320, 450), (720, 780))
    assert hours.texts() == ("22:00-07:30", "12:00-13:00")
    quiet = [minute for minute in range(1440) if hours.is_quiet(minute)]
    assert quiet == [*range(450), *range(720, 780), *range(1320, 1440)]
    never = parse_profile(PI_4, "pi-4").hours
    assert not any(never.is_quiet(minute) for minute in range(1440))


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
@settings(deadline=None, max_examples=100)
def test_a_span_and_its_complement_make_a_day(start: int, end: int, minute: int) -> None:
    if start != end:
        assert HoursPolicy(((start, end),)).is_quiet(minute) != HoursPolicy(((end, start),)).is_quiet(minute)


def test_the_choices_of_a_key_are_documented() -> None:
    text = README.read_text()
    for key in (key for section in SECTIONS for key in section.keys if key.choices):
        (row,) = [line for line in text.splitlines() if f"| `{key.name}` |" in line]
        assert all(f"`{choice}`" in row for choice in key.choices), row


def test_every_fixture_says_what_it_was_modelled_on() -> None:
    rows = README.read_text().partition("## Fixtures")[2]
    for folder in FIXTURES.iterdir():
        assert f"`{folder.name}" in rows, folder.name


@given(st.text(max_size=300) | st.sampled_from(sorted(profile_files().values())).map(lambda text: text[::-1]))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_profile(text, "noise")


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_profile_with_a_damaged_line_is_whole_or_refused(data: st.DataObject) -> None:
    lines = PI_4.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.one_of(st.just(""), st.text("=[]\"' .#-_abc019", max_size=30)))
    try:
        profile = parse_profile("\n".join(lines), "damaged")
    except ProfileError:
        return
    assert profile.thermal.soft_resume_c < profile.thermal.soft_c < profile.thermal.hard_c
    assert profile.battery.floor_pct < profile.battery.resume_pct


@pytest.mark.parametrize(
    ("facts", "name", "reason"),
    [
        (HostFacts("Raspberry Pi Zero 2 W Rev 1.0", False, None, "aarch64", 415), "pi-zero-2w", "device tree"),
        (HostFacts("Raspberry Pi 3 Model B Plus Rev 1.3", False, None, "armv7l", 909), "pi-3", "device tree"),
        (HostFacts("Raspberry Pi 4 Model B Rev 1.4", False, None, "aarch64", 3793), "pi-4", "Raspberry Pi 4"),
        (HostFacts("Raspberry Pi 400 Rev 1.0", False, None, "aarch64", 3793), "pi-4", "device tree"),
        (HostFacts("Raspberry Pi 5 Model B Rev 1.0", False, None, "aarch64", 8052), "pi-5", "device tree"),
        (HostFacts("Xunlong Orange Pi 5", False, None, "aarch64", 7928), "orange-pi", "device tree"),
        (HostFacts("Radxa ROCK 5B", False, None, "aarch64", 15888), "orange-pi", "device tree"),
        (HostFacts("Acme board", False, None, "aarch64", 900), "generic-arm64", "machine is aarch64"),
        (HostFacts(None, False, None, "armv7l", 500), "generic-armv7", "machine is armv7l"),
        (HostFacts("Raspberry Pi Model B Plus Rev 1.2", False, None, "armv6l", 427), "generic-armv7", "armv6l"),
        (HostFacts(None, True, None, "aarch64", 5587), "termux-phone", "Termux"),
        (HostFacts(None, True, None, "armv8l", 1900), "termux-old-phone", "Termux, it has 1900 MiB"),
        (HostFacts(None, True, None, "aarch64", None), "termux-phone", "Termux"),
        (HostFacts(None, False, 10, "x86_64", 15756), "x86-laptop", "chassis type is 10"),
        (HostFacts(None, False, 17, "x86_64", 15756), "server", "x86_64"),
        (HostFacts(None, False, None, "riscv64", 900), "server", "riscv64"),
    ],
)
def test_every_device_gets_its_profile(facts: HostFacts, name: str, reason: str) -> None:
    profile, why = choose([load_profile(each) for each in reversed(EXPECTED_NAMES)], facts)
    assert profile.name == name
    assert reason in why


def test_no_profile_is_better_than_a_wrong_one() -> None:
    with pytest.raises(ProfileError, match="no profile matches"):
        choose([load_profile("pi-4")], HostFacts(None, False, None, "x86_64", None))


def test_facts_come_from_the_tree_that_is_given() -> None:
    assert read_facts(FIXTURES / "pi-4", {}).device_tree_model == "Raspberry Pi 4 Model B Rev 1.4"
    assert read_facts(FIXTURES / "pi-4", {}).memory_mib == 3793
    laptop = read_facts(FIXTURES / "laptop-two-batteries", {})
    assert (laptop.device_tree_model, laptop.dmi_chassis_type, laptop.termux) == (None, 10, False)
    assert read_facts(FIXTURES / "phone-sysfs", {"TERMUX_VERSION": "0.118.3"}).termux
    assert read_facts(FIXTURES / "nowhere", {}).memory_mib is None


def test_this_device_has_a_profile() -> None:
    profile, why = detect()
    assert isinstance(profile, Profile)
    assert why


def test_a_profile_of_ones_own_is_one_file(tmp_path: Path) -> None:
    mine = tmp_path / "my-board.toml"
    mine.write_text(changed("title", '"My board"'))
    assert load_profile(str(mine)).title == "My board"
    assert load_profile(str(mine)).name == "my-board"


def test_a_name_or_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="there is no profile 'pi-6'") as caught:
        load_profile("pi-6")
    assert "pi-5" in caught.value.hint
    with pytest.raises(ProfileError, match="No such file"):
        load_profile(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b'title = "a"\n# caf\xe9\n')
    with pytest.raises(ProfileError, match=r"not UTF-8 \(line 2\)"):
        load_profile(str(tmp_path / "latin.toml"))
    assert issubclass(ProfileError, UsageError)
