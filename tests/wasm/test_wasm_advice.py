"""Refusals that an author can mend: each has a place and an advice, and those that a compiler's flag cures name it."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import pytest
import wasmtime

from icn_lite import wasm
from icn_lite.model.errors import ModuleError
from icn_lite.resources import guest_module
from icn_lite.wasm.advice import ROWS, advise
from icn_lite.wasm.hostfuncs import HOST_FUNCTIONS
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.prepare import prepare
from icn_lite.wasm.sections import Place, function_name, locate, producers, sections

ROOM = Path(wasm.__path__[0])
KIND_OF_HELPER = {"fail": "invalid", "malformed": "malformed", "unsupported": "unsupported", "over": "limit",
                  "_refused": "unsupported", "refused": "unsupported"}  # fmt: skip
KINDS = ("malformed", "invalid", "unsupported", "limit")
SEED = 20261121


def refusal(module: bytes, limits: Limits | None = None) -> ModuleError:
    with pytest.raises(ModuleError) as caught:
        prepare(module, limits or Limits())
    return caught.value


def fault_of(module: bytes) -> ModuleError | None:
    try:
        prepare(module)
    except ModuleError as error:
        return error
    return None


def text_of(node: ast.expr) -> str | None:
    """A message as it would read, with a 7 for each part that isn't constant; None for what is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in node.values)
    return None


