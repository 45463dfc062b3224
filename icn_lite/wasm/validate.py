"""Function bodies: strict validation (core specification §3.3 and its appendix), and what the later passes need.

One pass over the bytes, no recursion, time linear in the body. Beside the verdict it yields the body's *events*: the
instructions that steer control or that are rewritten. Everything between two events is a span of bytes that is
copied untouched, so that the later passes work on a tenth of the instructions. Code that can never run (after a
branch, until the block ends) yields no event and lies in no span: it is dropped.
"""

from __future__ import annotations

from array import array
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import Frame, FunctionCode
from icn_lite.wasm.copies import COUNTED
from icn_lite.wasm.events import Events
from icn_lite.wasm.leb import read_u32, skip_signed
from icn_lite.wasm.limits import Limits
from icn_lite.wasm.lowered import crowded
from icn_lite.wasm.module import Module
from icn_lite.wasm.opcodes import F32, F64, I32, I64
from icn_lite.wasm.rare import Rare

# How an opcode is handled; the common ones come first in the loop.
_LOAD, _STORE = 1, 2
_WIDE: Final = frozenset((I64, F64))
_KIND: Final = [0] * 256
for _opcode in op.LOADS:
    _KIND[_opcode] = _LOAD
for _opcode in op.STORES:
    _KIND[_opcode] = _STORE


