"""Settings: the order of their sources, and the refusal of everything that is not one."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.model.errors import StoreError, UsageError
from icn_lite.node import config as module
from icn_lite.node.config import (
    OPTIONS,
    Config,
    Engine,
    LogLevel,
    Option,
    Role,
    default_file,
    kind_of,
    load_config,
    quote,
)


def load(tmp_path: Path, text: str, environ: dict[str, str] | None = None, **options: str | tuple[str, ...]) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ or {}, options)


def test_every_setting_has_its_row() -> None:
    assert [field.name for field in fields(Config)] == [option.name for option in OPTIONS]
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)


def test_nothing_given_means_defaults(tmp_path: Path) -> None:
    assert load_config(tmp_path / "absent.toml", {}, {}) == Config()


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    text = "port = 1\nbidding_ms = 1001\nworkers = 1\n"
    environ = {"ICN_LITE_PORT": "2", "ICN_LITE_BIDDING_MS": "1002"}
    found = load(tmp_path, text, environ, port="3")
    assert (found.port, found.bidding_ms, found.workers) == (3, 1002, 1)


def test_every_kind_of_setting_from_every_source(tmp_path: Path) -> None:
    expected = Config(
        port=0,
        bind="127.0.0.1",
        peers=("coap://10.0.0.7:5683", "coap://[fe80::1]:5683"),
        mdns=False,
        engine=Engine.WASMTIME,
        roles=(Role.EXECUTE,),
        region="eu",
        log_level=LogLevel.DEBUG,
    )
    text = """
        port = 0
        bind = "127.0.0.1"
        peers = ["coap://10.0.0.7:5683", "coap://[fe80::1]:5683"]
        mdns = false
        engine = "wasmtime"
        roles = ["execute"]
        region = "eu"
        log_level = "debug"
    """
    environ = {
        "ICN_LITE_PORT": "0",
        "ICN_LITE_BIND": "127.0.0.1",
        "ICN_LITE_PEERS": "coap://10.0.0.7:5683, coap://[fe80::1]:5683",
        "ICN_LITE_MDNS": "off",
        "ICN_LITE_ENGINE": "wasmtime",
        "ICN_LITE_ROLES": "execute",
        "ICN_LITE_REGION": "eu",
        "ICN_LITE_LOG_LEVEL": "debug",
    }
    assert load(tmp_path, text) == expected
    assert load(tmp_path, "", environ) == expected
    assert (
        load(
            tmp_path,
            "",
            port="0",
            bind="127.0.0.1",
            peers=("coap://10.0.0.7:5683", "coap://[fe80::1]:5683"),
            mdns="false",
            engine="wasmtime",
            roles=("execute",),
            region="eu",
            log_level="debug",
        )
        == expected
    )


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("\nprot = 1\n", 2, "unknown setting 'prot'"),
        ("port = 1\n\n[limits]\nx = 1\n", 3, "unknown setting 'limits'"),
        ("a.b = 1\n", 1, "unknown setting 'a'"),
        ('"odd" = 1\n', 1, "unknown setting 'odd'"),
        ("workers = 1\nport = 65536\n", 2, "expected 0 to 65535, found 65536"),
        ("port = -1\n", 1, "expected 0 to 65535"),
        ("port = true\n", 1, "expected an integer"),
        ('port = "1"\n', 1, "expected an integer"),
        ("port = 1.5\n", 1, "expected an integer"),
        ("port = 1979-05-27\n", 1, "expected an integer"),
        ("mdns = 1\n", 1, "expected true or false"),
        ('peers = "coap://a"\n', 1, "expected a list"),
        ('peers = ["x"]\n', 1, "peers[0]"),
        ('engine = "v8"\n', 1, "expected one of wasm3, wasmtime"),
        ("roles = []\n", 1, "expected 1 to 2 items"),
        ("bidding_ms = 0\n", 1, "expected 50 to 600000"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, text: str, line: int, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert f"config.toml:{line}: " in caught.value.message
    assert sentence in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["port", "port = 1\nport = 2\n", "x = [" * 3 + "[" * 5000])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert "toml" in caught.value.hint


def test_a_file_that_is_too_large_or_no_text_or_unreadable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most"):
        load(tmp_path, "#" * (module.MAX_FILE_BYTES + 1))
    path = tmp_path / "config.toml"
    path.write_bytes(b"region = '\xff'")
    with pytest.raises(UsageError, match="UTF-8"):
        load_config(path, {}, {})
    with pytest.raises(StoreError, match="can't read"):
        load_config(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("environ", "options", "origin"),
    [
        ({"ICN_LITE_PORT": "many"}, {}, "ICN_LITE_PORT"),
        ({"ICN_LITE_PORT": "70000"}, {}, "ICN_LITE_PORT"),
        ({"ICN_LITE_MDNS": "perhaps"}, {}, "ICN_LITE_MDNS"),
        ({"ICN_LITE_ROLES": ""}, {}, "ICN_LITE_ROLES"),
        ({}, {"port": "1e3"}, "--port"),
        ({}, {"port": "٣"}, "--port"),
        ({}, {"engine": "v8"}, "--engine"),
        ({}, {"roles": ("rule",)}, "--role"),
    ],
)
def test_a_wrong_word_is_refused_with_its_origin(
    tmp_path: Path, environ: dict[str, str], options: dict[str, str], origin: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, "", environ, **options)
    assert caught.value.message.startswith(f"{origin}: ")


def test_the_default_file_explains_every_setting_and_changes_none(tmp_path: Path) -> None:
    text = default_file()
    assert load(tmp_path, text) == Config()
    for option in OPTIONS:
        assert option.help in text
    spoken = re.sub(r"(?m)^#(\w+ = )", r"\1", text)
    assert set(tomllib.loads(spoken)) == {option.name for option in OPTIONS}
    load(tmp_path, spoken)  # every example is a value that is accepted


@settings(derandomize=True, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_text_survives_quoting(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode() or "x"
    assert tomllib.loads(f"x = {quote(text)}") == {"x": text}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_example_passes_through_the_environment_too(tmp_path: Path, option: Option) -> None:
    value = tomllib.loads(f"x = {option.example}")["x"]
    words = ",".join(value) if isinstance(value, list) else str(value)
    found = load(tmp_path, "", {option.variable: words})
    assert found == load(tmp_path, f"{option.name} = {option.example}")
    assert kind_of(option.name) in ("integer", "flag", "text", "list")


def test_settings_are_shown_as_text() -> None:
    shown = dict(module.settings(Config(peers=("coap://10.0.0.7",))))
    assert shown["peers"] == "coap://10.0.0.7"
    assert shown["mdns"] == "true"
    assert shown["engine"] == "wasm3"
    assert shown["region"] == ""
