"""What a child gives up before it touches a guest. Each layer holds without the others.

In two steps. `enter` needs no run and is done as soon as the child is forked: descriptors are closed, its life is
tied to the zygote's, privileges can no longer grow. `close` follows once the run's limits are known: timer, limits,
and last the system call filter, after which nothing of this can be undone. A layer that a device refuses (Android
forbids some) is skipped, and `layers()` tells a person about it: a phone with four layers of six still earns trust,
a node that refuses to start there earns nothing.

`setrlimit(2)`, `prctl(2)`, `setitimer(2)`, `seccomp(2)`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would load enum
import posix
import resource

from icn_lite.sandbox import bpf, syscalls
from icn_lite.sandbox.prctl import (
    GET_SECCOMP,
    POINTER_BYTES,
    SET_DUMPABLE,
    SET_NO_NEW_PRIVS,
    SET_PDEATHSIG,
    Prctl,
)

PAGE_BYTES = 65536
STACK_BYTES = 256 << 20  # wasm3 uses the native stack; reserved, not used, and it made the worst case trap cleanly
SLACK_BYTES = 256 << 20  # the engine's code, and what host calls leak: 400 bytes each at the most, 100 MB in all
TIMER_GRACE_MS = 500  # the node kills at the deadline; the timer is for the case that it can't
NOBODY = 65534  # the user without rights of its own on every Linux
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7  # linux/capability.h
KEPT_VARIABLES = (b"LC_CTYPE", b"LD_LIBRARY_PATH")  # Python sets the one, the node keeps the other
CLOSE_UP_TO = 1 << 16  # descriptors above our own limit can't exist; bounded for systems that report "infinity"


class JailLimits:
    """What depends on the run."""

    __slots__ = ("extra_bytes", "max_pages", "timeout_ms")

    def __init__(self, timeout_ms: int, max_pages: int, extra_bytes: int) -> None:
        self.timeout_ms = timeout_ms
        self.max_pages = max_pages
        self.extra_bytes = extra_bytes  # input, output and log that the child may hold


class Jail:
    """Made once in the zygote, where everything slow is done; entered in each child."""

    def __init__(self, *, executable_memory: bool) -> None:
        self._prctl = Prctl()
        self._base_bytes = _mapped_bytes()
        self._executable_memory = executable_memory
        kind = syscalls.machine_kind(posix.uname().machine, POINTER_BYTES)
        self._filter = bpf.assemble(kind, executable_memory=executable_memory) if kind else b""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._drops_root = posix.geteuid() == 0 and _holds(CAP_KILL, CAP_SETGID, CAP_SETUID)
        self._close_below = soft if 0 < soft < CLOSE_UP_TO else CLOSE_UP_TO

    def enter(self, keep_fd: int, zygote_pid: int) -> list[tuple[str, bool, str]]:
        """The layers that hold for every run; the list says of each whether it holds and why not."""
        posix.closerange(3, keep_fd)
        posix.closerange(keep_fd + 1, self._close_below)
        user = self._give_up_root()  # first: a change of the user forgets what is asked for afterwards
        died = self._die_with_parent(zygote_pid)
        privileges = self._prctl.call(SET_NO_NEW_PRIVS, 1)
        hidden = self._prctl.call(SET_DUMPABLE, 0)
        known = [name.decode("utf-8", "replace") for name in posix.environ if name not in KEPT_VARIABLES]
        return [
            ("descriptors", True, "only the pipe to the node is open; stdin, stdout and stderr lead nowhere"),
            ("environment", not known, f"{', '.join(known)} are set" if known else "no variable of the node's is here"),
            user,
            died,
            ("no new privileges", privileges, "exec can't gain rights" if privileges else self._why_not()),
            ("memory hidden", hidden, "no other process of this user may read or trace it" if hidden
             else self._why_not()),
        ]  # fmt: skip

    def _give_up_root(self) -> tuple[str, bool, str]:
        """A node that runs as root has guests that don't, as long as it can still kill them afterwards."""
        name = "not root"
        if posix.geteuid() != 0:
            return (name, True, f"the node itself runs as user {posix.geteuid()}")
        if not self._drops_root:
            return (name, False, "the node runs as root, without the capabilities to change that for its guests")
        try:
            posix.setgroups([])
            posix.setresgid(NOBODY, NOBODY, NOBODY)
            posix.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError as error:
            return (name, False, f"the node runs as root, and setresuid was refused: {error}")
        return (name, True, f"the node runs as root, its guests as user {NOBODY}")

    def close(self, limits: JailLimits) -> list[tuple[str, bool, str]]:
        """The layers that depend on the run, and the filter."""
        return [self._timer(limits.timeout_ms), *self._rlimits(limits), self._filters()]

    def _die_with_parent(self, zygote_pid: int) -> tuple[str, bool, str]:
        done = self._prctl.call(SET_PDEATHSIG, _signal.SIGKILL)
        if posix.getppid() != zygote_pid:  # it died before we asked
            posix._exit(1)
        return ("parent death", done, "killed when the zygote ends" if done else self._why_not())

    def _timer(self, timeout_ms: int) -> tuple[str, bool, str]:
        """CPU time, not wall time: a suspended run must not be killed for the time it was not allowed to use."""
        _signal.signal(_signal.SIGPROF, _signal.SIG_DFL)
        _signal.setitimer(_signal.ITIMER_PROF, (timeout_ms + TIMER_GRACE_MS) / 1000)
        return ("timer", True, "SIGPROF kills after the run's time on the processor")

    def _rlimits(self, limits: JailLimits) -> list[tuple[str, bool, str]]:
        seconds = (limits.timeout_ms + TIMER_GRACE_MS) // 1000 + 2
        # Growing the memory may hold the old and the new one for a moment.
        space = self._base_bytes + STACK_BYTES + SLACK_BYTES + 2 * limits.max_pages * PAGE_BYTES + limits.extra_bytes
        root = posix.geteuid() == 0
        rows = [
            ("address space", resource.RLIMIT_AS, space, "memory beyond the run's own limit is refused"),
            ("processor time", resource.RLIMIT_CPU, seconds, "SIGXCPU kills, a second later SIGKILL"),
            ("files opened", resource.RLIMIT_NOFILE, 0, "no descriptor can be opened"),
            ("processes", resource.RLIMIT_NPROC, 0, "no process or thread can be made"),
            ("file size", resource.RLIMIT_FSIZE, 0, "no file can be written"),
            ("core dumps", resource.RLIMIT_CORE, 0, "a crash leaves no copy of the memory on the disk"),
        ]
        if self._executable_memory:  # its code memory is reserved in large pieces
            rows = rows[1:]
        done = []
        for name, which, limit, meaning in rows:
            try:
                hard = limit + 1 if which == resource.RLIMIT_CPU else limit
                resource.setrlimit(which, (limit, hard))
            except (OSError, ValueError) as error:
                done.append((name, False, f"setrlimit was refused: {error}"))
                continue
            if which == resource.RLIMIT_NPROC and root:
                done.append((name, False, "the limit is set, but the kernel exempts root from it"))
            else:
                done.append((name, True, meaning))
        return done

    def _filters(self) -> tuple[str, bool, str]:
        if not self._filter:
            return ("system calls", False, f"no filter is known for this processor ({posix.uname().machine})")
        filtered = self._prctl.seccomp(self._filter)
        if filtered:
            return ("system calls", True, "a seccomp filter kills or refuses all but memory, time and the pipe")
        if self._prctl.available and self._prctl.get(GET_SECCOMP) < 0:
            return ("system calls", False, "this kernel was built without seccomp (CONFIG_SECCOMP)")
        return ("system calls", False, self._why_not())

    def _why_not(self) -> str:
        if not self._prctl.available:
            return "this Python can't call prctl (it was built without libffi)"
        return "the kernel refused it: it is not built in, or the system forbids it to applications"


def _holds(*capabilities: int) -> bool:
    """Whether this process has all of them; False where /proc doesn't say."""
    try:
        with open("/proc/self/status", "rb") as status:
            line = next(line for line in status if line.startswith(b"CapEff:"))
    except (OSError, StopIteration):
        return False
    effective = int(line.split()[1], 16)
    return all(effective >> number & 1 for number in capabilities)


def _mapped_bytes() -> int:
    """Address space that the zygote has mapped; children begin with the same."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:  # some Androids hide it
        return 64 << 20
