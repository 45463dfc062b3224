"""The zygote's start is over: the machine code that only starting ran goes back to the system.

Loading Python, an engine and this room touches twice the pages of libraries that forking does. What is run again comes
back from the system's cache of files, 16 pages at a time. Only code of which no page was changed is let go, so nothing
can be lost; where the system doesn't show that, nothing happens. `proc(5)`: smaps; `madvise(2)`.

Nothing but `_ctypes`, as in `prctl.py`: `ctypes` would cost more than is won.
"""

from __future__ import annotations

try:
    import _ctypes
except ImportError:  # a Python built without libffi
    AVAILABLE = False
else:
    AVAILABLE = True

MADV_DONTNEED = 4
MAPPINGS = "/proc/self/smaps"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def let_go() -> int:
    """Let go of code that isn't running; returns how many bytes of mappings that were."""
    if not AVAILABLE:
        return 0
    try:
        with open(MAPPINGS, "rb") as lines:
            found = code_mappings(lines)
        madvise = _ctypes.dlsym(_ctypes.dlopen(None, 0), "madvise")  # type: ignore[arg-type]  # None: the program
    except OSError:
        return 0

    class Pointer(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "P"

    class Size(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "L"

    for begin, end in found:
        _ctypes.call_function(madvise, (Pointer(begin), Size(end - begin), MADV_DONTNEED))
    return sum(end - begin for begin, end in found)


def code_mappings(lines: Iterable[bytes]) -> list[tuple[int, int]]:
    """Begin and end of each mapping of a file's code of which nothing was changed."""
    found, place = [], None
    for line in lines:
        words = line.split(None, 5)
        if len(words) >= 5 and b"-" in words[0]:  # begins a mapping: place, rights, offset, device, inode, path
            place = None
            if words[1] == b"r-xp" and len(words) == 6 and words[5].startswith(b"/"):
                begin, _, end = words[0].partition(b"-")
                place = int(begin, 16), int(end, 16)
        elif place is not None and words[:2] == [b"Anonymous:", b"0"]:
            found.append(place)
            place = None
    return found
