"""The data that ships with icn-lite: firmware profiles, guests, and the kit that guests are written with.

In a wheel they lie in `icn_lite/data/`; in a checkout, where that folder does not exist, at their own places beside
the package. Nothing here writes, and nothing is kept in memory.
"""

from __future__ import annotations

import re
from pathlib import Path

from icn_lite.model.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def profile_files() -> dict[str, str]:
    """Name (without `.toml`) -> text of every firmware profile, sorted by name."""
    folder = _folder("firmware_profiles", "firmware_profiles")
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.toml"))}


def guest_names() -> list[str]:
    """The guests that `guest_module` knows."""
    return sorted(path.stem for path in _guests().glob("*.wasm"))


def guest_module(name: str) -> bytes:
    """The compiled module of a guest, such as `manifest`; a name without a module is a `UsageError`."""
    path = _guests() / f"{name}.wasm"
    if not _NAME.fullmatch(name) or not path.is_file():
        raise UsageError(
            f"expected the name of a guest that ships with icn-lite, found {name!r}",
            hint=f"known: {', '.join(guest_names()) or 'none'}",
        )
    return path.read_bytes()


def kit_file(name: str) -> str:
    """The text of a file of the guest kit, such as `icn.h`."""
    return (_folder("kit", "tools/guests") / name).read_text(encoding="utf-8")


def _guests() -> Path:
    return _folder("guests", "tools/guests/build")


def _folder(in_wheel: str, in_checkout: str) -> Path:
    shipped = _PACKAGE / "data" / in_wheel
    return shipped if shipped.is_dir() else _PACKAGE.parent / in_checkout