def raised() -> list[tuple[str, str, str]]:
    """Every refusal that the room's code can make: file and line, kind, message."""
    found = []
    for path in sorted(ROOM.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            arguments = node.args[3:4] if name == "_refused" else node.args
            texts = [text for text in map(text_of, arguments) if text is not None]
            if name == "ModuleError" and texts and texts[0] in KINDS and len(texts) > 1:
                found.append((f"{path.name}:{node.lineno}", texts[0], texts[1]))
            elif name in KIND_OF_HELPER and texts:
                found.append((f"{path.name}:{node.lineno}", KIND_OF_HELPER[name], texts[0]))
            elif name == "count" and len(texts) == 1 and len(node.args) == 2:  # Reader.count: a vector over its limit
                found.append((f"{path.name}:{node.lineno}", "limit", f"{texts[0]}, at most 7 are allowed"))
    return found


def test_the_search_finds_the_refusals() -> None:
    found = raised()
    assert len(found) > 90
    assert {kind for _, kind, _ in found} == set(KINDS)


@pytest.mark.parametrize(("where", "kind", "message"), raised())
def test_every_refusal_in_the_code_has_advice(where: str, kind: str, message: str) -> None:
    """A limit or an unsupported feature has a row of its own; damaged and invalid modules may share one."""
    error = ModuleError(kind, message)  # type: ignore[arg-type]  # one of the four
    assert advise(b"", error).text
    if kind in ("limit", "unsupported") and not message.startswith("7"):  # a 7: the helpers' own, of any message
        rows = [row for row in ROWS if row.kind == kind and row.words and all(w in message for w in row.words)]
        assert rows, f"{where}: no row of icn_lite/wasm/advice.py fits {message!r}"


def module(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


NAMED = '(module (memory 1) (func $first) (func $second (export "run") {}))'


@pytest.mark.parametrize(
    ("code", "kind", "words", "flags", "place"),
    [
        (NAMED.format("(drop (i32x4.splat (i32.const 1)))"), "unsupported", "SIMD",
         {"clang": "-mno-simd128", "rustc": "-C target-feature=-simd128", "asc": "--disable simd"},
         "function 1 (second), byte 0x"),
        (NAMED.format("(drop (i32.atomic.load (i32.const 0)))"), "unsupported", "threads",
         {"clang": "-mno-atomics"}, "function 1 (second), byte 0x"),
        (NAMED.format("(return_call $first)"), "unsupported", "tail calls",
         {"clang": "-mno-tail-call"}, "function 1 (second), byte 0x"),
        ("(module (tag $t) (func $thrower (throw $t)))", "unsupported", "without exceptions",
         {"rustc": "-C panic=abort"}, "the tag section, byte 0x"),
        ("(module (type (struct (field i32))))", "unsupported", "linear memory", {}, "the type section, byte 0x"),
        ('(module (func (import "env" "emscripten_resize_heap") (param i32) (result i32)))', "unsupported",
         "JavaScript", {"clang": "emcc -sSTANDALONE_WASM"}, "the import section, byte 0x"),
        ('(module (func (import "wbg" "__wbindgen_throw") (param i32 i32)))', "unsupported", "wasm-bindgen",
         {"rustc": "--target wasm32-wasip1 (wasm32-wasi before Rust 1.78)"}, "the import section, byte 0x"),
        ('(module (func (import "env" "frobnicate")))', "unsupported", "linker", {"clang": "no -Wl,--allow-undefined"},
         "the import section, byte 0x"),
        ('(module (func (import "env" "seed") (result f64)))', "unsupported", "mySeed(): f64",
         {"asc": "--use seed=FILE/mySeed"}, "the import section, byte 0x"),
        ('(module (func (import "env" "console.log") (param i32)))', "unsupported", "of the guest kit",
         {"asc": 'import from "./icn"'}, "the import section, byte 0x"),
        ('(module (func (import "env" "Date.now") (result f64)))', "unsupported", "from the input", {},
         "the import section, byte 0x"),
        ('(module (func (import "icn" "log") (param i64)))', "unsupported", "declare", {"clang": "icn.h"},
         "the import section, byte 0x"),
        ('(module (memory (import "env" "heap") 1))', "unsupported", "own memory",
         {"clang": "no -Wl,--import-memory"}, "the import section, byte 0x"),
        ('(module (global (import "env" "__memory_base") i32))', "unsupported", "statically",
         {"rustc": "-C relocation-model=static"}, "the import section, byte 0x"),
        ("(module (memory 161))", "limit", "less memory", {"asc": "--initialMemory PAGES"},
         "the memory section, byte 0x"),
        ("(module (memory 1 1 shared))", "unsupported", "one thread",
         {"asc": "no --enable threads, no --sharedMemory"}, "the memory section, byte 0x"),
        ("(module (memory i64 1 1))", "unsupported", "32-bit memory", {"clang": "--target=wasm32"},
         "the memory section, byte 0x"),
        ("(module (table 10001 funcref))", "limit", "by pointer", {"clang": "-Wl,--gc-sections"},
         "the table section, byte 0x"),
        ("(module (table 1 funcref) (table 1 funcref))", "unsupported", "reference types",
         {"clang": "-mno-reference-types"}, "the table section, byte 0x"),
        ("(module (global externref (ref.null extern)))", "unsupported", "reference types",
         {"rustc": "-C target-feature=-reference-types"}, "the global section, byte 0x"),
        ('(module (func (export "icn:fuel")))', "unsupported", "another name", {}, "the export section"),
        ("(module (memory 1) (data (i32.const 65530) \"1234567\"))", "invalid", "smaller than the data",
         {"asc": "a larger --initialMemory"}, "the data section, byte 0x"),
        (f"(module (func $many (local {'i32 ' * 1500})))", "limit", "several", {"clang": "-Os -fno-inline"},
         "function 0 (many), byte 0x"),
        (f"(module (func $deep {'(block ' * 600}{')' * 600}))", "limit", "several", {}, "function 0 (deep), byte 0x"),
        (f"(module (func $switch (br_table {'0 ' * 6000}(i32.const 0))))", "limit", "array",
         {"clang": "-fno-jump-tables"}, "function 0 (switch), byte 0x"),
        (f"(module (func $wide (param {'i32 ' * 101})))", "limit", "pointer", {}, "the type section, byte 0x"),
    ],
)  # fmt: skip
def test_what_an_author_is_told(code: str, kind: str, words: str, flags: dict[str, str], place: str) -> None:
    data = module(code)
    error = refusal(data)
    assert error.reason == kind, error.message
    advice = advise(data, error)
    assert words in advice.text
    assert flags.items() <= dict(advice.flags).items()
    assert str(locate(data, error)).startswith(place), locate(data, error)


def test_no_row_speaks_of_a_function_that_there_is() -> None:
    names = [f"import of {function.module}.{function.name}:" for function in HOST_FUNCTIONS.values()]
    words = [row.words[1] for row in ROWS if row.words[:1] == ("no such host function",) and len(row.words) > 1]
    assert words
    assert not [(word, name) for word in words for name in names if word in name]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"(module)", "wat2wasm"),
        (b";; text\n(module)", "wat2wasm"),
        (b"\x7fELF\2\1\1", "this machine"),
        (b"\0asm\x0d\0\1\0", "component"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"PK\3\4", "archive"),
        (b"BC\xc0\xde", "bitcode"),
        (b"!<arch>\n", "library"),
        (b"MZ\x90", "Windows"),
        (b"\0asm\2\0\0\0", "damaged"),
        (guest_module("sum")[:-5], "damaged"),
    ],
)
def test_other_files_are_recognised(data: bytes, words: str) -> None:
    assert words in advise(data, refusal(data)).text


