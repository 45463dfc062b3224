"""What the author of a refused module can do about it: a table from refusals to advice, with the compilers' flags.

A row is found by words of the refusal's message; the first row that fits wins, and each kind of refusal has a last
row that always fits. Flags are those of clang (19), rustc (1.85) and asc (0.28).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from icn_lite.model.errors import ModuleError, ModuleErrorKind
from icn_lite.wasm.sections import producers


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do, and how with each compiler; a compiler without a flag of its own is left empty."""

    text: str
    clang: str = ""
    rustc: str = ""
    asc: str = ""
    made_by: str = ""  # `clang`, `rustc` or `asc` where the module says so

    @property
    def flags(self) -> tuple[tuple[str, str], ...]:
        """Compilers and their flags: that of the module's own compiler where it is known and has one."""
        found = tuple((n, f) for n, f in (("clang", self.clang), ("rustc", self.rustc), ("asc", self.asc)) if f)
        own = tuple(row for row in found if row[0] == self.made_by)
        return own or found

    @property
    def hint(self) -> str:
        """All of it in one line."""
        return "; ".join([self.text, *(f"{name}: {flag}" for name, flag in self.flags)])


class Row(NamedTuple):
    """Words of a message (all of them have to stand in it), and the advice."""

    kind: ModuleErrorKind
    words: tuple[str, ...]
    advice: Advice


def _feature(name: str, clang: str, rust: str, asc: str = "") -> Advice:
    return Advice(
        f"compile without {name}",
        f"-mno-{clang}" if clang else "",
        f"-C target-feature=-{rust}" if rust else "",
        f"--disable {asc}" if asc else "",
    )


_MVP: Final = Advice(
    "compile for the features of 2019's engines (the MVP)", "-mcpu=mvp", "-C target-cpu=mvp",
    "--disable with the feature's name",
)  # fmt: skip
_NO_REFERENCES: Final = _feature("reference types", "reference-types", "reference-types", "reference-types")
_NO_MULTIVALUE: Final = _feature("multi-value", "multivalue", "multivalue")
_NO_EXCEPTIONS: Final = Advice(
    "compile without exceptions", "-fno-exceptions, and no setjmp by -mllvm -wasm-enable-sjlj", "-C panic=abort"
)
_SMALLER: Final = Advice(
    "make the module smaller: optimise for size, strip what only a debugger reads",
    "-Oz -flto -Wl,--gc-sections,--strip-all", "-C opt-level=z -C lto -C strip=symbols", "-O3z --noAssert",
)  # fmt: skip
_SPLIT: Final = Advice(
    "cut the function into several, or keep the compiler from inlining into it", "-Os -fno-inline",
    "-C opt-level=s, #[inline(never)]", "--optimizeLevel 1 --shrinkLevel 2",
)  # fmt: skip
_LESS_MEMORY: Final = Advice(
    "start with less memory and a smaller stack, or ask for more pages (--pages, memory_pages of a job)",
    "-Wl,--initial-memory=BYTES -Wl,-z,stack-size=BYTES", "-C link-arg=--initial-memory=BYTES",
    "--initialMemory PAGES",
)  # fmt: skip
_DAMAGED: Final = Advice(
    "the file is cut off or damaged: build or copy it again; `wasm-validate FILE` (wabt) should find the same"
)
_COMPILER: Final = Advice(
    "the tool that wrote it made a module that no engine takes: `wasm-validate FILE` (wabt) shows the same place; "
    "update the tool, or look at what runs after it (wasm-opt, a hand-written part)"
)
_FITS: Final = Advice(
    "the memory at the start is smaller than the data in it: let the linker choose its size",
    "no -Wl,--initial-memory, or a larger one", "no -C link-arg=--initial-memory, or a larger one",
    "a larger --initialMemory",
)  # fmt: skip
_RUST_WASI: Final = "--target wasm32-wasip1 (wasm32-wasi before Rust 1.78)"
_HOST_MODULES: Final = {
    "env.emscripten": Advice("this needs Emscripten's JavaScript: build for WASI", "emcc -sSTANDALONE_WASM"),
    "env.invoke_": Advice("this needs Emscripten's exceptions: build without them", "emcc -fno-exceptions"),
    "__wbindgen": Advice("this needs wasm-bindgen's JavaScript: build a plain program", "", _RUST_WASI),
    "wbg.": Advice("this needs wasm-bindgen's JavaScript: build a plain program", "", _RUST_WASI),
    "import of wasi:": Advice("this is for WASI preview 2: build for preview 1", "--target=wasm32-wasi",
                              _RUST_WASI),
    "wasi_unstable.": Advice("this is for an older WASI: build for preview 1 with a newer SDK", "--target=wasm32-wasi",
                             _RUST_WASI),
    "gojs.": Advice("build the Go program for WASI: GOOS=wasip1 GOARCH=wasm"),
    "import of go.": Advice("build the Go program for WASI: GOOS=wasip1 GOARCH=wasm"),
    "env.seed": Advice("Math.random asks its host for a seed, and every run has to be the same: export a function "
                       "that gives one, mySeed(): f64, from FILE.ts", asc="--use seed=FILE/mySeed"),
    "env.console.": Advice("this needs a browser's console: write with `log` of the guest kit",
                           asc="import from \"./icn\""),
    "env.Date.": Advice("this needs a browser's clock, and every run has to be the same: take times from the input"),
    "env.performance.": Advice("this needs a browser's clock, and every run has to be the same: leave measuring out"),
    "env.crypto.": Advice("this needs a browser's random numbers, and every run has to be the same: take them from the "
                          "input"),
}  # fmt: skip
_NO_HOST_FUNCTION: Final = Advice(
    "the linker left this name to the host because no object defines it: define it, or import one of the functions "
    "in tools/guests/README.md", "no -Wl,--allow-undefined", "#[link(wasm_import_module = \"icn\")]",
    "import from \"./icn\"",
)  # fmt: skip

