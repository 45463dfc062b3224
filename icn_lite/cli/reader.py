"""Looking into a home while its node may be running: the store opened for reading only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from icn_lite.cli.app import App

if TYPE_CHECKING:
    from icn_lite.store.db import Store


@contextmanager
def reading(app: App) -> Iterator[Store | None]:
    """The store of an initialised home; None where nothing was stored yet."""
    app.existing_home()
    with reading_if_any(app) as store:
        yield store


@contextmanager
def reading_if_any(app: App) -> Iterator[Store | None]:
    """The home's store, for commands that also work without a home and never need a key; None without one."""
    from icn_lite.store.db import Store

    home = app.home
    if not home.database.exists():
        yield None
        return
    home.check()
    with Store.open(home.path, read_only=True) as store:
        yield store
