"""Finding profiles: the shipped ones, one from a file, and the one that fits this device.

`detect` gathers a few facts (device tree model, Termux, SMBIOS chassis, machine, memory) and `choose`, which is pure,
takes the matching profile of the highest rank, or the first by name among equals. A profile matches when it states at
least one pattern and every pattern that it states fits. The reason is a sentence for `icn-lite profile detect`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from icn_lite.device.files import FileText, read_text
from icn_lite.device.profile import Match, Profile, parse_profile
from icn_lite.device.profile_text import MAX_PROFILE_BYTES
from icn_lite.model.errors import ProfileError
from icn_lite.resources import profile_files

# Every Linux has /proc/meminfo; its first line is `MemTotal: N kB`.
_MEMINFO: Final = "proc/meminfo"
# The first is a link to the second, which some containers don't have.
_MODELS: Final = ("proc/device-tree/model", "sys/firmware/devicetree/base/model")


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known of the device before any profile is chosen; None where it can't be read."""

    device_tree_model: str | None
    termux: bool
    dmi_chassis_type: int | None
    machine: str
    memory_mib: int | None


def list_profiles() -> list[str]:
    """Names of the shipped profiles, sorted."""
    return sorted(profile_files())


def load_profile(name_or_path: str) -> Profile:
    """A shipped profile by name, or one's own by path (whatever has a slash or ends in `.toml`).

    Raises `ProfileError`, and never falls back to another profile.
    """
    return parse_profile(
        profile_text(name_or_path), Path(name_or_path).stem if _is_path(name_or_path) else name_or_path
    )


def _is_path(name_or_path: str) -> bool:
    return "/" in name_or_path or name_or_path.endswith(".toml")


def profile_text(name_or_path: str) -> str:
    """The text of a profile, found as `load_profile` does; raises `ProfileError`."""
    if _is_path(name_or_path):
        return _read_file(Path(name_or_path).expanduser())
    text = profile_files().get(name_or_path)
    if text is None:
        raise ProfileError(
            f"there is no profile {name_or_path!r}",
            hint=f"known: {', '.join(list_profiles())}; or the path of a .toml file",
        )
    return text


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_PROFILE_BYTES + 1)
        return data.decode("utf-8")
    except OSError as error:
        raise ProfileError(f"profile {path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"profile {path} is not UTF-8", line=line) from error


def detect(root: Path = Path("/")) -> tuple[Profile, str]:
    """The profile for this device and why; `root` is where /proc and /sys hang."""
    profiles = [parse_profile(text, name) for name, text in sorted(profile_files().items())]
    return choose(profiles, read_facts(root))


def read_facts(root: Path = Path("/"), environment: dict[str, str] | None = None) -> HostFacts:
    """The facts, from files under `root`, the environment and `uname`."""
    env = os.environ if environment is None else environment
    models = [read_text(root / path).text for path in _MODELS]
    model = next((text for text in models if text), None)
    chassis = read_text(root / "sys/class/dmi/id/chassis_type")
    return HostFacts(
        device_tree_model=model.rstrip("\0 \n") if model else None,  # the kernel ends the text with a NUL
        termux=is_termux(env),
        dmi_chassis_type=int(chassis.text) if chassis.text and chassis.text.isdecimal() else None,
        machine=platform.machine(),
        memory_mib=_memory_mib(read_text(root / _MEMINFO)),
    )


def is_termux(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this is Termux on Android."""
    env = os.environ if environment is None else environment
    return "TERMUX_VERSION" in env or "com.termux" in env.get("PREFIX", "")


def _memory_mib(meminfo: FileText) -> int | None:
    words = meminfo.text.split() if meminfo.text else []
    if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdecimal():
        return int(words[1]) // 1024
    return None


def choose(profiles: Sequence[Profile], facts: HostFacts) -> tuple[Profile, str]:
    """The best match among `profiles`; raises `ProfileError` when none matches."""
    fitting = [(profile, why) for profile in profiles if (why := matches(profile.match, facts))]
    if not fitting:
        raise ProfileError("no profile matches this device", hint="name one with --profile, or write your own file")
    best, why = min(fitting, key=lambda found: (-found[0].match.rank, found[0].name))
    return best, why


def matches(match: Match, facts: HostFacts) -> str:
    """Why the device fits, or the empty text when it doesn't."""
    reasons: list[str] = []
    if match.device_tree_models:
        if not _fits(match.device_tree_models, facts.device_tree_model):
            return ""
        reasons.append(f"the device tree says {facts.device_tree_model}")
    if match.termux:
        if not facts.termux:
            return ""
        reasons.append("this is Termux")
    if match.dmi_chassis_types:
        if facts.dmi_chassis_type not in match.dmi_chassis_types:
            return ""
        reasons.append(f"the SMBIOS chassis type is {facts.dmi_chassis_type}")
    if match.machines:
        if not _fits(match.machines, facts.machine):
            return ""
        reasons.append(f"the machine is {facts.machine}")
    if match.memory_mib_max is not None:
        if facts.memory_mib is None or facts.memory_mib > match.memory_mib_max:
            return ""
        reasons.append(f"it has {facts.memory_mib} MiB, at most {match.memory_mib_max}")
    return ", ".join(reasons)


def _fits(patterns: Sequence[str], text: str | None) -> bool:
    return text is not None and any(fnmatchcase(text, pattern) for pattern in patterns)