ROWS: Final[tuple[Row, ...]] = (
    Row("unsupported", ("export", "reserved",), Advice("give the export another name")),
    Row("unsupported", ("export", "NUL",), Advice("give the export another name")),
    *(Row("unsupported", ("no such host function", name), advice) for name, advice in _HOST_MODULES.items()),
    Row("unsupported", ("no such host function",), _NO_HOST_FUNCTION),
    Row("unsupported", ("import of", "has type"),
        Advice("declare the function as tools/guests does", "icn.h", "icn.rs", "icn.ts")),
    Row("unsupported", ("import of memory",),
        Advice("let the module have its own memory, or name it env.memory", "no -Wl,--import-memory",
               "no -C link-arg=--import-memory", "no --importMemory")),
    Row("unsupported", ("import of table",),
        Advice("link statically", "no -Wl,--import-table, no -fPIC", "no -C link-arg=--import-table",
               "no --importTable")),
    Row("unsupported", ("import of",),
        Advice("link statically, without shared libraries", "no -shared, no -fPIC", "-C relocation-model=static")),
    Row("unsupported", ("v128",), _feature("SIMD", "simd128", "simd128", "simd")),
    Row("unsupported", ("SIMD",), _feature("SIMD", "simd128", "simd128", "simd")),
    Row("unsupported", ("shared memory",),
        Advice("compile for one thread", "no -pthread, -mno-atomics, no -Wl,--shared-memory",
               "-C target-feature=-atomics", "no --enable threads, no --sharedMemory")),
    Row("unsupported", ("64-bit memory",),
        Advice("compile for 32-bit memory", "--target=wasm32", "--target wasm32-unknown-unknown")),
    Row("unsupported", ("threads",), _feature("threads", "atomics", "atomics", "threads")),
    Row("unsupported", ("exception",), _NO_EXCEPTIONS),
    Row("unsupported", ("tail call",), _feature("tail calls", "tail-call", "tail-call")),
    Row("unsupported", ("extended const",), _feature("extended constants", "extended-const", "extended-const")),
    Row("unsupported", ("more than one table",), _NO_REFERENCES),
    Row("unsupported", ("externref",), _NO_REFERENCES),
    Row("unsupported", ("funcref",), _NO_REFERENCES),
    Row("unsupported", ("reference",), _NO_REFERENCES),
    Row("unsupported", ("table.",), _NO_REFERENCES),
    Row("unsupported", ("elem.drop",), _NO_REFERENCES),
    Row("unsupported", ("garbage collection",),
        Advice("compile to linear memory: languages with a collector of the engine's (Kotlin, Dart) don't run here")),
    Row("unsupported", ("passive",), _feature("bulk memory", "bulk-memory", "bulk-memory", "bulk-memory")),
    Row("unsupported", ("mixes",), _NO_MULTIVALUE),
    Row("limit", ("module of",), _SMALLER),
    Row("limit", ("memory of",), _LESS_MEMORY),
    Row("limit", ("memories",), Advice("use one memory")),
    Row("limit", ("tables",), _NO_REFERENCES),
    Row("limit", ("a table, none",), Advice("call functions by their names and not by pointers")),
    Row("limit", ("passive",),
        Advice("data that is copied into memory by hand is too long: let it be there at the start", "-mno-bulk-memory",
               "-C target-feature=-bulk-memory", "--disable bulk-memory")),
    Row("limit", ("br_table",),
        Advice("a switch has too many cases: look the case up in an array", "-fno-jump-tables",
               "a table of constants in place of the match", "an array in place of the switch")),
    Row("limit", ("table of",),
        Advice("the table holds functions that are called by pointer: fewer of them", "-Wl,--gc-sections",
               "fewer trait objects (dyn)", "fewer closures and virtual methods")),
    Row("limit", ("table entries",),
        Advice("the table holds functions that are called by pointer: fewer of them", "-Wl,--gc-sections",
               "fewer trait objects (dyn)", "fewer closures and virtual methods")),
    Row("limit", ("function body",), _SPLIT),
    Row("limit", ("function bodies",), _SMALLER),
    Row("limit", ("functions",), _SMALLER),
    Row("limit", ("types",), _SMALLER),
    Row("limit", ("imports",), Advice("import only what is called", "-Wl,--gc-sections", "-C lto")),
    Row("limit", ("exports",),
        Advice("export only the entry", "-Wl,--export=run in place of --export-all", "#[no_mangle] on less",
               "export less")),
    Row("limit", ("globals",), Advice("put variables into memory", "-Wl,--gc-sections", "-C lto",
                                      "fewer module-level variables: fields of one object")),
    Row("limit", ("data segments",), Advice("merge the segments", "wasm-opt --memory-packing after it",
                                            "wasm-opt --memory-packing after it", "-O3z")),
    Row("limit", ("element segments",), Advice("merge the segments of the table (wasm-opt -O)")),
    Row("limit", ("parameters",), Advice("pass a pointer to a struct in place of so many parameters")),
    Row("limit", ("results",), _NO_MULTIVALUE),
    Row("limit", ("a block takes",), _NO_MULTIVALUE),
    Row("limit", ("values carried",), _NO_MULTIVALUE),
    Row("limit", ("name of",), Advice("shorten the name of the import or export")),
    Row("limit", ("locals are too much",), _SPLIT),
    Row("limit", ("locals in all",), _SMALLER),
    Row("limit", ("locals",), _SPLIT),
    Row("limit", ("operands",), _SPLIT),
    Row("limit", ("nested blocks",), _SPLIT),
    Row("limit", ("branches, calls",), _SMALLER),
    Row("limit", ("blocks",), _SPLIT),
    Row("limit", ("of stack",),
        Advice("the longest chain of calls needs too much stack: large local variables belong into memory", "-Os",
               "-C opt-level=s", "-O3z")),
    Row("invalid", ("data segment ends",), _FITS),
    Row("invalid", ("constant reads global",),
        Advice("this is position-independent code: link statically", "no -fPIC, no -shared",
               "-C relocation-model=static")),
    Row("invalid", ("more than one memory",), Advice("use one memory", "-mno-multimemory")),
    Row("invalid", ("start function",), Advice("the start function has to be () -> (): name another, or none")),
    Row("unsupported", ("of type",), _MVP),
    Row("unsupported", ("select of",), _MVP),
    Row("unsupported", ("typed function",), _MVP),
    Row("unsupported", (), _MVP),
    Row("limit", (), _SMALLER),
    Row("malformed", (), _DAMAGED),
    Row("invalid", (), _COMPILER),
)  # fmt: skip

