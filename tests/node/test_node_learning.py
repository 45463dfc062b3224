"""What a device learned outlives its node: written seldom, believed only where it fits, and never in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from node_world import World

from icn_lite.device.energy import Energy
from icn_lite.device.governor import Learned
from icn_lite.device.thermal import Thermal
from icn_lite.node.config import Role
from icn_lite.node.learning import FILE_NAME, LearnedFile

LEARNED = Learned(replace(Thermal(), windows=40, stirred=0), Energy(product=5, square=7))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    LearnedFile(tmp_path, "pi-4").save(LEARNED)
    assert LearnedFile(tmp_path, "pi-4").load() == LEARNED
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    file = LearnedFile(tmp_path, "pi-4")
    file.save(LEARNED)
    (tmp_path / FILE_NAME).unlink()
    file.save(LEARNED)
    assert not (tmp_path / FILE_NAME).exists()
    LearnedFile(tmp_path, "pi-4").save(Learned())
    assert not (tmp_path / FILE_NAME).exists()  # a device that learned nothing has nothing to keep


@pytest.mark.parametrize("text", ["", "{}", "\xff\xfe", "x" * 10_000, '{"version":1,"profile":"pi-5"}'])
def test_a_file_that_cannot_be_believed_is_left_behind(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE_NAME).write_bytes(text.encode("latin-1"))
    assert LearnedFile(tmp_path, "pi-4").load() == Learned()
    assert "left behind" in caplog.text


def test_another_device_s_figures_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LearnedFile(tmp_path, "termux-phone").save(LEARNED)
    assert LearnedFile(tmp_path, "pi-4").load() == Learned()
    assert "learned with the profile 'termux-phone'" in caplog.text


def test_a_folder_in_its_place_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).mkdir()
    file = LearnedFile(tmp_path, "pi-4")
    assert file.load() == Learned()
    file.save(LEARNED)
    assert "can't be read" in caplog.text
    assert "can't be kept" in caplog.text


async def test_a_node_goes_on_learning_where_it_stopped(world: World) -> None:
    first = await world.start("executor-1", Role.EXECUTE)
    first.care.remember(LEARNED)
    await world.stop("executor-1")
    second = await world.start("executor-1", Role.EXECUTE)
    assert second.care.learned.thermal.windows >= LEARNED.thermal.windows
    assert (second.care.learned.energy.product, second.care.learned.energy.square) == (5, 7)
    status = await second.status()
    device = status["device"]
    assert isinstance(device, dict)
    assert device["allowance"] == status["allowance"]
