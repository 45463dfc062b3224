"""`icn-lite doctor`: what of this device works, what doesn't, and what to do about it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import icn_lite
from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json
from icn_lite.model.errors import IcnLiteError

if TYPE_CHECKING:
    from icn_lite.device.profile import Profile

State: TypeAlias = Literal["ok", "warning", "wrong"]
LIBRARIES: Final = ("pywasm3", "aiocoap", "zeroconf", "cbor2", "pynacl", "psutil", "click", "rich", "segno", "wasmtime")
OPTIONAL: Final = frozenset({"wasmtime"})
FREE_MB_WANTED: Final = 256  # what the store may use by default
SOON_S: Final = 30 * 86_400  # a month to ask for an invitation
BEHIND_S: Final = 120  # what corrections of a running clock take back is less


MULTICAST_MS: Final = 200  # how long one of our own packets may take to come back, on each interface and family
_DEAF_HINT: Final = "name a peer (--peer URI) or join by an invitation; neighbours are then found by its directory"
_LAYER_HINT: Final = "the other layers hold without it; another kernel or system may allow it"
_LAYER_HINTS: Final = {
    "system calls": "the other layers hold without it; take jobs from people you know (trust_scopes) until the kernel "
    "has seccomp filters",
    "not root": "run the node as a user of its own",
    "processes": "run the node as a user of its own",
    "environment": "start the node without these variables",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    topic: str
    state: State
    text: str
    hint: str = ""


@command("doctor", examples=("icn-lite doctor", "icn-lite doctor --json"))
@pass_app
def doctor(app: App) -> int:
    """Check this device: home, key, settings, profile, sandbox layers, engines, libraries, clock, sensors, mesh, disk.

    Works without a home as well. Exits with 1 when something is wrong, with 0 when there are warnings at most.
    """
    findings = [finding for look in _LOOKS for finding in _guarded(app, look)]
    wrong = any(finding.state == "wrong" for finding in findings)
    if app.as_json:
        listed: list[Json] = [
            {"topic": f.topic, "state": f.state, "text": f.text, "hint": f.hint or None} for f in findings
        ]
        app.out.document({"ok": not wrong, "version": icn_lite.__version__, "findings": listed})
    else:
        for finding in findings:
            app.out.line(f"{finding.state:<8} {finding.topic:<10} {finding.text}")
            if finding.hint:
                app.out.line(f"{'':<19} hint: {finding.hint}")
    return 1 if wrong else 0


Look: TypeAlias = Callable[[App], list[Finding]]


def _guarded(app: App, look: Look) -> list[Finding]:
    """A look that can't be taken is a finding as well."""
    topic = look.__name__.removeprefix("_look_at_")
    try:
        return look(app)
    except IcnLiteError as error:
        return [Finding(topic, "wrong", error.message, error.hint)]


def _look_at_platform(app: App) -> list[Finding]:
    text = f"icn-lite {icn_lite.__version__}, Python {platform.python_version()}, {sys.platform} {platform.machine()}"
    return [Finding("platform", "ok", text)]


def _look_at_home(app: App) -> list[Finding]:
    home = app.home
    if not home.path.exists():
        return [Finding("home", "warning", f"none yet at {home.path}", "run `icn-lite init`")]
    home.check()
    return [Finding("home", "ok", str(home.path))]


def _look_at_key(app: App) -> list[Finding]:
    from icn_lite.node.keys import read_key_file

    if not app.home.initialised:
        return [Finding("key", "warning", "none yet", "run `icn-lite init`")]
    key = read_key_file(app.home.key)
    if key.sealed is not None:
        return [Finding("key", "ok", f"{key.did}, sealed by a passphrase")]
    return [Finding("key", "ok", f"{key.did}, unsealed: readable by this user alone, for unattended devices")]


