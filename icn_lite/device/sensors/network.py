"""Over what the device is connected, from `/sys/class/net`, and whether its way out is somebody's mobile data.

Kernel documentation: `Documentation/ABI/testing/sysfs-class-net`. `DEVTYPE` in an interface's `uevent` tells Wi-Fi
(`wlan`) and modems (`wwan`); phones' modems are `rmnet*` and `ccmni*`; a phone on USB shows up as Ethernet behind one
of a few drivers. The way out is the best default route of `/proc/net/route` and `ipv6_route`. Whether a Wi-Fi or
a cable is metered nobody can see here: NetworkManager may know (`bus.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from icn_lite.device.files import list_folder, read_text
from icn_lite.device.reading import Quantity, Reading, known, unknown

_SOURCE: Final = "network"
ETHERNET: Final = "1"  # ARPHRD_ETHER
_MODEMS: Final = ("rmnet", "ccmni", "wwan", "ppp")
_TETHERS: Final = ("rndis_host", "cdc_ether", "cdc_ncm", "ipheth")
# A machine with containers has hundreds of these, and none of them is a link of its own.
_NO_LINKS: Final = ("lo", "veth", "docker", "br-", "virbr", "cali", "flannel", "cni", "tap", "tun", "ifb")
MAX_INTERFACES: Final = 32
RTF_UP: Final = 0x1
RTF_REJECT: Final = 0x200
_ANY: Final = "0" * 32


class Link(Enum):
    """What carries an interface."""

    WIFI = "Wi-Fi"
    CABLE = "a cable"
    MOBILE = "mobile data"
    TETHERED = "a phone on USB"
    OTHER = "something virtual"


@dataclass(frozen=True, slots=True)
class _Interface:
    name: str
    link: Link
    up: bool


class LinuxNetwork:
    """`WIFI`, and `METERED` where the kind of link says it."""

    name = _SOURCE

    def __init__(self, root: Path = Path("/")) -> None:
        self._net = root / "sys/class/net"
        self._routes = root / "proc/net/route"
        self._routes6 = root / "proc/net/ipv6_route"

    def read(self, now_ms: int) -> Sequence[Reading]:
        """Both quantities."""
        folders, why, _ = list_folder(self._net)
        if not folders:
            why = why or "there is no network interface"
            return [unknown(quantity, _SOURCE, why) for quantity in (Quantity.WIFI, Quantity.METERED)]
        way_out, why = self._way_out()
        looked_at = [f for f in folders if f.name == way_out or not f.name.startswith(_NO_LINKS)][:MAX_INTERFACES]
        interfaces = {folder.name: _interface(folder) for folder in looked_at}
        return [_wifi(interfaces, way_out), _metered(interfaces, way_out, why)]

    def _way_out(self) -> tuple[str | None, str]:
        """The interface of the best default route; None without one, or with a reason where nobody can tell."""
        four, six = read_text(self._routes), read_text(self._routes6)
        if four.text is None and six.text is None:
            return None, four.why
        routes = [*_default_routes(four.text or ""), *_default_routes6(six.text or "")]
        return min(routes)[1] if routes else None, ""


def _interface(folder: Path) -> _Interface:
    state = read_text(folder / "operstate").text
    return _Interface(folder.name, _link(folder), state in ("up", "unknown"))


def _link(folder: Path) -> Link:
    traits = (read_text(folder / "uevent").text or "").splitlines()
    if "DEVTYPE=wlan" in traits:
        return Link.WIFI
    if "DEVTYPE=wwan" in traits or folder.name.startswith(_MODEMS):
        return Link.MOBILE
    if not (folder / "device").exists() or read_text(folder / "type").text != ETHERNET:
        return Link.OTHER
    driver = (read_text(folder / "device/uevent").text or "").splitlines()
    return Link.TETHERED if any(f"DRIVER={name}" in driver for name in _TETHERS) else Link.CABLE


def _wifi(interfaces: dict[str, _Interface], way_out: str | None) -> Reading:
    up = [interface for interface in interfaces.values() if interface.up]
    for interface in up:
        if interface.link in (Link.WIFI, Link.CABLE):
            return known(Quantity.WIFI, 1, f"{_SOURCE} {interface.name}")
    real = any(interface.link is not Link.OTHER for interface in interfaces.values())
    if not real and way_out in interfaces:  # a container's or a virtual machine's cable has no hardware to be seen
        return known(Quantity.WIFI, 1, f"{_SOURCE} {way_out}")
    return known(Quantity.WIFI, 0, _SOURCE)


def _metered(interfaces: dict[str, _Interface], way_out: str | None, why: str) -> Reading:
    if why:
        return unknown(Quantity.METERED, _SOURCE, why)
    if way_out is None:
        return known(Quantity.METERED, 0, f"{_SOURCE}, no way out")
    interface = interfaces.get(way_out)
    link = interface.link if interface is not None else Link.OTHER
    if link in (Link.MOBILE, Link.TETHERED):
        return known(Quantity.METERED, 1, f"{_SOURCE} {way_out}, {link.value}")
    return unknown(Quantity.METERED, _SOURCE, f"{way_out} is {link.value}, and no NetworkManager says what it costs")


def _default_routes(text: str) -> Iterator[tuple[int, str]]:
    """(metric, interface) of IPv4's: Iface Destination Gateway Flags RefCnt Use Metric Mask …; metrics are decimal."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and words[1] == words[7] == "00000000" and words[6].isdecimal() and _is_up(words[3]):
            yield int(words[6]), words[0]


def _default_routes6(text: str) -> Iterator[tuple[int, str]]:
    """The same of IPv6: destination length source length next-hop metric refcount use flags device, all in hex."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 10 and words[0] == _ANY and words[1] == "00" and words[9] != "lo" and _is_up(words[8]):
            yield int(words[5], 16) if len(words[5]) <= 8 and _is_hex(words[5]) else 1 << 32, words[9]


def _is_hex(word: str) -> bool:
    return bool(word) and all(c in "0123456789abcdefABCDEF" for c in word)


def _is_up(flags: str) -> bool:
    number = int(flags, 16) if len(flags) <= 8 and _is_hex(flags) else 0
    return bool(number & RTF_UP) and not number & RTF_REJECT
