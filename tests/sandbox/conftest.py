"""No pool outlives the file whose tests share it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from warm import close_warm


@pytest.fixture(scope="module", autouse=True)
def warm_pools_end_with_their_file() -> Iterator[None]:
    yield
    close_warm()