class BodyValidator(Rare):
    """Validates the bodies of one module, one after the other."""

    def body(self, number: int) -> FunctionCode:
        """Validate the body of one defined function."""
        module, body = self.module, self.module.bodies[number]
        self.function = len(module.imports) + number
        func_type = module.type_of(self.function)
        self.end = body.end
        local_types, pos = self.locals(body.start, func_type.params)
        self.stack, self.events, self.calls = [], [], []
        self.frames = [Frame(op.BLOCK, func_type.results, func_type.results, (), 0, 0, False, True, 0)]
        self.height, self.dead, self.live, self.raw = 0, False, True, pos
        self.loops = self.loop_peak = self.blocks = 0
        self.special = self.copies = False
        self.floats = F32 in local_types or F32 in func_type.results or crowded(func_type.results)
        try:
            peak = self.instructions(pos, local_types)
        except IndexError as error:
            raise self.malformed("unexpected end", self.end) from error
        if peak > self.limits.operands:
            raise self.over(f"{peak} operands at once, at most {self.limits.operands}", body.start)
        self.block_budget -= self.blocks * (len(local_types) + peak)
        if self.block_budget < 0:
            raise self.over(f"{self.blocks} blocks over {len(local_types)} locals are too much to compile", body.start)
        self.event_budget -= len(self.events)
        if self.event_budget < 0:
            raise self.over(f"more than {self.limits.events} branches, calls and ends of blocks", body.start)
        return FunctionCode(
            self.function, func_type, local_types, Events(self.events), peak, self.loop_peak, array("I", self.calls),
            self.special, self.copies or peak > COUNTED, self.floats, pos, body.end,
        )  # fmt: skip

    def instructions(self, pos: int, local_types: list[int]) -> int:
        """All instructions up to the body's own `end`; returns the operand peak."""
        # Locals of this function, not attributes: this loop is nearly all of the time that validation takes.
        data, stack, simple, kinds = self.data, self.stack, op.SIMPLE, _KIND
        loads, stores, most, handlers = op.LOADS, op.STORES, self.limits.operands, self.handlers
        count = len(local_types)
        no_memory = self.module.memory is None
        wide = _WIDE
        height = cost = peak = 0
        floats = False
        while True:
            at = pos
            code = data[pos]
            pos += 1
            cost += 1
            if code == 0x20:  # local.get
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, self.end)
                if index >= count:
                    raise self.fail(f"unknown local {index}", at)
                stack.append(local_types[index])
                if len(stack) > peak:
                    peak = len(stack)
                continue
            row = simple[code]
            if row is not None:
                arity, wanted, result = row
                if arity == 2:
                    if len(stack) > height + 1 and stack[-1] == wanted and stack[-2] == wanted:
                        stack.pop()
                        stack[-1] = result
                    else:
                        self.pop(wanted, at)
                        self.pop(wanted, at)
                        stack.append(result)
                elif len(stack) > height and stack[-1] == wanted:
                    stack[-1] = result
                else:
                    self.pop(wanted, at)
                    stack.append(result)
                if code > 0x8A and (wanted < I64 or result < I64):
                    floats = True
                continue
            if code == 0x41:  # i32.const
                if data[pos] < 0x80:
                    pos += 1
                else:
                    pos = skip_signed(data, pos, self.end, 32)
                stack.append(I32)
                if len(stack) > peak:
                    peak = len(stack)
                continue
            if code == 0x21 or code == 0x22:  # local.set, local.tee
                index = data[pos]
                pos += 1
                if index > 127:
                    index, pos = read_u32(data, pos - 1, self.end)
                if index >= count:
                    raise self.fail(f"unknown local {index}", at)
                wanted = local_types[index]
                if wanted in wide and len(stack) > 1 and stack.count(wanted) > 1:
                    self.copies = True
                if len(stack) > height and stack[-1] == wanted:
                    if code == 0x21:
                        stack.pop()
                else:
                    self.pop(wanted, at)
                    if code == 0x22:
                        stack.append(wanted)
                continue
            kind = kinds[code]
            if kind == 1 or kind == 2:  # loads and stores
                wanted, largest = (loads if kind == 1 else stores)[code]
                if data[pos] > largest:
                    self.alignment(pos, largest, at)
                if data[pos] < 0x80 and data[pos + 1] < 0x80:
                    pos += 2
                else:
                    _, pos = read_u32(data, pos, self.end)
                    first = pos
                    while data[pos] > 127:
                        pos += 1
                    pos += 1
                    if pos - first > 4:  # so long that its last bits matter
                        read_u32(data, first, self.end)
                if no_memory:
                    self.memory(at)
                if code == 0x2A:
                    floats = True
                if kind == 1:
                    if len(stack) > height and stack[-1] == I32:
                        stack[-1] = wanted
                    else:
                        self.pop(I32, at)
                        stack.append(wanted)
                elif len(stack) > height + 1 and stack[-1] == wanted and stack[-2] == I32:
                    del stack[-2:]
                else:
                    self.pop(wanted, at)
                    self.pop(I32, at)
                continue
            handler = handlers[code]
            if handler is not None:
                if len(stack) > most:
                    # here and not only at the body's end, so that no instruction ever works on a long stack
                    raise self.over(f"{len(stack)} operands at once, at most {most}", at)
                pos = handler(at, pos, cost - 1)
                cost = 0
                height = self.height
                if len(stack) > peak:
                    peak = len(stack)
                if not self.frames:
                    break
                continue
            events = len(self.events)
            pos = self.rare(code, at, pos, cost - 1)
            if len(self.events) != events:
                cost = 0
            elif code == op.NOP or code == op.DROP:
                cost -= 1
            if len(stack) > peak:
                peak = len(stack)
        if pos != self.end:
            if pos > self.end:
                raise self.malformed("unexpected end of the body", self.end)
            raise self.malformed("instructions after the body's end", pos)
        self.floats = self.floats or floats
        return peak

    def alignment(self, pos: int, largest: int, at: int) -> None:
        """An alignment byte that looks too large: decide whether it is padding, a flag, or wrong."""
        value, _ = self.u32(pos)
        if value > largest:
            if value >= 64:
                raise self.malformed("malformed memop flags", at)
            raise self.fail(f"alignment 2^{value} is larger than the access", at)


def validate(module: Module, limits: Limits) -> list[FunctionCode]:
    """Validate all bodies; raises ModuleError."""
    validator = BodyValidator(module, limits)
    code = [validator.body(number) for number in range(len(module.bodies))]
    module.carried_values = limits.carried_values - validator.carried_budget
    return code
