"""What `prepare` promises: fuel to the unit, limits, repairs, refusals with their reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import wasm_engines as engines
import wasmtime

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS, HostFunction, host_table
from icn_lite.wasm.leb import write_u32
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.opcodes import I32
from icn_lite.wasm.prepare import METER, prepare
from icn_lite.wasm.types import FuncType, TrapFlag

KERNELS = Path(__file__).resolve().parents[2] / "tools" / "bench_kernels"
BOTH = (engines.Wasm3Run, engines.WasmtimeRun)


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def refused(module: bytes, **limits: int) -> ModuleError:
    with pytest.raises(ModuleError) as caught:
        prepare(module, replace(DEFAULT_LIMITS, **limits))
    return caught.value


LOOP = """(module (func (export "run") (param i32) (result i32) (local i32)
  (block $out (loop $l
    (br_if $out (i32.eqz (local.get 0)))
    (local.set 1 (i32.add (local.get 1) (local.get 0)))
    (if (i32.and (local.get 0) (i32.const 3)) (then (local.set 1 (i32.mul (local.get 1) (i32.const 3)))))
    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
    (br $l)))
  (local.get 1)))"""


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize("count", [0, 1, 5, 8, 9, 23])
def test_a_run_completes_exactly_from_its_total_on(engine: type[engines.Wasm3Run], count: int) -> None:
    module = wat(LOOP)
    reference = engines.Reference(module).call("run", [count])
    run = engine(prepare(module))
    for limit in range(reference.fuel_used + 3):
        outcome = run.call("run", [count], limit)
        if limit < reference.fuel_used:
            assert (outcome.trapped, outcome.flag) == (True, TrapFlag.OUT_OF_FUEL), limit
            assert outcome.fuel_left < 0
        else:
            assert outcome.results == reference.results
            assert limit - outcome.fuel_left == reference.fuel_used


@pytest.mark.parametrize("kernel", sorted(path.stem for path in KERNELS.glob("*.wasm")))
def test_compiled_kernels_give_the_same_on_all_engines(kernel: str) -> None:
    module = (KERNELS / f"{kernel}.wasm").read_bytes()
    prepared = prepare(module)
    reference = engines.Reference(module).call("run", [3])
    for engine in BOTH:
        outcome = engine(prepared).call("run", [3])
        assert outcome.results == reference.results
        assert engines.PLENTY - outcome.fuel_left == reference.fuel_used
        exact = engine(prepared).call("run", [3], reference.fuel_used)
        assert exact.results == reference.results
        assert exact.fuel_left == 0
        short = engine(prepared).call("run", [3], reference.fuel_used - 1)
        assert (short.results, short.flag) == (None, TrapFlag.OUT_OF_FUEL)


def test_preparing_is_a_function_of_its_arguments() -> None:
    module = wat(LOOP)
    first, second = prepare(module), prepare(module)
    assert first == second
    assert first.meter == METER
    assert first.functions == 1
    assert not first.has_memory
    assert [(e.name, e.kind, e.type) for e in first.exports] == [("run", "func", FuncType((I32,), (I32,)))]


# host functions


def test_host_calls_are_paid_before_they_happen() -> None:
    table = host_table((HostFunction("icn", "put_output", (I32, I32), (I32,), "io", 100, 3, 1),))
    module = wat("""(module (import "icn" "put_output" (func $put (param i32 i32) (result i32))) (memory 1)
      (func (export "run") (param i32) (result i32) (call $put (i32.const 0) (local.get 0))))""")
    prepared = prepare(module, host=table)
    calls: list[int] = []

    def put(ptr: int, length: int) -> int:
        calls.append(length)
        return 7

    for engine in BOTH:
        calls.clear()
        run = engine(prepared, {"put_output": put})
        assert run.call("run", [10], 4 + 130).results == (7,)
        assert run.call("run", [10], 4 + 129).flag == TrapFlag.OUT_OF_FUEL
        # a length that looks negative is a large one
        assert run.call("run", [0xFFFFFFFF], 1 << 33).flag == TrapFlag.OUT_OF_FUEL
        assert calls == [10]


def test_what_follows_a_call_that_ends_the_run_is_not_charged() -> None:
    module = wat("""(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (func $inner (call $exit (i32.const 3)) (drop (i32.const 1)) (drop (i32.const 1)) (drop (i32.const 1)))
      (func (export "_start") (call $inner) (drop (i32.const 1)) (drop (i32.const 2))))""")
    prepared = prepare(module)

    class Exit(Exception):
        pass

    def leave(code: int) -> None:
        raise Exit(code)

    row = HOST_FUNCTIONS["wasi_snapshot_preview1", "proc_exit"]
    reference = engines.Reference(module, host_table((row,)), {"proc_exit": leave})
    with pytest.raises(Exit):
        reference.call("_start")
    run = engines.WasmtimeRun(prepared, {"proc_exit": leave})
    with pytest.raises(Exit):
        run.call("_start")
    left = run.exports[prepared.fuel_global].value(run.store)
    assert engines.PLENTY - left == reference.used() == 5


def test_unknown_and_mistyped_imports_are_refused_by_name() -> None:
    module = wat('(module (import "env" "system" (func)))')
    error = refused(module)
    assert (error.reason, "env.system" in error.message) == ("unsupported", True)
    assert error.offset is not None
    assert module[error.offset :].startswith(b"\x03env")
    error = refused(wat('(module (import "icn" "log" (func (param i64))))'))
    assert error.reason == "unsupported"
    assert "(i32 i32) -> ()" in error.message
    assert refused(wat('(module (import "env" "g" (global i32)))')).reason == "unsupported"
    assert refused(wat('(module (import "env" "t" (table 1 funcref)))')).reason == "unsupported"
    assert refused(wat('(module (import "x" "memory" (memory 1)))')).reason == "unsupported"


def test_imported_functions_in_a_table_pay_too() -> None:
    table = host_table((HostFunction("icn", "input_len", (), (I32,), "io", 50, 0, None),))
    module = wat("""(module (import "icn" "input_len" (func $n (result i32))) (table 1 funcref) (elem (i32.const 0) $n)
      (export "direct" (func $n))
      (func (export "run") (result i32) (call_indirect (result i32) (i32.const 0))))""")
    for engine in BOTH:
        run = engine(prepare(module, host=table), {"input_len": lambda: 9})
        assert engines.PLENTY - run.call("run").fuel_left == 3 + 50
        assert engines.PLENTY - run.call("direct").fuel_left == 50


# memory


@pytest.mark.parametrize("engine", BOTH)
def test_memory_grows_to_the_limit_and_no_further(engine: type[engines.Wasm3Run]) -> None:
    module = wat("""(module (memory (export "m") 1)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
      (func (export "size") (result i32) (memory.size)))""")
    prepared = prepare(module, replace(DEFAULT_LIMITS, memory_pages=5))
    assert (prepared.memory_min_pages, prepared.memory_max_pages) == (1, 5)
    run = engine(prepared)
    minus_one = (0xFFFFFFFF,)
    grown = run.call("grow", [2])
    assert (grown.results, engines.PLENTY - grown.fuel_left) == ((1,), 3 + 2)
    assert run.call("grow", [3]).results == minus_one
    assert run.call("grow", [0xFFFFFFFF]).results == minus_one
    assert run.call("grow", [0x80000000]).results == minus_one
    assert run.call("grow", [0]).results == (3,)
    assert run.call("grow", [2]).results == (3,)
    assert run.call("grow", [1]).results == minus_one
    assert run.call("size").results == (5,)
    assert refused(module, memory_pages=0).reason == "limit"


@pytest.mark.parametrize("engine", BOTH)
def test_a_memory_of_zero_pages_stays_empty(engine: type[engines.Wasm3Run]) -> None:
    module = wat('(module (memory 0 0) (func (export "run") (result i32) (memory.grow (i32.const 1))))')
    assert engine(prepare(module)).call("run").results == (0xFFFFFFFF,)


def test_an_imported_memory_becomes_the_modules_own() -> None:
    module = wat("""(module (import "env" "memory" (memory 1)) (data (i32.const 8) "\\2a")
      (func (export "run") (result i32) (i32.load8_u (i32.const 8))))""")
    prepared = prepare(module)
    assert (prepared.imports, prepared.has_memory, prepared.memory_export) == ((), True, "icn:memory")
    for engine in BOTH:
        assert engine(prepared).call("run").results == (42,)


@pytest.mark.parametrize("engine", BOTH)
def test_bulk_work_is_paid_by_the_byte_before_it_is_done(engine: type[engines.Wasm3Run]) -> None:
    module = wat("""(module (memory 1)
      (func (export "run") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
      (func (export "look") (result i32) (i32.load8_u (i32.const 0))))""")
    run = engine(prepare(module))
    assert run.call("run", [100], 104).flag == TrapFlag.OUT_OF_FUEL
    assert run.call("look").results == (0,)
    assert run.call("run", [100], 105).fuel_left == 0
    assert run.call("look").results == (1,)


def test_segments_that_do_not_fit_are_refused() -> None:
    assert refused(wat('(module (memory 1) (data (i32.const 65535) "ab"))')).reason == "invalid"
    assert refused(wat("(module (func) (table 1 funcref) (elem (i32.const 1) 0))")).reason == "invalid"


# start, stack, traps


@pytest.mark.parametrize("engine", BOTH)
def test_a_start_function_with_index_zero_runs(engine: type[engines.Wasm3Run]) -> None:
    module = wat("""(module (func $s (global.set $g (i32.const 5))) (start $s) (global $g (mut i32) (i32.const 0))
      (func (export "run") (result i32) (global.get $g)))""")
    run = engine(prepare(module))
    started = run.start()
    assert started is not None
    assert engines.PLENTY - started.fuel_left == engines.Reference(module).used()
    assert run.call("run").results == (5,)


@pytest.mark.parametrize(
    "elements",
    [
        "(elem (i32.const 0) func 0 0)",
        "(elem (i32.const 0) funcref (ref.func 0))",
        "(elem (i32.const 0) funcref (ref.func 0) (ref.null func))",
        "(elem (i32.const 0) funcref (ref.func 0)) (elem (i32.const 1) funcref (ref.func 0))",
        "(elem func 0 0)",
        "(elem funcref (ref.func 0) (ref.null func))",
        "(elem (i32.const 0) funcref (ref.func 0)) (elem funcref (ref.func 0)) (start 0)",
        "(elem declare funcref (ref.func 0))",
    ],
)
def test_element_segments_cost_at_the_start_what_wasmtime_counts(elements: str) -> None:
    module = wat(f"(module (table 9 funcref) (func) {elements})")
    started = engines.Wasm3Run(prepare(module)).start()
    used = 0 if started is None else engines.PLENTY - started.fuel_left
    assert used == engines.Reference(module).used()


@pytest.mark.parametrize("engine", BOTH)
def test_values_of_a_block_come_out_in_order(engine: type[engines.Wasm3Run]) -> None:
    module = wat("""(module (memory 1) (func (export "run") (param i32 f64) (result i32) (local f64)
      (block (result f64 i32 i32)
        (f64.add (local.get 1) (f64.const 1)) (i32.add (local.get 0) (i32.const 2)) (i32.const 5)
        (br_if 0 (local.get 0)) (drop) (drop) (drop) (f64.const 3) (i32.const 30) (i32.const 40))
      (i32.sub) (local.set 0) (local.set 2)
      (i32.add (i32.trunc_f64_s (local.get 2)) (i32.mul (i32.const 100) (local.get 0)))))""")
    run = engine(prepare(module))
    assert run.call("run", [1, 0x4000000000000000]).results == (3 - 200 & 0xFFFFFFFF,)
    assert run.call("run", [0, 0x4000000000000000]).results == (3 - 1000 & 0xFFFFFFFF,)


def test_recursion_is_stopped_at_the_same_depth_everywhere() -> None:
    module = wat("""(module (global $n (export "n") (mut i32) (i32.const 0))
      (type $t (func (param i32) (result i32))) (table 2 funcref) (elem (i32.const 0) $down $even)
      (func $down (export "down") (param i32) (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.add (i32.const 1) (call $down (local.get 0))))
      (func $even (param i32) (result i32) (call_indirect (type $t) (local.get 0) (i32.const 1)))
      (func (export "indirect") (param i32) (result i32) (call $even (local.get 0)))
      (func (export "leaf") (param i32) (result i32) (local.get 0)))""")
    prepared = prepare(module)
    outcomes = []
    for engine in BOTH:
        run = engine(prepared)
        outcome = run.call("down", [1])
        assert (outcome.trapped, outcome.flag) == (True, TrapFlag.CALL_STACK_EXHAUSTED)
        assert run.call("indirect", [1]).flag == TrapFlag.CALL_STACK_EXHAUSTED
        assert run.call("leaf", [4]).results == (4,)
        assert run.call("down", [1]) == outcome  # the budget is whole again
        outcomes.append(outcome)
    assert outcomes[0] == outcomes[1]
    assert engines.PLENTY - outcomes[0].fuel_left > 1024 * 5  # icn-runtime.md: 1024 frames at least


def test_a_chain_of_calls_deeper_than_the_stack_is_refused() -> None:
    links = "".join(f"(func $f{i} (call $f{i + 1}))" for i in range(3000))
    module = wat(f'(module (func (export "run") (call $f0)) {links} (func $f3000))')
    assert refused(module, stack_bytes=65536).reason == "limit"
    assert prepare(module).stack_bytes > 0


@pytest.mark.parametrize("engine", BOTH)
@pytest.mark.parametrize(
    ("body", "flag"),
    [
        ("(unreachable)", TrapFlag.UNREACHABLE),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", TrapFlag.NONE),
        ("(drop (i32.load (i32.const -1)))", TrapFlag.NONE),
        ("(call_indirect (i32.const 7))", TrapFlag.NONE),
    ],
)
def test_traps_of_the_guest_are_told_from_ours(engine: type[engines.Wasm3Run], body: str, flag: TrapFlag) -> None:
    module = wat(f'(module (memory 1) (table 1 funcref) (func (export "run") {body}))')
    outcome = engine(prepare(module)).call("run")
    assert (outcome.trapped, outcome.flag) == (True, flag)


# refusals


@pytest.mark.parametrize(
    ("module", "limits", "reason"),
    [
        (b"", {}, "malformed"),
        (b"\0asm\2\0\0\0", {}, "malformed"),
        (b"\0asm\1\0\0\0\1", {}, "malformed"),
        (wat("(module (func))")[:-1], {}, "malformed"),
        (wat("(module (func) (func))"), {"functions": 1}, "limit"),
        (wat("(module (global i32 (i32.const 1)) (global i32 (i32.const 1)))"), {"globals": 1}, "limit"),
        (wat("(module (table 20 funcref))"), {"table_entries": 10}, "limit"),
        (wat("(module (func (local i32 i32 i64)))"), {"locals": 2}, "limit"),
        (wat("(module (func (block (block (block)))))"), {"nesting": 2}, "limit"),
        (wat("(module (func (param i32 i32)))"), {"params": 1}, "limit"),
        (wat("(module (func (br_table 0 0 0 0 (i32.const 0))))"), {"br_table_entries": 2}, "limit"),
        (wat('(module (func (export "long name")))'), {"name_bytes": 4}, "limit"),
        (wat("(module (func))"), {"module_bytes": 10}, "limit"),
        (wat('(module (func (export "icn:fuel")))'), {}, "unsupported"),
        (wat("(module (table 1 funcref) (func (table.copy (i32.const 0) (i32.const 0) (i32.const 1))))"), {},
         "unsupported"),
        (wat("(module (func (result v128) (v128.const i32x4 0 0 0 0)))"), {}, "unsupported"),
        (wat("(module (table 1 funcref) (func (drop (table.grow (ref.null func) (i32.const 1)))))"), {}, "unsupported"),
    ],
)  # fmt: skip
def test_refusals_name_their_kind(module: bytes, limits: dict[str, int], reason: str) -> None:
    error = refused(module, **limits)
    assert error.reason == reason
    assert error.message


def test_a_refusal_names_function_and_offset() -> None:
    module = wat("(module (func $good) (func $broken (drop (i32.const 1))))")
    broken = module.replace(b"\x41\x01\x1a", b"\x41\x01\x45")  # leaves an operand behind
    assert broken != module
    error = refused(broken)
    assert (error.reason, error.function) == ("invalid", 1)
    assert error.offset is not None
    assert broken[error.offset] == 0x0B


def test_a_count_larger_than_the_bytes_is_refused_before_anything_is_allocated() -> None:
    for section in (1, 2, 3, 5, 6, 7, 9, 10, 11):
        body = write_u32(0xFFFFFFF0)
        module = b"\0asm\1\0\0\0" + bytes([section]) + write_u32(len(body)) + body
        assert refused(module).reason == "malformed"


def test_deep_nests_are_refused_or_taken_without_recursion() -> None:
    for depth, good in ((490, True), (100_000, False)):
        body = b"\0" + b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b"
        code = b"\x01" + write_u32(len(body)) + body
        module = b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a" + write_u32(len(code)) + code
        if good:
            assert prepare(module).functions == 1
        else:
            assert refused(module).reason == "limit"


def test_padded_integers_as_clang_writes_them_are_taken() -> None:
    module = wat("""(module (table 1 funcref) (elem (i32.const 0) $f)
      (func $f (result i32) (i32.const 6)) (func (export "run") (result i32) (call_indirect (result i32)
      (i32.const 0))))""")
    at = module.index(b"\x11\x00\x00\x0b")
    padded = module.replace(b"\x11\x00\x00\x0b", b"\x11\x00\x80\x80\x80\x80\x00\x0b")
    patched = bytearray(padded)
    patched[at - 4] += 4  # the body's size
    patched[patched.index(b"\x0a", patched.index(b"run")) + 1] += 4  # the section's size
    run = engines.Wasm3Run(prepare(bytes(patched)))
    assert run.call("run").results == (6,)
