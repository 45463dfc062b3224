"""What all verification guests share: malformed shards, their sources, the packer, and runs as a node makes them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import cbor2
import nacl.bindings
import pytest
import wasmtime
from absent import engine_names
from guest_engines import BUILD, GUESTS, run_wasm3, run_wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from verify_kit import NAMES, VECTORS, code, mismatches
from verify_packer import load_packer

from icn_lite.device.catalogue import list_profiles, load_profile
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare

make = load_packer()
VERIFY = GUESTS / "verify"
IN_PROCESS = tuple(name for name in NAMES if name != "ed25519_native")  # the others need three host functions only
COMMITTED_CLANG = "14.0.6"
TIMEOUT_S = 120
FUEL = 10**12


@cache
def signatures() -> list[tuple[bytes, bytes, bytes]]:
    rng = random.Random(7)
    items = []
    for length in (0, 5, 200):
        key, secret = nacl.bindings.crypto_sign_seed_keypair(rng.randbytes(32))
        message = rng.randbytes(length)
        items.append((message, key, nacl.bindings.crypto_sign(message, secret)[:64]))
    return items


@cache
def sample(name: str) -> tuple[bytes, int, list[int]]:
    """A shard with good items and bad ones, how many there are, and which are bad."""
    match name:
        case "merkle":
            leaves = [b"a", b"bc", b"", b"def"]
            proofs = [(i, leaf, make.tree_path(leaves, i)) for i, leaf in enumerate(leaves)]
            return make.merkle(4, make.tree_hash(leaves), [*proofs, (1, b"no", proofs[1][2])]), 5, [4]
        case "ed25519" | "ed25519_native":
            message, key, signature = signatures()[1]
            return make.ed25519([*signatures(), (message + b"!", key, signature)]), 4, [3]
        case "wellformed":
            items = [(make.CBOR, b"\x82\1\2"), (make.JSON, b"[1, 2]"), (make.JSON, b"[1, 2"), (make.CBOR, b"\x1c")]
            return make.wellformed(items), 4, [2, 3]
        case _:
            fixture = json.loads((VECTORS / "groth16.json").read_text())
            one, two = fixture["proofs"][:2]
            pairs = [(one["proof"], one["public"]), (one["proof"], two["public"])]
            return make.groth16(fixture["key"], pairs), 2, [1]


def header_bytes(name: str) -> int:
    return {"merkle": 52, "groth16": 16}.get(name, 12)


@pytest.mark.parametrize("name", IN_PROCESS)
def test_every_exit_code(name: str) -> None:
    shard, items, bad = sample(name)
    for engine in (run_wasmtime,) if name == "groth16" else (run_wasm3, run_wasmtime):  # a proof takes wasm3 0.3 s
        assert mismatches(engine(code(name), shard), items) == bad

        def run(data: bytes, engine=engine, **fields: int) -> tuple[int, str]:  # type: ignore[no-untyped-def]
            done = engine(code(name), data, **fields)
            assert done.output == b"" or "put_result" in fields
            assert len(done.log) == 1
            return done.result, done.log[0]

        head = header_bytes(name)
        assert run(b"") == run(shard[: head - 1]) == (1, f"{name}: the input is shorter than its header")
        assert run(b"ICNM" + shard[4:]) == (2, f"{name}: the input begins with another magic")
        assert run(shard[:4] + b"\2" + shard[5:]) == (3, f"{name}: the shard has a version other than 1")
        assert run(shard[:8] + b"\xff\xff\xff\xff" + shard[12:]) == (4, f"{name}: more entries than the input can hold")
        assert run(shard + b"\0")[0] == 5
        assert run(shard, put_result=-9) == (7, f"{name}: the host refuses the report")
    large = run_wasmtime(code(name), shard + bytes(1 << 20), pages=8)
    assert (large.result, large.log) == (6, (f"{name}: the input does not fit the memory",))


@pytest.mark.parametrize("name", [name for name in IN_PROCESS if name != "groth16"])
@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_damaged_shard_never_traps(name: str, data: st.DataObject) -> None:
    original, _, _ = sample(name)
    shard = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        shard[data.draw(st.integers(0, len(shard) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(shard[: data.draw(st.integers(0, len(shard)))]) if data.draw(st.booleans()) else bytes(shard)
    run = run_wasm3(code(name), damaged)
    if run.result == 0:
        mismatches(run, int.from_bytes(damaged[8:12], "little"))
    else:
        assert run.result in {1, 2, 3, 4, 5}
        assert (run.output, len(run.log)) == (b"", 1)


@pytest.mark.parametrize("name", NAMES)
def test_no_items_at_all(name: str) -> None:
    if name == "groth16":
        shard = make.groth16(json.loads((VECTORS / "groth16.json").read_text())["key"], [])
    elif name == "merkle":
        shard = make.merkle(0, bytes(32), [])
    else:
        shard = {"wellformed": make.wellformed, "ed25519": make.ed25519, "ed25519_native": make.ed25519}[name]([])
    if name in IN_PROCESS:
        assert mismatches(run_wasm3(code(name), shard), 0) == []


async def test_runs_of_a_node_give_the_same_on_both_engines() -> None:
    outcomes = {}
    for engine in engine_names():
        async with Pool(PoolConfig(workers=1, engine=engine)) as pool:
            for name in NAMES:
                shard, items, bad = sample(name)
                outcome = await pool.run(RunRequest(prepare(code(name)), input=shard, fuel_limit=10**10))
                assert outcome.status == "completed", outcome
                report = cbor2.loads(outcome.output)
                assert (report["items"], report["mismatches"]) == (items, bad)
                outcomes[engine, name] = (outcome.output, outcome.fuel_used, outcome.memory_pages_peak)
    for name in NAMES:
        assert len({outcomes[engine, name] for engine in engine_names()}) == 1, name


def stock_fuel(name: str, data: bytes) -> int:
    """What wasmtime's own metering counts for the module as it stands, and the table's price of each host call."""
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    store, linker = wasmtime.Store(engine), wasmtime.Linker(engine)
    store.set_fuel(FUEL)
    calls = 0

    def charge(function: str, length: int) -> None:
        nonlocal calls
        row = HOST_FUNCTIONS["icn", function]
        calls += row.fuel_base + row.fuel_per_byte * length

    def get_input(caller: wasmtime.Caller, pointer: int, length: int) -> int:
        charge("get_input", length)
        memory = caller["memory"]
        assert isinstance(memory, wasmtime.Memory)
        if length:
            memory.write(caller, data[:length], pointer)
        return len(data[:length]) if length else len(data)

    def put_output(_pointer: int, length: int) -> int:
        charge("put_output", length)
        return 0

    i32 = wasmtime.ValType.i32()
    kind = wasmtime.FuncType([i32, i32], [i32])
    linker.define_func("icn", "get_input", kind, get_input, access_caller=True)
    linker.define_func("icn", "put_output", kind, put_output)
    linker.define_func("icn", "log", wasmtime.FuncType([i32, i32], []), lambda _pointer, _length: None)
    linker.instantiate(store, wasmtime.Module(engine, code(name))).exports(store)["run"](store)
    return FUEL - store.get_fuel() + calls


@pytest.mark.parametrize("name", IN_PROCESS)
async def test_fuel_is_what_stock_wasmtime_counts(name: str) -> None:
    shard, _, _ = sample(name)
    expected = stock_fuel(name, shard)
    prepared = prepare(code(name))
    async with Pool(PoolConfig(workers=1, engine="wasmtime" if name == "groth16" else "wasm3")) as pool:
        enough = await pool.run(RunRequest(prepared, input=shard, fuel_limit=expected))
        short = await pool.run(RunRequest(prepared, input=shard, fuel_limit=expected - 1))
    assert (enough.status, enough.fuel_used) == ("completed", expected)
    assert (short.status, short.fuel_used) == ("out_of_fuel", expected - 1)


@pytest.mark.parametrize("profile", list_profiles())
def test_every_profile_takes_them(profile: str) -> None:
    chosen = load_profile(profile)
    limits = replace(DEFAULT_LIMITS, memory_pages=chosen.guest.memory_pages, **chosen.wasm)
    for name in NAMES:
        assert prepare(code(name), limits).memory_max_pages <= chosen.guest.memory_pages


# sources


def clang_version() -> str | None:
    if not shutil.which("clang") or not shutil.which("wasm-ld"):
        return None
    said = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    found = re.search(r"clang version (\d+\.\d+\.\d+)", said.stdout)
    return found[1] if found else None


def build(out: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "BLST"}
    return subprocess.run(
        [VERIFY / "build.sh", *names], env={**inherited, "OUT": str(out), **environment}, cwd=out,
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip


def test_the_committed_compiler_gives_the_committed_bytes_and_any_other_the_same_behaviour(tmp_path: Path) -> None:
    """groth16 too where ICN_BLST names the sources of blst (`build.sh` says where they are to be had)."""
    if clang_version() is None:
        pytest.skip("clang and wasm-ld are not installed (apt-get install clang lld)")
    blst = os.environ.get("ICN_BLST")
    done = build(tmp_path, **({"BLST": blst} if blst else {}))
    assert done.returncode == 0, done.stderr
    built = {path.stem for path in tmp_path.glob("*.wasm")}
    assert built == set(NAMES) - (set() if blst else {"groth16"})
    for name in sorted(built):
        ours, theirs = code(name), (tmp_path / f"{name}.wasm").read_bytes()
        if clang_version() == COMMITTED_CLANG:
            assert theirs == ours, f"the sources of {name} have changed: run tools/guests/verify/build.sh"
        elif name in IN_PROCESS:
            assert run_wasm3(theirs, sample(name)[0]) == run_wasm3(ours, sample(name)[0])


def test_the_script_names_what_is_missing(tmp_path: Path) -> None:
    unknown, without = build(tmp_path, "nobody"), build(tmp_path, "groth16")
    assert (unknown.returncode, without.returncode) == (2, 1)
    assert "no guest nobody; there are merkle" in unknown.stderr
    assert "set BLST" in without.stderr


@pytest.mark.parametrize("name", NAMES)
def test_they_hold_to_the_first_version_of_wasm(name: str) -> None:
    if not shutil.which("wasm-validate"):
        pytest.skip("wasm-validate is not installed (apt-get install wabt)")
    off = ("mutable-globals", "saturating-float-to-int", "sign-extension", "simd", "multi-value", "bulk-memory",
           "reference-types")  # fmt: skip
    command = ["wasm-validate", *(f"--disable-{feature}" for feature in off), BUILD / f"{name}.wasm"]
    subprocess.run(command, check=True, timeout=TIMEOUT_S)


# the packer


def pack(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, VERIFY / "make.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT_S)


def test_the_packers_commands(tmp_path: Path) -> None:
    for name, data in {"a": b"first", "b": b"", "c.json": b"[1]", "d.cbor": b"\x80", "e.json": b"[1"}.items():
        (tmp_path / name).write_bytes(data)
    files = sorted(tmp_path.iterdir())
    assert mismatches(run_wasm3(code("merkle"), pack("merkle", *files).stdout), 5) == []
    assert mismatches(run_wasm3(code("wellformed"), pack("wellformed", *files[2:]).stdout), 3) == [2]

    leaves = [path.read_bytes() for path in files]
    proofs = [{"index": i, "leaf": leaf.hex(), "path": [node.hex() for node in make.tree_path(leaves, i)]}
              for i, leaf in enumerate(leaves)]  # fmt: skip
    proofs[1]["leaf"] = "00"
    text = tmp_path / "proofs.json"
    text.write_text(json.dumps({"size": 5, "root": make.tree_hash(leaves).hex(), "proofs": proofs}))
    assert mismatches(run_wasm3(code("merkle"), pack("merkle", "--proofs", text).stdout), 5) == [1]

    named = [
        dict(zip(("message", "key", "signature"), (part.hex() for part in item), strict=True)) for item in signatures()
    ]
    text.write_text(json.dumps(named))
    assert pack("ed25519", text).stdout == make.ed25519(signatures())


def test_the_packer_takes_what_snarkjs_writes(tmp_path: Path) -> None:
    fixture = json.loads((VECTORS / "groth16.json").read_text())
    one = fixture["proofs"][0]
    for name, part in {"key": fixture["key"], "proof": one["proof"], "public": one["public"]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    files = [tmp_path / f"{name}.json" for name in ("key", "proof", "public")]
    packed = pack("groth16", *files)
    assert packed.stdout == make.groth16(fixture["key"], [(one["proof"], one["public"])])
    assert b"in turn" in pack("groth16", *files[:2]).stderr
    files[0].write_text(json.dumps({**fixture["key"], "curve": "bn128"}))
    refused = pack("groth16", *files)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"expected proofs over bls12381" in refused.stderr
