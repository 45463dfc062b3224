"""What a device learned of itself, as text and back; kept over restarts. Pure.

One small JSON document of integers under 2 kB, with the profile's name: what was learned on a phone says nothing about
a Pi with the same home. Whatever doesn't fit exactly (another version, a number out of its bounds) is refused with the
reason, and the device learns anew; a model that was tampered with can at worst forecast badly, because no forecast
loosens a limit.
"""

from __future__ import annotations

import json
from typing import Final

from icn_lite.device.energy import MAX_MW, Energy
from icn_lite.device.governor import Learned
from icn_lite.device.thermal import MAX_COUNT, PRIOR, Row, Thermal
from icn_lite.model.errors import StoreError

VERSION: Final = 1
MAX_TEXT: Final = 4_096
MAX_THETA: Final = 1 << 40  # far beyond what any body has
MAX_SQUARE: Final = 1_000_000 * 25  # the sum of faded changes can't be larger


def format_learned(learned: Learned, profile: str) -> str:
    """The document."""
    thermal, energy = learned.thermal, learned.energy
    document = {
        "version": VERSION,
        "profile": profile,
        "theta": list(thermal.theta),
        "covariance": [list(row) for row in thermal.covariance],
        "windows": thermal.windows,
        "product": energy.product,
        "square": energy.square,
    }
    return json.dumps(document, separators=(",", ":")) + "\n"


def parse_learned(text: str, profile: str) -> Learned:
    """What the document says; raises `StoreError` for one that is broken or another device's."""
    if len(text) > MAX_TEXT:
        raise StoreError(f"expected at most {MAX_TEXT} characters of learned figures, found {len(text)}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise StoreError(f"learned figures are no JSON: {error}") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise StoreError(f"expected learned figures of version {VERSION}")
    if found.get("profile") != profile:
        raise StoreError(f"these figures were learned with the profile {found.get('profile')!r}, not {profile!r}")
    rows = found.get("covariance")
    if not isinstance(rows, list) or len(rows) != len(PRIOR):
        raise StoreError("covariance: expected four rows")
    first, second, third, fourth = (_row(row, "covariance", 2 * max(PRIOR)) for row in rows)
    covariance = (first, second, third, fourth)
    for i in range(4):
        if not 0 < covariance[i][i] <= 2 * PRIOR[i] or any(covariance[i][j] != covariance[j][i] for j in range(4)):
            raise StoreError("covariance: no device learns this")
    thermal = Thermal(
        theta=_row(found.get("theta"), "theta", MAX_THETA),
        covariance=covariance,
        windows=_number(found.get("windows"), "windows", 0, MAX_COUNT),
        stirred=0,
    )
    square = _number(found.get("square"), "square", 0, MAX_SQUARE)
    product = _number(found.get("product"), "product", -MAX_MW * MAX_SQUARE, MAX_MW * MAX_SQUARE)
    return Learned(thermal, Energy(product=product, square=square))


def _row(value: object, name: str, bound: int) -> Row:
    if not isinstance(value, list) or len(value) != 4:
        raise StoreError(f"{name}: expected four numbers")
    a, b, c, d = (_number(item, name, -bound, bound) for item in value)
    return a, b, c, d


def _number(value: object, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise StoreError(f"{name}: expected a whole number from {least} to {most}, found {value!r:.40}")
    return value
