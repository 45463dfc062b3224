"""`icn-lite doctor` on the sandbox: which layers hold here, which don't, why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from icn_lite.sandbox import layers as room
from icn_lite.sandbox.layers import Layer, layers

if TYPE_CHECKING:
    from conftest import Program


def sandbox_lines(icn: Program) -> list[dict[str, str | None]]:
    return [finding for finding in icn("doctor", "--json").json["findings"] if finding["topic"] == "sandbox"]


def test_every_layer_of_this_device_is_listed(icn: Program) -> None:
    first, *lines = sandbox_lines(icn)
    found = layers()
    assert [line["text"] for line in lines] == [f"{layer.name}: {layer.why}" for layer in found]
    holding = sum(layer.active for layer in found)
    assert str(first["text"]).startswith(f"{holding} of {len(found)} layers hold")
    assert first["state"] == ("ok" if holding == len(found) else "warning")


@pytest.mark.parametrize(
    ("name", "why", "hint"),
    [
        ("system calls", "this kernel was built without seccomp (CONFIG_SECCOMP)", "seccomp"),
        ("not root", "the node runs as root", "user of its own"),
        ("no new privileges", "the kernel refused it", "the other layers hold"),
    ],
)
def test_a_missing_layer_is_a_warning_with_its_reason(
    icn: Program, monkeypatch: pytest.MonkeyPatch, name: str, why: str, hint: str
) -> None:
    """Devices that this suite can't run on, played by their answers; the node still works there."""
    played = [Layer("process", True, "forked"), Layer(name, False, why), Layer("timer", True, "kills")]
    monkeypatch.setattr(room, "layers", lambda: played)
    first, _, missing, _ = sandbox_lines(icn)
    assert (first["state"], first["text"]) == ("warning", f"2 of 3 layers hold; missing: {name}")
    assert (missing["state"], missing["text"]) == ("warning", f"{name}: {why}")
    assert hint in str(missing["hint"])
    assert icn("doctor").code == 0
    told = icn("doctor").out
    assert f"warning  sandbox    {name}: {why}\n" in told
    assert "hint: " in told


def test_a_device_that_gives_no_process_can_run_no_guests(icn: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "layers", lambda: [Layer("process", False, "no child could be had: EAGAIN")])
    done = icn("doctor", "--json")
    (line,) = [finding for finding in done.json["findings"] if finding["topic"] == "sandbox"]
    assert done.code == 1
    assert (line["state"], "EAGAIN" in line["text"]) == ("wrong", True)