def test_the_flag_of_the_compiler_that_made_it_is_the_only_one() -> None:
    """`producers` names it; the name of a guest's own function chooses nothing."""
    text = NAMED.replace("second", "externref").format("(drop (i32x4.splat (i32.const 1)))")
    made = b"\x09producers\1\x0cprocessed-by\1\x05clang\x0619.1.7"
    data = module(text) + bytes((0, len(made))) + made
    advice = advise(data, refusal(data))
    assert advice.flags == (("clang", "-mno-simd128"),)
    assert advice.hint == "compile without SIMD; clang: -mno-simd128"
    assert producers(data) == ("clang 19.1.7",)


def test_the_place_in_a_body_counts_from_its_beginning() -> None:
    data = module('(module (func $f (result i32) (i32.const 1) (i32.add)) (export "x" (func $f)))'.replace(
        "(i32.add)", "(drop)"))  # fmt: skip
    error = refusal(data)
    place = locate(data, error)
    assert place.offset is not None
    assert place.within is not None
    assert (place.section, place.function, place.name) == ("code", 0, "f")
    body = next(section for section in sections(data) if section.name == "code").start + 2  # count, size
    assert place.offset - place.within == body


def test_names_are_found_behind_imports_of_every_kind() -> None:
    """The index of a body counts imported functions only."""
    data = module("""(module
      (import "a" "t" (table 1 2 funcref)) (import "a" "m" (memory 1 2)) (import "a" "g" (global i32))
      (import "a" "f" (func $imported)) (func $first) (func $second (drop (i32.const 1))))""")
    code = next(section for section in sections(data) if section.name == "code")
    error = ModuleError("invalid", "", offset=code.end - 1)
    assert locate(data, error) == Place(code.end - 1, "code", 2, "second", 4)
    assert [function_name(data, number) for number in range(4)] == ["imported", "first", "second", None]


def test_no_bytes_break_the_explanation() -> None:
    """Mutants of real modules, seed in the name: whatever is refused has a hint, and a place inside the file."""
    print(f"seed {SEED}")
    dice = random.Random(SEED)
    originals = [guest_module(name) for name in ("sum", "echo")]
    refused = 0
    for _ in range(600):
        data = bytearray(dice.choice(originals))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(data))
            data[at : at + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 2))
        mutant = bytes(data)
        error = fault_of(mutant)
        if error is not None:
            refused += 1
            assert advise(mutant, error).hint
            place = locate(mutant, error)
            assert place.offset is None or 0 <= place.offset <= len(mutant)
            assert str(place) or error.offset is None
        producers(mutant)
        function_name(mutant, 3)
    assert refused > 200