# Files that are often given in place of a module, by how they begin.
_OTHER_FILES: Final[tuple[tuple[bytes, Advice], ...]] = (
    (b"\0asm\x0d\0\1\0",
     Advice("this is a component: build a core module", "--target=wasm32-wasi", _RUST_WASI)),
    (b"(", Advice("this is WebAssembly text: `wat2wasm FILE` (wabt) makes a module of it")),
    (b";;", Advice("this is WebAssembly text: `wat2wasm FILE` (wabt) makes a module of it")),
    (b"\x7fELF", Advice("this is a program for this machine: compile for WebAssembly", "--target=wasm32-wasi",
                        _RUST_WASI)),
    (b"\x1f\x8b", Advice("this is compressed: `gunzip FILE` first")),
    (b"PK\3\4", Advice("this is an archive: unpack it first")),
    (b"BC\xc0\xde", Advice("this is LLVM bitcode: link it with wasm-ld", "no -c, no -emit-llvm")),
    (b"!<arch>", Advice("this is a library of object files: link it into a module")),
    (b"\xcf\xfa\xed\xfe", Advice("this is a program for a Mac: compile for WebAssembly", "--target=wasm32-wasi",
                                 _RUST_WASI)),
    (b"MZ", Advice("this is a program for Windows: compile for WebAssembly", "--target=wasm32-wasi",
                   _RUST_WASI)),
)  # fmt: skip


def advise(module: bytes, error: ModuleError) -> Advice:
    """What its author can do about a refusal; never empty."""
    if error.reason == "malformed" and error.offset is not None and error.offset < 8:
        if not module.strip():
            return Advice("the file is empty: did the compiler fail?")
        for head, advice in _OTHER_FILES:
            if module.startswith(head):
                return advice
    message = _plain(error.message)
    found = next(row.advice for row in ROWS if row.kind == error.reason and all(w in message for w in row.words))
    return Advice(found.text, found.clang, found.rustc, found.asc, _compiler(module))


def _plain(message: str) -> str:
    """A message without the function that it begins with: a guest's own names must not choose the advice."""
    if message.startswith("function "):
        _, colon, rest = message.partition("): " if "(" in message.split(":", 1)[0] else ": ")
        return rest if colon else message
    return message


def _compiler(module: bytes) -> str:
    text = " ".join(producers(module)).lower()
    for word, name in (("rust", "rustc"), ("assemblyscript", "asc"), ("clang", "clang")):
        if word in text:
            return name
    return ""
