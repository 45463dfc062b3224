"""Make a failing text small: leave lines out, and put simpler ones in their place, while it goes on failing."""

from __future__ import annotations

from collections.abc import Callable

SIMPLER = ("nop", "drop", "i32.const 0", "i64.const 0", "f32.const 0", "f64.const 0", "unreachable")


def reduce(text: str, fails: Callable[[str], bool], *, rounds: int = 6) -> str:
    """The smallest text found by leaving out ever smaller pieces; `fails` must be false for what isn't valid."""
    lines = text.splitlines()
    for _ in range(rounds):
        before = len(lines)
        size = max(len(lines) // 2, 1)
        while size:
            at = 0
            while at < len(lines):
                shorter = lines[:at] + lines[at + size :]
                if fails("\n".join(shorter)):
                    lines = shorter
                else:
                    at += 1 if size < 4 else size
            size //= 2
        lines = _simplify(lines, fails)
        if len(lines) == before:
            break
    return "\n".join(lines)


def _simplify(lines: list[str], fails: Callable[[str], bool]) -> list[str]:
    """A value's instruction becomes a constant, with its operands dropped, where that still fails."""
    for at, line in enumerate(lines):
        if line.strip() in SIMPLER or "(" in line:
            continue
        for simpler in SIMPLER:
            changed = [*lines[:at], simpler, *lines[at + 1 :]]
            if fails("\n".join(changed)):
                lines = changed
                break
    return lines
