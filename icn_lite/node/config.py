"""Settings of a node: defaults, then `config.toml`, then `ICN_LITE_*` variables, then options; the last one wins.

`Config` says what a setting may hold, `OPTIONS` explains each one; help texts, the file that `init` writes and the
README's table are drawn from these two. Reading is strict: an unknown key, a wrong type or a value out of bounds is
refused with the file's line, the variable's or the option's name, because a misspelt limit is no limit.
"""

from __future__ import annotations

import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from icn_lite.model import cbor, schema
from icn_lite.model.did import Did
from icn_lite.model.errors import StoreError, UsageError
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.units import Mana, Name, Region, Uri

ENVIRONMENT_PREFIX: Final = "ICN_LITE_"
MAX_FILE_BYTES: Final = 64 * 1024  # a page of settings; more is no configuration
MAX_PEERS: Final = 64

Word = Annotated[str, MaxLen(1024, least=1)]
Kind = Literal["integer", "flag", "text", "list"]


class Engine(Enum):
    """What runs prepared modules."""

    WASM3 = "wasm3"
    WASMTIME = "wasmtime"


class LogLevel(Enum):
    """What a node says on stderr."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


class Role(Enum):
    """What a node does for others."""

    EXECUTE = "execute"
    SUBMIT = "submit"


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one node; `OPTIONS` explains them."""

    port: Annotated[int, Range(0, 65_535)] = 5683
    bind: Annotated[str, MaxLen(64, least=1)] = "::"
    peers: Annotated[tuple[Uri, ...], MaxLen(MAX_PEERS)] = ()
    mdns: bool = True
    open: bool = False
    profile: Annotated[str, MaxLen(1024, least=1)] = "auto"
    workers: Annotated[int, Range(0, 64)] = 0
    engine: Engine = Engine.WASM3
    roles: Annotated[tuple[Role, ...], MaxLen(len(Role), least=1)] = (Role.EXECUTE, Role.SUBMIT)
    region: Region | None = None
    trust_scopes: Annotated[tuple[Name, ...], MaxLen(16)] = ()
    bidding_ms: Annotated[int, Range(50, 600_000)] = 2_000
    bid_policy: Annotated[tuple[Word, ...], MaxLen(16)] = ()
    sensor_command: Annotated[tuple[Word, ...], MaxLen(16)] = ()
    offline: bool = False
    offline_hours: Annotated[int, Range(0, 24 * 7)] = 0
    pay_late: bool = True
    initial_mana: Mana = 10_000
    storage_mb: Annotated[int, Range(16, 1 << 20)] = 256
    anchor: bool = False
    anchors: Annotated[tuple[Did, ...], MaxLen(16)] = ()
    upstreams: Annotated[tuple[Word, ...], MaxLen(8)] = ()
    log_level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, slots=True)
class Option:
    """One setting for people: `flag` is its option, `example` a value as it stands in `config.toml`."""

    name: str
    flag: str
    metavar: str
    help: str
    example: str

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()


OPTIONS: Final = (
    Option("port", "--port", "N", "UDP and TCP port; 0 takes a free one", "5683"),
    Option("bind", "--bind", "ADDR", "address to listen on; '::' is all of them, IPv4 as well", '"::"'),
    Option(
        "peers", "--peer", "URI", "a peer to greet at start; may be given several times", '["coap://10.0.0.7:5683"]'
    ),
    Option("mdns", "--mdns/--no-mdns", "", "find peers on the local network by mDNS", "true"),
    Option("open", "--open/--guarded", "", "let everybody in, unsealed and unasked: for laboratories only", "false"),
    Option("profile", "--profile", "NAME", "device profile: a name, a path, or 'auto' to detect it", '"pi-4"'),
    Option("workers", "--workers", "N", "guests that run at once; 0 leaves it to the profile", "2"),
    Option("engine", "--engine", "NAME", "what runs guests: wasm3, or wasmtime where it is installed", '"wasm3"'),
    Option(
        "roles", "--role", "NAME", "what this node does: execute, submit; may be given several times", '["execute"]'
    ),
    Option("region", "--region", "NAME", "where the device stands, for jobs that ask for a region", '"eu-west"'),
    Option(
        "trust_scopes", "--trust-scope", "NAME", "a circle this node belongs to; may be given several times", '["home"]'
    ),
    Option("bidding_ms", "--bidding-ms", "MS", "how long bids for a job of ours are taken", "2000"),
    Option("bid_policy", "--bid-policy", "WORD", "a command that is asked before every bid", '["./policy.py"]'),
    Option("sensor_command", "--sensor-command", "WORD", "a command that prints readings as JSON", '["./my-hat.py"]'),
    Option("offline", "--offline/--online", "", "open no socket: run what was taken, keep its receipts", "false"),
    Option(
        "offline_hours",
        "--offline-hours",
        "N",
        "take work along for N hours out of reach: leases last so much longer",
        "12",
    ),
    Option("pay_late", "--pay-late/--no-pay-late", "", "pay for results of ours that come after their lease", "true"),
    Option("initial_mana", "--initial-mana", "MANA", "mana that a new ledger begins with", "10000"),
    Option("storage_mb", "--storage-mb", "MB", "space for blocks that may be fetched again", "256"),
    Option("anchor", "--anchor/--no-anchor", "", "acknowledge for others that their receipts are kept here", "false"),
    Option(
        "anchors",
        "--trust-anchor",
        "DID",
        "whose word that receipts are kept counts, beside bridges and admins",
        '["did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"]',
    ),
    Option(
        "upstreams",
        "--upstream",
        "URI",
        "a larger network that this node bridges to; may be given several times",
        '["nats://127.0.0.1:4222?domain=hub"]',
    ),
    Option("log_level", "--log-level", "LEVEL", "error, warning, info or debug, on stderr", '"info"'),
)

