"""A look at a module's sections for people: where a byte lies, what functions are called, who compiled it.

For messages about modules that are refused, so nothing here raises for any bytes: what can't be read is left out.
The name section and the producers section are the tools' conventions (tool-conventions, `ProducersSection.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.leb import read_u32

SECTION_NAMES: Final = (
    "custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data",
    "data count", "tag",
)  # fmt: skip
CUSTOM, IMPORT, FUNCTION, CODE = 0, 2, 3, 10
MAX_TEXT_BYTES: Final = 200  # of a name that is shown
MAX_PRODUCERS: Final = 16
MAX_SECTIONS: Final = 4096  # custom sections are counted by nobody else
MAX_NAMES: Final = 100_000  # as many as functions can be, and then some


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its id, its custom name or the format's, and `module[start:end]` as its content."""

    id: int
    name: str
    at: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fault lies. `within` counts bytes from the beginning of the section, or of the function's body."""

    offset: int | None
    section: str | None = None
    function: int | None = None
    name: str | None = None
    within: int | None = None

    def __str__(self) -> str:
        words = []
        if self.function is not None:
            words.append(f"function {self.function}" + (f" ({self.name})" if self.name else ""))
        elif self.section is not None:
            words.append(f"the {self.section} section")
        if self.offset is not None:
            words.append(f"byte {self.offset:#x}")
            if self.within is not None:
                words[-1] += f" ({self.within} bytes into {'its body' if self.function is not None else 'it'})"
        return ", ".join(words)


def sections(module: bytes) -> Iterator[Section]:
    """The sections in their order, as far as their lengths hold."""
    pos, count = 8, 0
    while pos < len(module) and count < MAX_SECTIONS:
        at, number = pos, module[pos]
        try:
            size, pos = read_u32(module, pos + 1, len(module))
        except ModuleError:
            return
        end = min(pos + size, len(module))
        name, start = SECTION_NAMES[number] if number < len(SECTION_NAMES) else f"unknown ({number})", pos
        if number == CUSTOM:
            name, start = _text(module, pos, end)
        yield Section(number, name, at, start, end)
        pos, count = pos + size, count + 1


def locate(module: bytes, error: ModuleError) -> Place:
    """Where a refusal points to, with the function's name where the module has names."""
    found = _locate(module, error)
    if found.function is None:
        return found
    name = function_name(module, found.function)
    return Place(found.offset, found.section, found.function, name, found.within)


def _locate(module: bytes, error: ModuleError) -> Place:
    offset = error.offset
    if offset is None:  # of exports only the name is kept, and the message has that
        return Place(None, "export" if error.message.startswith("export ") else None, error.function)
    section = next((s for s in sections(module) if s.at <= offset < s.end), None)
    if section is None:
        return Place(offset, function=error.function)
    if section.id != CODE:
        function = None if section.id == IMPORT else error.function  # an import has no body to point into
        return Place(offset, section.name, function, within=offset - section.at)
    for number, start, end in bodies(module):
        if start <= offset < end:
            return Place(offset, section.name, number, within=offset - start)
    return Place(offset, section.name, error.function, within=offset - section.at)


def bodies(module: bytes) -> Iterator[tuple[int, int, int]]:
    """Index, start and end of each function body (its size before it stands outside)."""
    code = next((s for s in sections(module) if s.id == CODE), None)
    if code is None:
        return
    index, pos = _imported_functions(module), code.start
    try:
        count, pos = read_u32(module, pos, code.end)
        for number in range(count):
            size, pos = read_u32(module, pos, code.end)
            yield index + number, pos, min(pos + size, code.end)
            pos += size
    except ModuleError:
        return


def _imported_functions(module: bytes) -> int:
    section = next((s for s in sections(module) if s.id == IMPORT), None)
    if section is None:
        return 0
    found = 0
    try:
        count, pos = read_u32(module, section.start, section.end)
        for _ in range(count):
            for _ in range(2):
                size, pos = read_u32(module, pos, section.end)
                pos += size
            if pos >= section.end:
                break
            kind, pos = module[pos], pos + 1
            if kind == 0:
                found += 1
                _, pos = read_u32(module, pos, section.end)
            elif kind == 3:
                pos += 2
            else:  # a table or a memory: a type for the one, then limits
                pos += kind == 1
                flag = module[pos] if pos < section.end else 0
                _, pos = read_u32(module, pos + 1, section.end)
                if flag & 1:
                    _, pos = read_u32(module, pos, section.end)
    except ModuleError:
        pass
    return found


def function_name(module: bytes, index: int) -> str | None:
    """The name of one function in the name section."""
    for section in sections(module):
        if section.id != CUSTOM or section.name != "name":
            continue
        try:
            return _name_in(module, section, index)
        except ModuleError:
            return None
    return None


def _name_in(module: bytes, section: Section, index: int) -> str | None:
    pos = section.start
    while pos < section.end:
        kind = module[pos]
        size, pos = read_u32(module, pos + 1, section.end)
        if kind != 1:
            pos += size
            continue
        count, pos = read_u32(module, pos, section.end)
        for _ in range(min(count, MAX_NAMES)):
            number, pos = read_u32(module, pos, section.end)
            text, pos = _text(module, pos, section.end)
            if number == index:
                return text or None
        return None
    return None


def producers(module: bytes) -> tuple[str, ...]:
    """Languages and compilers that the module names as its makers (`clang 19.1.7`, `Rust`)."""
    section = next((s for s in sections(module) if s.id == CUSTOM and s.name == "producers"), None)
    found: list[str] = []
    if section is None:
        return ()
    try:
        fields, pos = read_u32(module, section.start, section.end)
        for _ in range(min(fields, MAX_PRODUCERS)):
            _, pos = _text(module, pos, section.end)
            count, pos = read_u32(module, pos, section.end)
            for _ in range(min(count, MAX_PRODUCERS)):
                name, pos = _text(module, pos, section.end)
                version, pos = _text(module, pos, section.end)
                found.append(f"{name} {version}".strip())
    except ModuleError:
        pass
    return tuple(dict.fromkeys(found))


def _text(module: bytes, pos: int, end: int) -> tuple[str, int]:
    """A name and the position after it; what is no text is shown as far as it goes."""
    try:
        size, pos = read_u32(module, pos, end)
    except ModuleError:
        return "", end
    after = min(pos + size, end)
    return module[pos : min(after, pos + MAX_TEXT_BYTES)].decode("utf-8", "replace"), after
