"""Binary format to `Module` (core specification §5.5): sections in order, counts bounded before allocation.

Everything outside function bodies is checked here, form and meaning; bodies are left to `validate`. Errors carry the
offset of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from icn_lite.model.errors import ModuleError
from icn_lite.wasm.limits import PAGE_BYTES, Limits
from icn_lite.wasm.module import Body, Data, Element, FuncImport, Global, Module, RawExport, SizeRange
from icn_lite.wasm.opcodes import END, GC_FORMS, TAG_SECTION
from icn_lite.wasm.reader import EXTERNREF, FUNCREF, REF_HINT, Reader
from icn_lite.wasm.types import KINDS, FuncType

MAGIC: Final = b"\x00asm\x01\x00\x00\x00"
# A section may stand once, in this order; 12 (data count) comes before code. 0 may stand anywhere.
_ORDER: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}
_MAX_PAGES: Final = 65536
# Names that wasm-ld (--import-table), Emscripten and asc (--importTable) give the table.
TABLE_IMPORTS: Final = frozenset((("env", "__indirect_function_table"), ("env", "table")))
# So many are read before the second is refused as unsupported.
_TABLES_READ: Final = 16
# Names are kept for messages only; a module with more is not asked for them.
_NAMES_KEPT: Final = 20_000


class Decoder(Reader):
    """One pass over a module; `decode` is the way in."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        super().__init__(data, limits)
        self.defined = 0

    # sections

    def run(self) -> Module:
        """Decode all sections."""
        data, limits = self.data, self.limits
        if len(data) > limits.module_bytes:
            raise ModuleError("limit", f"module of more than {limits.module_bytes} bytes")
        if data[:4] != MAGIC[:4]:
            raise ModuleError("malformed", "not a WebAssembly module: the magic bytes are missing", offset=0)
        if data[4:8] != MAGIC[4:]:
            raise ModuleError("malformed", f"version {data[4:8].hex()} is not 1", offset=4)
        self.pos = 8
        last = 0
        total = len(data)
        while self.pos < total:
            at, self.end = self.pos, total
            section = self.byte()
            size = self.u32()
            if size > total - self.pos:
                raise ModuleError(
                    "malformed", f"section {section}: {size} bytes announced, {total - self.pos} left", offset=at
                )
            self.end = self.pos + size
            if section:
                rank = _ORDER.get(section)
                if section == TAG_SECTION:
                    raise ModuleError("unsupported", "exception handling (a section of tags)", offset=at)
                if rank is None:
                    raise ModuleError("malformed", f"unknown section {section}", offset=at)
                if rank <= last:
                    raise ModuleError("malformed", f"section {section} is out of order or repeated", offset=at)
                last = rank
                _SECTIONS[section](self)
                if self.pos != self.end:
                    raise ModuleError("malformed", f"section {section} has bytes left over", offset=self.pos)
            else:
                self.custom()
            self.pos = self.end
        self.finish()
        return self.module

    def finish(self) -> None:
        """What only the whole module can tell."""
        module = self.module
        if len(module.bodies) != self.defined:
            raise ModuleError(
                "malformed", f"{self.defined} functions declared, {len(module.bodies)} bodies", offset=len(self.data)
            )
        if module.data_count is not None and module.data_count != len(module.segments):
            raise ModuleError("malformed", "data count differs from the number of data segments", offset=len(self.data))

    def custom(self) -> None:
        """Custom sections are dropped; function names are kept for messages, as far as they can be read."""
        size = self.u32()
        if size > self.end - self.pos:
            raise ModuleError("malformed", "custom section's name exceeds the section", offset=self.pos)
        raw = self.data[self.pos : self.pos + size]
        self.pos += size
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModuleError("malformed", "custom section's name is not UTF-8", offset=self.pos - size) from error
        if raw == b"name":
            try:
                self.function_names()
            except ModuleError:
                self.module.names.clear()  # a broken name section is no fault of the code

    def function_names(self) -> None:
        """The function subsection of the name section."""
        section_end = self.end
        while self.pos < section_end:
            kind = self.byte()
            size = self.u32()
            if size > section_end - self.pos:
                return
            if kind != 1:
                self.pos += size
                continue
            for _ in range(min(self.u32(), _NAMES_KEPT)):
                index = self.u32()
                self.module.names[index] = self.name()
            return

    def types(self) -> None:
        """Type section."""
        module, limits = self.module, self.limits
        for _ in range(self.count("types", limits.types)):
            at = self.pos
            form = self.byte()
            if form in GC_FORMS:
                raise ModuleError("unsupported", f"type form 0x{form:02x}: garbage collection", offset=at)
            if form != 0x60:
                raise ModuleError("malformed", f"type form 0x{form:02x}, expected a function (0x60)", offset=at)
            params = tuple(self.value_type() for _ in range(self.count("parameters", limits.params)))
            results = tuple(self.value_type() for _ in range(self.count("results", limits.results)))
            module.types.append(FuncType(params, results))

    def type_index(self) -> int:
        """An index into the types."""
        at = self.pos
        index = self.u32()
        if index >= len(self.module.types):
            raise ModuleError("invalid", f"unknown type {index}", offset=at)
        return index

    def imports(self) -> None:
        """Import section: functions, and one memory that becomes the module's own."""
        module = self.module
        for _ in range(self.count("imports", self.limits.imports)):
            at = self.pos
            owner, name = self.name(), self.name()
            kind = self.byte()
            if kind == 0:
                module.imports.append(FuncImport(owner, name, self.type_index(), at))
                module.func_types.append(module.imports[-1].type_index)
            elif kind == 2:
                size = self.size_range(_MAX_PAGES, "memory")
                if (owner, name) != ("env", "memory"):
                    raise ModuleError(
                        "unsupported",
                        f"import of memory {owner}.{name}; only env.memory can be given",
                        offset=at,
                        hint="link without --import-memory, or name it env.memory",
                    )
                self.set_memory(size, at)
                module.memory_imported = True
            elif kind == 1:
                self.import_table(owner, name, at)
            elif kind == 3:
                raise ModuleError(
                    "unsupported",
                    f"import of global {owner}.{name}: nobody gives a guest its globals",
                    offset=at,
                    hint="link statically: no shared library, no -fPIC, no --unresolved-symbols=import-dynamic",
                )
            else:
                raise ModuleError("malformed", f"unknown kind of import {kind}", offset=at)

    def import_table(self, owner: str, name: str, at: int) -> None:
        """An imported table: the one that the tools name becomes the module's own."""
        self.table_type()
        size = self.size_range(0xFFFFFFFF, "table")
        if (owner, name) not in TABLE_IMPORTS:
            raise ModuleError(
                "unsupported",
                f"import of table {owner}.{name}; only env.__indirect_function_table and env.table can be given",
                offset=at,
                hint="link without --import-table",
            )
        self.set_table(size, at)
        self.module.table_imported = True

    def set_memory(self, size: SizeRange, at: int) -> None:
        """Note the one memory."""
        if self.module.memory is not None:
            raise ModuleError("invalid", "more than one memory", offset=at)
        if size.minimum > self.limits.memory_pages:
            raise ModuleError(
                "limit",
                f"memory of {size.minimum} pages at the start, at most {self.limits.memory_pages} are allowed",
                offset=at,
                hint="link with a smaller --initial-memory or -z stack-size",
            )
        self.module.memory = size

    def functions(self) -> None:
        """Function section."""
        self.defined = self.count("functions", self.limits.functions)
        self.module.func_types.extend(self.type_index() for _ in range(self.defined))

    def tables(self) -> None:
        """Table section."""
        for _ in range(self.count("tables", _TABLES_READ)):
            at = self.pos
            self.table_type()
            self.set_table(self.size_range(0xFFFFFFFF, "table"), at)

    def table_type(self) -> None:
        """The type of a table's entries."""
        at = self.pos
        kind = self.byte()
        if kind != FUNCREF:
            if kind == EXTERNREF:
                raise ModuleError("unsupported", "a table of externref", offset=at, hint=REF_HINT)
            raise ModuleError("malformed", f"unknown type of table 0x{kind:02x}", offset=at)

    def set_table(self, size: SizeRange, at: int) -> None:
        """Note a table; `limits.tables` are allowed, and the engine knows one."""
        if self.module.table is not None:
            raise ModuleError("unsupported", "more than one table", offset=at, hint=REF_HINT)
        if not self.limits.tables:
            raise ModuleError("limit", "a table, none is allowed", offset=at)
        if size.minimum > self.limits.table_entries:
            raise ModuleError(
                "limit", f"table of {size.minimum} entries, at most {self.limits.table_entries}", offset=at
            )
        self.module.table = size

    def memories(self) -> None:
        """Memory section."""
        for _ in range(self.count("memories", 2)):
            at = self.pos
            self.set_memory(self.size_range(_MAX_PAGES, "memory"), at)

    def globals(self) -> None:
        """Global section."""
        for _ in range(self.count("globals", self.limits.globals)):
            value_type = self.value_type()
            at = self.pos
            mutable = self.byte()
            if mutable > 1:
                raise ModuleError("malformed", f"mutability {mutable} is neither 0 nor 1", offset=at)
            expression = self.const_expr(value_type)
            if expression.instructions > 1:
                self.module.global_fuel += expression.instructions
            self.module.globals.append(Global(value_type, bool(mutable), expression.code))

    def exports(self) -> None:
        """Export section."""
        module = self.module
        seen: set[str] = set()
        for _ in range(self.count("exports", self.limits.exports)):
            at = self.pos
            name = self.name()
            kind = self.byte()
            if kind > 3:
                raise ModuleError("malformed", f"unknown kind of export {kind}", offset=at)
            index = self.u32()
            size = (
                len(module.func_types),
                0 if module.table is None else 1,
                0 if module.memory is None else 1,
                len(module.globals),
            )[kind]
            if index >= size:
                raise ModuleError("invalid", f"export {name!r} names unknown {KINDS[kind]} {index}", offset=at)
            if name in seen:
                raise ModuleError("invalid", f"export {name!r} stands twice", offset=at)
            seen.add(name)
            module.exports.append(RawExport(name, KINDS[kind], index))

    def start(self) -> None:
        """Start section."""
        at = self.pos
        index = self.function_index()
        if self.module.type_of(index) != FuncType((), ()):
            raise ModuleError("invalid", "the start function takes or gives values", offset=at, function=index)
        self.module.start = index

    def function_index(self) -> int:
        """An index into the functions."""
        at = self.pos
        index = self.u32()
        if index >= len(self.module.func_types):
            raise ModuleError("invalid", f"unknown function {index}", offset=at)
        return index

    def elements(self) -> None:
        """Element section: active segments of table 0; passive and declared ones only name functions."""
        budget = self.limits.table_entries * 4
        declared: set[int] = set()
        written = False  # whether the table is written at the start rather than made with its entries
        for _ in range(self.count("element segments", self.limits.segments)):
            at = self.pos
            flag = self.u32()
            if flag > 7:
                raise ModuleError("malformed", f"unknown kind of element segment {flag}", offset=at)
            active = not flag & 1
            offset = instructions = 0
            if active:
                table = self.u32() if flag & 2 else 0
                if table or self.module.table is None:
                    raise ModuleError("invalid", f"unknown table {table}", offset=at)
                offset, instructions = self.offset()
            if flag & 3:
                self.element_kind(flag)
            entries = self.element_entries(bool(flag & 4), budget)
            budget -= len(entries)
            declared.update(entry for entry in entries if entry is not None)
            written |= active and bool(flag & 4 or instructions > 1 or self.module.table_imported)
            if flag & 3 == 1 or (active and written):
                # As measured: each reference that is made costs 1. An active segment costs nothing as long as all are
                # lists of indices, which the table begins with; from the first with expressions or an offset that is
                # worked out on each is copied, and so is all of an imported table: 1 for each instruction of the
                # offset and 1 an entry.
                cost = (len(entries) if flag & 4 else 0) + (instructions + len(entries) if active else 0)
                self.module.element_fuel = (self.module.element_fuel or 0) + cost
            if active:
                table_size = self.module.table.minimum if self.module.table else 0
                if offset + len(entries) > table_size:
                    raise ModuleError(
                        "invalid",
                        f"element segment ends at {offset + len(entries)}, the table at {table_size}",
                        offset=at,
                    )
                self.module.elements.append(Element(offset, entries))
            self.module.element_segments += 1
        self.module.declared = frozenset(declared)

    def element_kind(self, flag: int) -> None:
        """`elemkind` or `reftype` of a segment."""
        at = self.pos
        kind = self.byte()
        if flag & 4:
            if kind == EXTERNREF:
                raise ModuleError("unsupported", "elements of type externref", offset=at, hint=REF_HINT)
            if kind != FUNCREF:
                raise ModuleError("malformed", f"unknown type of element 0x{kind:02x}", offset=at)
        elif kind:
            raise ModuleError("malformed", f"unknown kind of element 0x{kind:02x}", offset=at)

    def element_entries(self, expressions: bool, budget: int) -> tuple[int | None, ...]:
        """The functions of a segment, as indices or as `ref.func` / `ref.null` expressions."""
        count = self.count("table entries", max(budget, 0))
        if not expressions:
            return tuple(self.function_index() for _ in range(count))
        entries: list[int | None] = []
        for _ in range(count):
            at = self.pos
            opcode = self.byte()
            if opcode == 0xD2:
                entries.append(self.function_index())
            elif opcode == 0xD0:
                if self.byte() != FUNCREF:
                    raise ModuleError("invalid", "element is not a function reference", offset=at)
                entries.append(None)
            else:
                raise ModuleError("invalid", "element is not a function reference", offset=at)
            if self.byte() != END:
                raise ModuleError("invalid", "element expression is not a single constant", offset=self.pos - 1)
        return tuple(entries)

    def data_count(self) -> None:
        """Data count section."""
        self.module.data_count = self.u32()

    def code(self) -> None:
        """Code section: only where each body lies."""
        limits = self.limits
        first = len(self.module.imports)
        for index in range(self.count("function bodies", limits.functions)):
            at = self.pos
            size = self.u32()
            if size > self.end - self.pos:
                raise ModuleError("malformed", f"function body of {size} bytes exceeds its section", offset=at)
            if size > limits.function_bytes:
                raise ModuleError(
                    "limit",
                    f"function body of {size} bytes, at most {limits.function_bytes}",
                    offset=at,
                    function=first + index,
                )
            self.module.bodies.append(Body(self.pos, self.pos + size))
            self.pos += size

    def datas(self) -> None:
        """Data section."""
        passive = 0
        for _ in range(self.count("data segments", self.limits.segments)):
            at = self.pos
            flag = self.u32()
            if flag > 2:
                raise ModuleError("malformed", f"unknown kind of data segment {flag}", offset=at)
            memory = self.u32() if flag == 2 else 0
            offset, instructions = None, 1
            if flag != 1:
                if memory or self.module.memory is None:
                    raise ModuleError("invalid", f"unknown memory {memory}", offset=at)
                offset, instructions = self.offset()
            size = self.u32()
            if size > self.end - self.pos:
                raise ModuleError("malformed", f"data segment of {size} bytes exceeds its section", offset=at)
            if offset is not None and self.module.memory is not None:
                bytes_at_start = self.module.memory.minimum * PAGE_BYTES
                if offset + size > bytes_at_start:
                    raise ModuleError(
                        "invalid", f"data segment ends at {offset + size}, the memory at {bytes_at_start}", offset=at
                    )
            self.module.segments.append(Data(offset, self.pos, self.pos + size, instructions))
            if offset is None:
                passive += size
                if passive > self.limits.passive_bytes:
                    raise ModuleError(
                        "limit",
                        f"{passive} bytes of passive data, at most {self.limits.passive_bytes} are allowed",
                        offset=at,
                        hint="link without --shared-memory, so that data segments are active",
                    )
            self.pos += size


_SECTIONS: Final[dict[int, Callable[[Decoder], None]]] = {
    1: Decoder.types,
    2: Decoder.imports,
    3: Decoder.functions,
    4: Decoder.tables,
    5: Decoder.memories,
    6: Decoder.globals,
    7: Decoder.exports,
    8: Decoder.start,
    9: Decoder.elements,
    10: Decoder.code,
    11: Decoder.datas,
    12: Decoder.data_count,
}


def decode(data: bytes, limits: Limits) -> Module:
    """Decode and check everything but function bodies; raises ModuleError."""
    return Decoder(data, limits).run()
