"""Which function a run calls: the entry rule."""

from __future__ import annotations

import pytest
from sandbox_kit import ENGINE_NAMES, request
from warm import warm_run

from icn_lite.model.errors import UsageError
from icn_lite.sandbox.entry import plan_entry
from icn_lite.sandbox.outcome import RunRequest
from icn_lite.sandbox.value import parse_value

START = '(func (export "_start"))'
RUN = '(func (export "run") (result i32) (i32.const 0))'
RUN64 = '(func (export "run") (result i64) (i64.const 0))'
RUN_INPUT = '(func (export "run") (param i32 i32) (result i32) (i32.const 0))'
ADD = '(func (export "add") (param i32 i32) (result i32) (i32.const 0))'
FLOAT = '(func (export "half") (param f64) (result f32) (f32.const 0))'
ALLOC = '(func (export "alloc") (param i32) (result i32) (i32.const 0))'
WRONG_ALLOC = '(func (export "alloc") (param i64) (result i32) (i32.const 0))'
INITIALIZE = '(func (export "_initialize"))'


@pytest.mark.parametrize(
    ("parts", "invoke", "name", "takes_input"),
    [
        ((START, RUN, ADD), None, "_start", False),
        ((RUN, ADD), None, "run", False),
        ((RUN64,), None, "run", False),
        ((RUN_INPUT,), None, "run", True),
        ((START, RUN, ADD), "run", "run", False),
        ((RUN_INPUT, ADD), "add", "add", True),
    ],
)
def test_the_order(parts: tuple[str, ...], invoke: str | None, name: str, takes_input: bool) -> None:
    entry = plan_entry(request(f"(module (memory 1) {' '.join(parts)})", invoke=invoke))
    assert (entry.name, entry.takes_input, entry.is_wasi) == (name, takes_input, name == "_start")


def test_a_function_with_more_arguments_than_one_engine_takes_is_called_by_none() -> None:
    def asked(count: int) -> RunRequest:
        text = f'(module (func (export "f") (param{" i32" * count}) (result i32) (local.get {count - 1})))'
        return request(text, invoke="f", args=tuple(parse_value(f"i32:{n}") for n in range(count)))

    assert [warm_run(asked(32), name).results[0].bits for name in ENGINE_NAMES] == [31] * len(ENGINE_NAMES)
    with pytest.raises(UsageError, match="takes 33 arguments"):
        plan_entry(asked(33))


def test_alloc_only_in_its_shape_and_only_for_input() -> None:
    assert plan_entry(request(f"(module (memory 1) {RUN_INPUT} {ALLOC})")).alloc == "alloc"
    assert plan_entry(request(f"(module (memory 1) {RUN_INPUT} {WRONG_ALLOC})")).alloc is None
    assert plan_entry(request(f"(module (memory 1) {RUN} {ALLOC})")).alloc is None


def test_a_reactor_is_initialised_and_a_command_is_not() -> None:
    assert plan_entry(request(f"(module {RUN} {INITIALIZE})")).calls_before == ("_initialize",)
    assert plan_entry(request(f"(module {START} {INITIALIZE})")).calls_before == ()


def test_floats_go_by_their_bits() -> None:
    entry = plan_entry(request(f"(module {FLOAT})", invoke="half", args=(parse_value("f64:1.5"),)))
    assert [value.type for value in entry.args] == ["i64"]
    assert (entry.results, entry.engine_results) == (("f32",), ("i32",))


@pytest.mark.parametrize(
    ("parts", "invoke", "args"),
    [
        ((), None, ()),
        ((ADD,), None, ()),
        (('(func (export "run") (param i64) (result i32) (i32.const 0))',), None, ()),
        (('(func (export "_start") (param i32))',), None, ()),
        ((RUN,), "walk", ()),
        ((RUN,), "", ()),
        (('(memory (export "m") 1)', RUN), "m", ()),
        ((ADD,), "add", ("i32:1",)),
        ((ADD,), "add", ("i32:1", "i64:2")),
        ((ADD,), "add", ("i32:1", "i32:2", "i32:3")),
        ((RUN,), "run", ("i32:1",)),
        ((FLOAT,), "half", ("f32:1",)),
    ],
)
def test_refused_with_a_way_out(parts: tuple[str, ...], invoke: str | None, args: tuple[str, ...]) -> None:
    run = request(f"(module {' '.join(parts)})", invoke=invoke, args=tuple(parse_value(a) for a in args))
    with pytest.raises(UsageError) as refusal:
        plan_entry(run)
    assert refusal.value.hint or not parts


@pytest.mark.parametrize(
    "fields",
    [{"fuel_limit": -1}, {"fuel_limit": 1 << 63}, {"timeout_ms": 0}, {"timeout_ms": 10**9}, {"max_pages": 65537},
     {"output_limit": -1}, {"output_limit": 1 << 40}, {"log_limit": 1 << 30}],
)  # fmt: skip
def test_limits_out_of_range_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        request(f"(module {RUN})", **fields)