def _look_at_settings(app: App) -> list[Finding]:
    from icn_lite.node.config import ENVIRONMENT_PREFIX, OPTIONS, load_config

    load_config(app.home.config, app.environ, {})
    known = {option.variable for option in OPTIONS} | _OTHER_VARIABLES
    strange = sorted(name for name in app.environ if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    if strange:
        hint = f"known are {', '.join(sorted(known))}"
        return [Finding("settings", "warning", f"{strange[0]} is set and means nothing", hint)]
    return [Finding("settings", "ok", f"{app.home.config}" if app.home.config.exists() else "defaults")]


def _look_at_profile(app: App) -> list[Finding]:
    from icn_lite.device.catalogue import detect, load_profile
    from icn_lite.node.config import load_config
    from icn_lite.node.runner import profile_limits

    name = load_config(app.home.config, app.environ, {}).profile
    found, why = detect() if name == "auto" else (load_profile(name), "from the settings")
    profile_limits(found)
    return [Finding("profile", "ok", f"{found.name}: {why}"), _speed(app, found)]


def _speed(app: App, profile: Profile) -> Finding:
    """Whether the device was measured, and whether that still proves anything to others."""
    from icn_lite.node.calibration import applicable, load_calibration
    from icn_lite.node.clock import Clock
    from icn_lite.work.benchmark import MAX_AGE_S

    calibration = applicable(profile, load_calibration(app.home.calibration))
    if calibration is None:
        text = f"not measured; the profile believes {profile.prior.fuel_per_s:,} fuel a second"
        return Finding("speed", "ok", text, "`icn-lite bench` measures it")
    days = (Clock().wall_s() - calibration.measured_at) // 86_400
    text = f"{calibration.fuel_per_s:,} fuel a second, measured {max(0, days)} d ago"
    if days * 86_400 > MAX_AGE_S:
        return Finding("speed", "warning", f"{text}: too old to prove anything", "run `icn-lite bench` again")
    return Finding("speed", "ok", text)


def _look_at_membership(app: App) -> list[Finding]:
    from icn_lite.model.membership import SKEW_S
    from icn_lite.node.clock import Clock
    from icn_lite.node.config import load_config
    from icn_lite.node.cooperatives import held

    found = []
    if load_config(app.home.config, app.environ, {}).open:
        found.append(
            Finding("membership", "warning", "the node is open: it lets everybody in", "for laboratories only")
        )
    memberships = held(app.home.cooperatives)
    if not memberships:
        text = "none yet; the first start makes a cooperative of this node's own"
        return [*found, Finding("membership", "ok", text)]
    claim = Clock().claim()
    for one in memberships:
        roles = ", ".join(role.value for role in one.roles)
        left_s = one.expires_at - claim.wall_s
        if claim.source != "unset" and left_s < -SKEW_S:
            hint = "join again (`icn-lite join`), or set the clock if it is wrong"
            found.append(Finding("membership", "warning", f"that of {one.name} has run out", hint))
        elif claim.source != "unset" and left_s < SOON_S:
            text = f"that of {one.name} runs out in {max(0, left_s) // 86_400} days"
            hint = f"no admin renewed it: `icn-lite coop renew --coop {one.name}`, or ask for an invitation"
            found.append(Finding("membership", "warning", text, hint))
        else:
            found.append(Finding("membership", "ok", f"{one.name}: {roles}"))
    if claim.source == "unset":
        text = "the clock was never set: memberships don't run out here"
        found.append(Finding("membership", "warning", text, "set it (NTP)"))
    return found


def _look_at_sandbox(app: App) -> list[Finding]:
    """One line a layer of the jail, tried in a child just now; what is missing is a warning with the next step."""
    from icn_lite.sandbox.layers import layers

    found = layers()
    if not found or not found[0].active:
        why = found[0].why if found else "no layer was found"
        return [Finding("sandbox", "wrong", f"guests can't run here: {why}", "a guest needs a process of its own")]
    holding = sum(layer.active for layer in found)
    missing = ", ".join(layer.name for layer in found if not layer.active)
    text = f"{holding} of {len(found)} layers hold" + (f"; missing: {missing}" if missing else "")
    return [
        Finding("sandbox", "warning" if missing else "ok", text),
        *(
            Finding("sandbox", "ok", f"{x.name}: {x.why}")
            if x.active
            else Finding("sandbox", "warning", f"{x.name}: {x.why}", _LAYER_HINTS.get(x.name, _LAYER_HINT))
            for x in found
        ),
    ]


def _look_at_engines(app: App) -> list[Finding]:
    return [_engine("wasm3", "wasm3", required=True), _engine("wasmtime", "wasmtime", required=False)]


def _engine(name: str, module: str, *, required: bool) -> Finding:
    """Probed by importing: an installer's word is not enough, some wheels can't be loaded on ARM."""
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 -- a binding may fail in any way; which one is the finding
        if required:
            return Finding("engine", "wrong", f"{name} can't be loaded: {error}", "run tools/run again to rebuild it")
        return Finding("engine", "ok", f"{name} is not installed; it is optional")
    return Finding("engine", "ok", name)


def _look_at_libraries(app: App) -> list[Finding]:
    versions: list[str] = []
    missing: list[str] = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            if name not in OPTIONAL:
                missing.append(name)
    if missing:
        return [Finding("libraries", "wrong", f"missing: {', '.join(missing)}", "run tools/run, which installs them")]
    return [Finding("libraries", "ok", ", ".join(versions))]


def _look_at_clock(app: App) -> list[Finding]:
    from icn_lite.node.clock import Clock

    claim = Clock().claim()
    if claim.source == "unset":
        text = f"the clock says {claim.wall_s} s since 1970, which can't be"
        return [Finding("clock", "warning", text, "set it (NTP); receipts are ordered without it")]
    behind_s = _newest_s(app.home.path) - claim.wall_s
    if behind_s > BEHIND_S:
        text = f"the clock is at least {behind_s // 60} min behind what was written here before"
        return [Finding("clock", "warning", text, "set it (NTP): memberships and announcements run out by it")]
    return [Finding("clock", "ok", "plausible; receipts are ordered by boot and sequence, not by it")]


def _newest_s(home: Path) -> int:
    """When something in the home was written last, in seconds since 1970; 0 where nothing is."""
    try:
        return max((int(found.stat().st_mtime) for found in home.iterdir()), default=0)
    except OSError:
        return 0


def _look_at_sensors(app: App) -> list[Finding]:
    from icn_lite.cli.doctor_sensors import look
    from icn_lite.device.catalogue import detect, load_profile
    from icn_lite.node.config import load_config

    config = load_config(app.home.config, app.environ, {})
    profile = detect()[0] if config.profile == "auto" else load_profile(config.profile)
    return [Finding("sensors", "ok" if well else "warning", text, hint) for well, text, hint in look(profile, config)]


def _look_at_mesh(app: App) -> list[Finding]:
    """The port and multicast: as the running node says, or tried here."""
    from icn_lite.cli.live import ask_node
    from icn_lite.mesh import multicast
    from icn_lite.mesh.addresses import bind_sockets
    from icn_lite.node.config import load_config

    live = ask_node(app.home, "status") if app.home.initialised else None
    if isinstance(live, dict):
        works = bool(live.get("mdns"))
        heard = Finding(
            "multicast", "ok" if works else "warning", str(live.get("mdns_why")), "" if works else _DEAF_HINT
        )
        return [Finding("ports", "ok", f"this node listens on UDP and TCP {live.get('port')}"), heard]
    config = load_config(app.home.config, app.environ, {})
    try:
        for sock in bind_sockets(config.bind, config.port):
            sock.close()
        ports = Finding("ports", "ok", f"UDP and TCP {config.port} on {config.bind} are free for this node")
    except IcnLiteError as error:
        ports = Finding("ports", "warning", error.message, error.hint)
    found = multicast.comes_back(MULTICAST_MS)
    good = [name for name, works in found.items() if works]
    deaf = [name for name, works in found.items() if not works]
    if not good:
        text = f"no multicast comes back on {', '.join(deaf)}" if deaf else "there is no network interface"
        return [ports, Finding("multicast", "warning", text, _DEAF_HINT)]
    text = f"comes back on {', '.join(good)}" + (f"; not on {', '.join(deaf)}" if deaf else "")
    return [ports, Finding("multicast", "ok", text)]


def _look_at_disk(app: App) -> list[Finding]:
    place = next(path for path in (app.home.path, *app.home.path.parents, Path("/")) if path.exists())
    free_mb = shutil.disk_usage(place).free >> 20
    text = f"{free_mb} MiB free at {place}"
    if not os.access(place, os.W_OK):
        return [Finding("disk", "wrong", f"{place} can't be written to", "name another home with --home")]
    if free_mb < FREE_MB_WANTED:
        return [Finding("disk", "warning", text, "free some space, or lower storage_mb in the settings")]
    return [Finding("disk", "ok", text)]


_OTHER_VARIABLES: Final = frozenset({"ICN_LITE_HOME", "ICN_LITE_PASSPHRASE", "ICN_LITE_PASSPHRASE_FILE"})
_LOOKS: Final[tuple[Look, ...]] = (
    _look_at_platform,
    _look_at_home,
    _look_at_key,
    _look_at_settings,
    _look_at_profile,
    _look_at_membership,
    _look_at_sandbox,
    _look_at_engines,
    _look_at_libraries,
    _look_at_clock,
    _look_at_sensors,
    _look_at_mesh,
    _look_at_disk,
)
