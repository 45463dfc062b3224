"""Instructions that are neither frequent nor control: constants, globals, `select`, memory, the 0xFC prefix (§3.3)."""

from __future__ import annotations

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.control import Control
from icn_lite.wasm.leb import skip_signed
from icn_lite.wasm.opcodes import ANY, F32, F64, I32, I64, TYPE_NAMES
from icn_lite.wasm.types import FuncType


class Rare(Control):
    """The part of validation that the loop hands the rest to."""

    def rare(self, code: int, at: int, pos: int, cost: int) -> int:
        """Everything that is neither frequent nor control; returns the next position."""
        stack, data = self.stack, self.data
        if code == op.I64_CONST:
            pos = skip_signed(data, pos, self.end, 64)
            stack.append(I64)
        elif code == op.F32_CONST or code == op.F64_CONST:
            pos += 4 if code == op.F32_CONST else 8
            stack.append(F32 if code == op.F32_CONST else F64)
            self.floats = self.floats or code == op.F32_CONST
        elif code == op.GLOBAL_GET or code == op.GLOBAL_SET:
            index, pos = self.u32(pos)
            if index >= len(self.module.globals):
                raise self.fail(f"unknown global {index}", at)
            variable = self.module.globals[index]
            if code == op.GLOBAL_GET:
                stack.append(variable.value_type)
                self.floats = self.floats or variable.value_type == F32
            elif not variable.mutable:
                raise self.fail(f"global {index} is constant", at)
            else:
                self.pop(variable.value_type, at)
        elif code == op.DROP:
            self.pop(ANY, at)
        elif code == op.SELECT or code == op.SELECT_T:
            return self.select(code, at, pos, cost)
        elif code == op.MEMORY_SIZE or code == op.MEMORY_GROW:
            if data[pos] != 0:
                raise self.malformed("zero byte expected", pos)
            pos += 1
            self.memory(at)
            if code == op.MEMORY_SIZE:
                stack.append(I32)
            else:
                self.apply(FuncType((I32,), (I32,)), at)
                self.emit_special((code, self.raw, at, pos, cost, 0, (), None))
        elif code == op.PREFIX:
            return self.prefixed(at, pos, cost)
        elif code != op.NOP:
            feature, hint = op.UNSUPPORTED.get(code, ("", ""))
            if feature:
                raise self.unsupported(feature, at, hint)
            raise self.malformed(f"unknown instruction 0x{code:02x}", at)
        return pos

    def select(self, code: int, at: int, pos: int, cost: int) -> int:
        """`select`; the form with a type is rewritten to the one without."""
        self.pop(I32, at)
        if code == op.SELECT:
            first = self.pop(ANY, at)
            second = self.pop(first, at)
            self.stack.append(first or second)
            return pos
        count, pos = self.u32(pos)
        if count != 1:
            raise self.fail("select names other than one type", at)
        value_type = self.data[pos]
        if value_type not in op.VALUE_TYPES:
            if value_type in (0x7B, 0x70, 0x6F):
                raise self.unsupported(f"select of {TYPE_NAMES[value_type]}", at, "compile for the MVP feature set")
            raise self.malformed(f"unknown value type 0x{value_type:02x}", pos)
        pos += 1
        self.apply(FuncType((value_type, value_type), (value_type,)), at)
        self.emit((code, self.raw, at, pos, cost, 0, (), None))
        return pos

    def prefixed(self, at: int, pos: int, cost: int) -> int:
        """Instructions behind 0xFC: saturating conversions and bulk memory."""
        code, pos = self.u32(pos)
        row = op.SATURATING.get(code)
        if row is not None:
            self.apply(FuncType((row[0],), (row[1],)), at)
            return pos
        if code in (op.MEMORY_COPY, op.MEMORY_FILL):
            width = 2 if code == op.MEMORY_COPY else 1
            if any(self.data[pos : pos + width]):
                raise self.malformed("zero byte expected", pos)
            pos += width
            self.memory(at)
            self.apply(FuncType((I32, I32, I32), ()), at)
            self.emit_special((0x100 + code, self.raw, at, pos, cost, 0, (), None))
            return pos
        if code in (op.MEMORY_INIT, op.DATA_DROP):
            index, pos = self.u32(pos)
            if code == op.MEMORY_INIT:
                if self.data[pos] != 0:
                    raise self.malformed("zero byte expected", pos)
                pos += 1
                self.memory(at)
            if self.module.data_count is None:
                raise self.malformed("data count section required", at)
            if index >= self.module.data_count:
                raise self.fail(f"unknown data segment {index}", at)
            if code == op.MEMORY_INIT:
                self.apply(FuncType((I32, I32, I32), ()), at)
            self.emit_special((0x100 + code, self.raw, at, pos, cost, index, (), None))
            return pos
        if code == op.ELEM_DROP or code == op.TABLE_SIZE:
            return self.table(code, at, pos, cost)
        name = op.UNSUPPORTED_PREFIXED.get(code)
        if name is not None:
            raise self.unsupported(name, at, "compile with -mno-reference-types and without table instructions")
        raise self.malformed(f"unknown instruction 0xfc {code}", at)

    def table(self, code: int, at: int, pos: int, cost: int) -> int:
        """`elem.drop`, `table.size`: what can be said of a table that never changes."""
        index, pos = self.u32(pos)
        module = self.module
        if code == op.ELEM_DROP:
            if index >= module.element_segments:
                raise self.fail(f"unknown element segment {index}", at)
        else:
            if index or module.table is None:
                raise self.fail(f"unknown table {index}", at)
            self.stack.append(I32)
            index = module.table.minimum
        self.emit_special((0x100 + code, self.raw, at, pos, cost, index, (), None))
        return pos
