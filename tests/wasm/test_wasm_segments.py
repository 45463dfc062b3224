"""Segments and what a module takes from outside: passive data, constants that are worked out, tables, memories."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import wasm_engines as engines
import wasmtime

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.limits import DEFAULT_LIMITS
from icn_lite.wasm.prepare import prepare
from icn_lite.wasm.types import TrapFlag

BOTH = (engines.Wasm3Run, engines.WasmtimeRun)


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def refused(module: bytes, **limits: int) -> ModuleError:
    with pytest.raises(ModuleError) as caught:
        prepare(module, replace(DEFAULT_LIMITS, **limits))
    return caught.value


def used(run: engines.Wasm3Run | engines.WasmtimeRun) -> int:
    """Fuel of the start."""
    started = run.start()
    return 0 if started is None else engines.PLENTY - started.fuel_left


def quoted(raw: bytes) -> str:
    return '"' + "".join(f"\\{byte:02x}" for byte in raw) + '"'


# passive data

SUM = """(func (export "sum") (param $from i32) (param $to i32) (result i64) (local $h i64)
  (block $done (loop $next (br_if $done (i32.ge_u (local.get $from) (local.get $to)))
    (local.set $h (i64.add (i64.mul (local.get $h) (i64.const 1099511628211)) (i64.load8_u (local.get $from))))
    (local.set $from (i32.add (local.get $from) (i32.const 1))) (br $next)))
  (local.get $h))"""


def passive(raw: bytes, more: str = "") -> bytes:
    return wat(f"""(module (memory (export "m") 1) (data $d {quoted(raw)}) {more} {SUM}
      (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
      (func (export "drop") (data.drop $d)))""")


def compare(module: bytes, calls: list[tuple[str, list[int]]]) -> int:
    """All calls on all engines: results, traps, memories, and fuel where a call completes. Returns how many trapped."""
    prepared = prepare(module)
    small, large, reference = engines.Wasm3Run(prepared), engines.WasmtimeRun(prepared), engines.Reference(module)
    trapped = 0
    for name, args in calls:
        expected = reference.call(name, args)
        outcome = small.call(name, args)
        assert outcome == large.call(name, args), (name, args)
        assert outcome.results == expected.results, (name, args)
        if expected.results is None:
            trapped += 1
            assert outcome.flag == TrapFlag.NONE, (name, args)  # the engine's own trap: out of bounds
        else:
            assert engines.PLENTY - outcome.fuel_left == expected.fuel_used, (name, args)
    return trapped


@pytest.mark.parametrize("size", [0, 1, 7, 8, 63, 64, 65, 127, 300, 16384, 16385, 40_000])
def test_passive_data_comes_as_the_instruction_says(size: int) -> None:
    rng = Random(size)
    raw = rng.randbytes(size)
    edges = [0, 1, 2, 7, 8, 9, 63, 64, 65, 128, size - 1, size, size + 1, 16383, 16384]
    calls: list[tuple[str, list[int]]] = []
    for n in range(60):
        source = rng.choice([*edges, rng.randrange(size + 1)]) & 0xFFFFFFFF
        length = rng.choice([*edges, max(size - source, 0), rng.randrange(size + 1)]) & 0xFFFFFFFF
        target = rng.choice([0, 1, 5, 4096, 65536 - length, 65537 - length, 0xFFFFFFFF, rng.randrange(20_000)])
        calls.append(("init", [target & 0xFFFFFFFF, source, length]))
        if n % 10 == 9:
            calls.append(("sum", [0, 65536 if n == 59 else 2000]))
    calls += [("init", [9, 0, size]), ("drop", []), ("init", [0, 0, 0]), ("init", [65536, 0, 0])]
    calls += [("init", [65537, 0, 0]), ("init", [0, 0, 1]), ("init", [0, 1, 0]), ("drop", []), ("sum", [0, 4096])]
    trapped = engines.in_big_thread(lambda: compare(passive(raw), calls))
    assert trapped >= 3


def test_passive_data_is_paid_by_the_byte_before_it_comes() -> None:
    prepared = prepare(passive(b"x" * 100))
    for engine in BOTH:
        run = engine(prepared)
        short = run.call("init", [0, 0, 100], 104)
        assert (short.trapped, short.flag) == (True, TrapFlag.OUT_OF_FUEL)
        assert run.call("sum", [0, 100]).results == (0,)
        assert run.call("init", [0, 0, 100], 105).fuel_left == 0
        assert run.call("sum", [0, 100]).results != (0,)


def test_an_active_segment_is_dropped_from_the_start() -> None:
    module = wat("""(module (memory 1) (data $d (i32.const 8) "abc")
      (func (export "init") (param i32 i32 i32) (memory.init $d (local.get 0) (local.get 1) (local.get 2)))
      (func (export "drop") (data.drop $d)))""")
    assert compare(module, [("init", [0, 0, 0]), ("init", [0, 0, 1]), ("drop", []), ("init", [65536, 0, 0])]) == 1


def test_several_segments_in_loops_and_calls() -> None:
    module = wat(f"""(module (memory 1) (data $a "first") (data $b {quoted(bytes(range(200)))}) (data $unused "zzz")
      {SUM}
      (func $copy (param i32) (memory.init $a (local.get 0) (i32.const 1) (i32.const 4)))
      (func (export "run") (param $n i32) (local $i i32)
        (loop $next
          (call $copy (i32.mul (local.get $i) (i32.const 300)))
          (memory.init $b (i32.add (i32.const 10) (i32.mul (local.get $i) (i32.const 300))) (local.get $i)
                       (i32.sub (i32.const 200) (local.get $i)))
          (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n))))
        (data.drop $unused) (data.drop $b)))""")
    assert compare(module, [("run", [9]), ("sum", [0, 4000]), ("run", [1])]) == 1


def test_passive_data_is_bounded() -> None:
    assert prepare(passive(b"12345678"), replace(DEFAULT_LIMITS, passive_bytes=8)).functions == 3
    error = refused(passive(b"12345678", '(data "9")'), passive_bytes=8)
    assert (error.reason, "passive" in error.message) == ("limit", True)
    # active segments don't count
    assert prepare(passive(b"12345678", '(data (i32.const 0) "9")'), replace(DEFAULT_LIMITS, passive_bytes=8))


# elements


def test_element_segments_that_nobody_reads_are_dropped() -> None:
    module = wat("""(module (table 5 funcref) (elem $p func $f) (elem $d declare func $f) (elem (i32.const 2) $f)
      (func $f (result i32) (i32.const 7))
      (func (export "run") (result i32) (elem.drop $p) (elem.drop $d)
        (i32.add (table.size) (call_indirect (result i32) (i32.const 2)))))""")
    prepared = prepare(module)
    reference = engines.Reference(module)
    expected = reference.call("run")
    for engine in BOTH:
        outcome = engine(prepared).call("run")
        assert outcome.results == expected.results == (12,)
        assert engines.PLENTY - outcome.fuel_left == expected.fuel_used
    tables = wat("(module (table 5 funcref) (elem $p func 0) (func (table.init $p (i32.const 0) (i32.const 0) "
                 "(i32.const 1))))")  # fmt: skip
    error = refused(tables)
    assert (error.reason, "table.init" in error.message) == ("unsupported", True)


# constants that are worked out

WORKED_OUT = "(offset (i32.add (i32.const 1) (i32.const 2)))"


@pytest.mark.parametrize(
    "fields",
    [
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(global i64 (i64.mul (i64.sub (i64.const 1) (i64.const 2)) (i64.const 3)))",
        f'(memory 1) (data {WORKED_OUT} "c") (data (i32.const 2) "ab")',
        f'(memory 1) (data (i32.const 2) "ab") (data {WORKED_OUT} "c")',
        f'(memory 1) (data {WORKED_OUT} "")',
        '(memory 1) (data (i32.const 0) "c") (global i32 (i32.add (i32.const 1) (i32.const 2)))',
        f"(table 9 funcref) (func) (elem {WORKED_OUT} func 0) (elem (i32.const 2) func 0 0)",
        f"(table 9 funcref) (func) (elem (i32.const 2) func 0 0) (elem {WORKED_OUT} func 0)",
        f'(memory 1) (data {WORKED_OUT} "c") (table 9 funcref) (func) (elem {WORKED_OUT} func 0 0)',
        f'(memory 1) (data (i32.const 0) "c") (table 9 funcref) (func) (elem {WORKED_OUT} func 0 0)',
        "(table 9 funcref) (func) (start 0) (global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(table 9 funcref) (func) (elem (i32.const 0) funcref (ref.func 0)) (elem (i32.const 3) func 0 0)",
    ],
)
def test_constants_that_are_worked_out_cost_what_wasmtime_counts(fields: str) -> None:
    module = wat(f"(module {fields})")
    prepared = prepare(module)
    assert used(engines.Wasm3Run(prepared)) == used(engines.WasmtimeRun(prepared)) == engines.Reference(module).used()


def test_constants_that_are_worked_out_wrap_round() -> None:
    module = wat(f"""(module (memory 1) (data {WORKED_OUT} "\\2a")
      (global $a i32 (i32.mul (i32.const 0x7fffffff) (i32.const 3)))
      (global $b i64 (i64.sub (i64.const 0x8000000000000000) (i64.const 1)))
      (func (export "a") (result i32) (global.get $a)) (func (export "b") (result i64) (global.get $b))
      (func (export "c") (result i32) (i32.load8_u (i32.const 3))))""")
    reference = engines.Reference(module)
    for engine in BOTH:
        run = engine(prepare(module))
        assert [run.call(name).results for name in "abc"] == [reference.call(name).results for name in "abc"]
        assert run.call("a").results == (0x7FFFFFFD,)


@pytest.mark.parametrize("code", [b"\x41\x01\x6a", b"\x41\x01\x42\x01\x6a", b"\x41\x01\x41\x01", b"", b"\x41\x01\x45"])
def test_constants_that_are_no_constants_are_refused(code: bytes) -> None:
    content = b"\x01\x7f\x00" + code + b"\x0b"
    module = b"\0asm\1\0\0\0\6" + bytes((len(content),)) + content
    assert refused(module).reason == "invalid"


# what comes from outside

TABLE = """(func $f (result i32) (i32.const 6)) (func $g (result i32) (i32.const 8))
  (elem (i32.const 1) $f $g) (export "t" (table 0))
  (func (export "run") (param i32) (result i32) (call_indirect (result i32) (local.get 0)))"""


@pytest.mark.parametrize("name", ["__indirect_function_table", "table"])
def test_an_imported_table_becomes_the_modules_own(name: str) -> None:
    module = wat(f'(module (import "env" "{name}" (table 4 20 funcref)) {TABLE})')
    own = wat(f"(module (table 4 20 funcref) {TABLE})")
    prepared = prepare(module)
    assert prepared.imports == ()
    assert used(engines.Wasm3Run(prepared)) == 1 + 1 + 2  # as wasmtime counts: entry, the offset, two entries
    for engine in BOTH:
        run = engine(prepared)
        assert [run.call("run", [i]) for i in range(6)] == [engine(prepare(own)).call("run", [i]) for i in range(6)]
    assert refused(module, table_entries=3).reason == "limit"
    assert refused(wat(f'(module (import "x" "{name}" (table 4 funcref)) {TABLE})')).reason == "unsupported"


@pytest.mark.parametrize(
    ("size", "pages", "expected"), [("1", 5, 5), ("1 3", 5, 3), ("1 65536", 5, 5), ("0", 2, 2), ("2 2", 2, 2)]
)
def test_an_imported_memory_keeps_its_sizes_as_far_as_the_limits_go(size: str, pages: int, expected: int) -> None:
    module = wat(f"""(module (import "env" "memory" (memory {size}))
      (func (export "run") (result i32) (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (memory.size)))""")
    prepared = prepare(module, replace(DEFAULT_LIMITS, memory_pages=pages))
    assert (prepared.memory_min_pages, prepared.memory_max_pages) == (int(size.split()[0]), expected)
    for engine in BOTH:
        assert engine(prepared).call("run").results == (expected,)
    assert refused(wat('(module (import "env" "memory" (memory 3)))'), memory_pages=2).reason == "limit"
    assert refused(wat('(module (import "env" "memory" (memory 1)) (memory 1))')).reason == "invalid"


def test_imported_globals_are_refused_with_a_reason() -> None:
    for text in ('(import "env" "__memory_base" (global i32))', '(import "env" "g" (global (mut i64)))'):
        error = refused(wat(f"(module {text})"))
        assert (error.reason, "global env." in error.message) == ("unsupported", True)
        assert error.hint


def section(number: int, content: bytes) -> bytes:
    return bytes((number, len(content))) + content


def test_modules_as_compilers_mark_them_pass() -> None:
    """Clang 19 and rustc 1.85 name reference types in a custom section and write five bytes for a table's index."""
    features = section(0, b"\x0ftarget_features\x02+\x0freference-types+\x0amultivalue")
    code = b"\x00\x41\x00\x11\x00\x80\x80\x80\x80\x00\x0b"
    typed = b"\x00\x41\x01\x41\x02\x41\x01\x1c\x01\x7f\x0b"
    module = (
        b"\0asm\1\0\0\0" + section(1, b"\x01\x60\x00\x01\x7f") + section(3, b"\x02\x00\x00")
        + section(4, b"\x01\x70\x00\x01") + section(7, b"\x01\x03run\x00\x00")
        + section(9, b"\x01\x00\x41\x00\x0b\x01\x01")
        + section(10, b"\x02" + bytes((len(code),)) + code + bytes((len(typed),)) + typed) + features
    )  # fmt: skip
    expected = engines.Reference(module).call("run")
    for engine in BOTH:
        outcome = engine(prepare(module)).call("run")
        assert outcome.results == expected.results == (1,)
        assert engines.PLENTY - outcome.fuel_left == expected.fuel_used