_BY_NAME: Final = {option.name: option for option in OPTIONS}


def load_config(path: Path, environ: Mapping[str, str], options: Mapping[str, str | Sequence[str] | None]) -> Config:
    """The settings of the home whose file is `path`; `options` are the command line's words, None where unset."""
    values = _defaults()
    origins: dict[str, str] = {}
    text = _read_file(path)
    for name, value in _parse_file(text, path).items():
        values[name], origins[name] = value, _where(text, path, name)
    for option in OPTIONS:
        if option.variable in environ:
            values[option.name] = _parse_words(option, [environ[option.variable]], option.variable)
            origins[option.name] = option.variable
        given = options.get(option.name)
        if given is not None and given != ():
            words = [given] if isinstance(given, str) else list(given)
            values[option.name] = _parse_words(option, words, option.flag)
            origins[option.name] = option.flag
    return _checked(values, origins)


def settings(config: Config) -> list[tuple[str, str]]:
    """Each setting and its value as text, for `status` and `doctor`."""
    return [(option.name, _show(getattr(config, option.name))) for option in OPTIONS]


def default_file(overrides: Mapping[str, str] = types.MappingProxyType({})) -> str:
    """The text of a fresh `config.toml`: every setting with its meaning, commented out except `overrides`."""
    lines = [
        "# Settings of this icn-lite node. A variable ICN_LITE_NAME or an option of `icn-lite up` overrides a line."
    ]
    for option in OPTIONS:
        lines += ["", f"# {option.help}."]
        if option.name in overrides:
            lines.append(f"{option.name} = {quote(overrides[option.name])}")
        else:
            lines.append(f"#{option.name} = {option.example}")
    return "\n".join(lines) + "\n"


def quote(text: str) -> str:
    """Text as a TOML basic string."""
    escaped = "".join(f"\\{c}" if c in '"\\' else c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in text)
    return f'"{escaped}"'


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror}", hint="check the file's permissions") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path}: expected at most {MAX_FILE_BYTES} bytes of settings", hint="cut the file down")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (at byte {error.start})", hint="save the file as UTF-8") from error


def _parse_file(text: str, path: Path) -> dict[str, cbor.Value]:
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", hint="see https://toml.io for the file's format") from error
    for name, value in table.items():
        if name not in _BY_NAME:
            raise UsageError(
                f"{_where(text, path, name)}: unknown setting {name!r}",
                hint=f"known are {', '.join(_BY_NAME)}",
            )
        if isinstance(value, float):
            raise UsageError(f"{_where(text, path, name)}: {name}: expected an integer, found {value}")
    return table


def _where(text: str, path: Path, name: str) -> str:
    """`config.toml:7`: the first line that sets `name`. The parser gives none, and keys here are plain words."""
    pattern = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return f"{path}:{number}"
    return str(path)


def kind_of(name: str) -> Kind:
    """What form a setting's words have."""
    hint = _plain(typing.get_type_hints(Config, include_extras=True)[name])
    if hint is bool:
        return "flag"
    if hint is int:
        return "integer"
    return "list" if typing.get_origin(hint) is tuple else "text"


def _plain(hint: object) -> object:
    """The bare type of an annotation: without bounds and without None."""
    if typing.get_origin(hint) is Annotated:
        return _plain(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _plain(next(choice for choice in typing.get_args(hint) if choice is not types.NoneType))
    return hint


def _parse_words(option: Option, words: Sequence[str], origin: str) -> cbor.Value:
    """Words of the environment or the command line as the value that would stand in the file."""
    kind = kind_of(option.name)
    if kind == "list":
        return [item for word in words for item in re.split(r"[,\s]+", word) if item]
    word = words[-1].strip()
    if kind == "integer":
        if not re.fullmatch(r"-?[0-9]{1,18}", word):
            raise UsageError(f"{origin}: expected an integer, found {word!r}", hint=f"for example {option.example}")
        return int(word)
    if kind == "flag":
        meaning = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if word.lower() not in meaning:
            raise UsageError(f"{origin}: expected true or false, found {word!r}")
        return meaning[word.lower()]
    return word


def _defaults() -> dict[str, cbor.Value]:
    """The defaults as plain values; what has none is left out."""
    return cast(dict[str, cbor.Value], schema.to_value(Config()))


def _checked(values: Mapping[str, cbor.Value], origins: Mapping[str, str]) -> Config:
    try:
        return schema.from_value(Config, dict(values))
    except schema.SchemaError as error:
        name = str(error.path[0]) if error.path else ""
        option = _BY_NAME.get(name)
        raise UsageError(
            f"{origins.get(name, 'settings')}: {error.reason}",
            hint=f"{option.help}; for example {option.example}" if option else "",
        ) from error


def _show(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ", ".join(_show(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
