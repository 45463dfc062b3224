"""Every structural limit: a module at the limit is taken, one past it is refused, and a profile can set it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import wasmtime

from icn_lite.model.errors import ModuleError
from icn_lite.node.preparing import NOT_FOR_PROFILES, structural_limits
from icn_lite.wasm import limits as limits_module
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.prepare import prepare


def wat(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def padded(size: int) -> bytes:
    """A module of so many bytes: a custom section fills it."""
    head = b"\0asm\1\0\0\0\x00"
    body = size - len(head) - 1
    return head + bytes((body,)) + b"\x01x" + bytes(body - 2)


def body_of(size: int) -> bytes:
    """A function body of so many bytes."""
    body = b"\x00" + b"\x01" * (size - 2) + b"\x0b"
    code = b"\x01" + bytes((size,)) + body
    return b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\x0a" + bytes((len(code),)) + code


# A module that has exactly n of what a field limits.
AT: dict[str, Callable[[int], bytes]] = {
    "module_bytes": padded,
    "functions": lambda n: wat(f"(module {'(func)' * n})"),
    "types": lambda n: wat(f"(module {'(type (func))' * n})"),
    "imports": lambda n: wat("(module " + '(import "icn" "input_len" (func (result i32)))' * n + ")"),
    "exports": lambda n: wat("(module (func $f) " + "".join(f'(export "e{i}" (func $f))' for i in range(n)) + ")"),
    "globals": lambda n: wat(f"(module {'(global i32 (i32.const 1))' * n})"),
    "tables": lambda n: wat(f"(module {'(table 1 funcref)' * n})"),
    "table_entries": lambda n: wat(f"(module (table {n} funcref))"),
    "memory_pages": lambda n: wat(f"(module (memory {n}))"),
    "segments": lambda n: wat("(module (memory 1) " + '(data (i32.const 0) "a")' * n + ")"),
    "passive_bytes": lambda n: wat(f'(module (memory 1) (data "{"a" * n}"))'),
    "locals": lambda n: wat(f"(module (func (param i32) (local{' i64' * (n - 1)})))"),
    "locals_total": lambda n: wat(f"(module (func (local{' i64' * (n - 2)})) (func (param i32) (local f32)))"),
    "operands": lambda n: wat(f"(module (func {'(i32.const 1)' * n} {'(drop)' * n}))"),
    "nesting": lambda n: wat(f"(module (func {'(block ' * n} {')' * n}))"),
    "params": lambda n: wat(f"(module (func (param{' i32' * n})))"),
    "results": lambda n: wat(f"(module (func (result{' i32' * n}) {'(i32.const 1)' * n}))"),
    "carried_values": lambda n: wat(f"(module (func {'(i32.const 1) (block (param i32) (drop))' * (n - 4)} "
                                    "(block (result i32 i32) (i32.const 1) (i32.const 2) (br 0)) (drop) (drop)))"),
    "br_table_entries": lambda n: wat(f"(module (func (br_table {'0 ' * n} 0 (i32.const 0))))"),
    "br_table_entries_total": lambda n: wat(f"(module (func (br_table {'0 ' * (n - 1)} 0 (i32.const 0))) "
                                            "(func (br_table 0 0 (i32.const 0))))"),
    # blocks × (locals + operands), summed over the functions
    "block_work": lambda n: wat(f"(module (func (local i32) {'(block)' * (n - 4)}) (func (local i32 i32) (block) "
                                "(block)))"),
    # an end belongs to each function
    "events": lambda n: wat(f"(module (func {'(call 1)' * (n - 2)}) (func))"),
    "function_bytes": body_of,
    "name_bytes": lambda n: wat(f'(module (func (export "{"n" * n}")))'),
}  # fmt: skip
# What a module is refused for by another reason first: the engine knows one table only.
ONLY_ONE = {"tables": "unsupported"}


@pytest.mark.parametrize("name", sorted(AT))
@pytest.mark.parametrize("count", [5, 30])
def test_at_a_limit_and_one_past_it(name: str, count: int) -> None:
    count = 1 if name in ONLY_ONE else count
    limits = structural_limits({}) if name in NOT_FOR_PROFILES else structural_limits({name: count})
    limits = replace(limits, **{name: count})
    if name == "module_bytes":
        count = 40
        limits = replace(limits, module_bytes=count)
    assert prepare(AT[name](count), limits).code
    with pytest.raises(ModuleError) as caught:
        prepare(AT[name](count + 1), limits)
    assert caught.value.reason == ONLY_ONE.get(name, "limit")
    assert str(count) in caught.value.message or name in ("tables", "block_work")


def test_a_table_can_be_forbidden() -> None:
    with pytest.raises(ModuleError) as caught:
        prepare(wat("(module (table 0 funcref))"), replace(DEFAULT_LIMITS, tables=0))
    assert caught.value.reason == "limit"


def test_a_block_takes_as_many_values_as_it_may_give() -> None:
    def module(count: int) -> bytes:
        return wat(f"(module (func {'(i32.const 1)' * count} (block (param{' i32' * count}) {'(drop)' * count})))")

    limits = replace(DEFAULT_LIMITS, results=3)
    assert prepare(module(3), limits).functions == 1
    with pytest.raises(ModuleError) as caught:
        prepare(module(4), limits)
    assert caught.value.reason == "limit"


def test_no_limit_is_left_out_here() -> None:
    """`stack_bytes` decides what a run computes, so it is no profile's; `test_wasm_prepare` holds it."""
    assert set(AT) == {field.name for field in fields(Limits)} - {"stack_bytes"}


def test_every_limit_has_its_reason_beside_it() -> None:
    source = inspect.getsource(limits_module).splitlines()
    tree = ast.parse(inspect.getsource(limits_module))
    table = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    rows = [node for node in table.body if isinstance(node, ast.AnnAssign)]
    pairs = {"operands": "locals", "br_table_entries_total": "br_table_entries"}  # these share one
    for row in rows:
        assert isinstance(row.target, ast.Name)
        before = source[row.lineno - 2].strip()
        assert before.startswith(("#", f"{pairs.get(row.target.id)}:")), row.target.id


def test_limits_decide_what_is_taken_and_never_what_it_becomes() -> None:
    """The prepared form is the same under all limits that take a module, memory and stack apart."""
    module = wat("""(module (memory 1 2) (table 2 funcref) (elem (i32.const 0) 0) (func $f (param i32) (result i32)
      (local i64) (loop (result i32) (br_if 0 (local.get 0)) (call_indirect (param i32) (result i32) (local.get 0)
      (i32.const 0)))))""")
    first = prepare(module)
    for field in fields(Limits):
        if field.name not in NOT_FOR_PROFILES:
            larger = replace(DEFAULT_LIMITS, **{field.name: getattr(DEFAULT_LIMITS, field.name) + 1})
            assert prepare(module, larger) == first, field.name
