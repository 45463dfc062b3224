"""The profiles of the demo's executors: those that are shipped, without their manners."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from icn_lite.device.catalogue import load_profile
from icn_lite.node.demo import EXECUTOR_PROFILES, lent_profile


@pytest.mark.parametrize("name", EXECUTOR_PROFILES)
def test_they_differ_in_nothing_else(tmp_path: Path, name: str) -> None:
    lent, shipped = load_profile(str(lent_profile(tmp_path / "demo", name))), load_profile(name)
    assert replace(lent, activity=shipped.activity) == shipped
    assert (lent.activity.idle_s, lent.activity.busy_pm) == (0, 1000)
    assert lent.name == name
