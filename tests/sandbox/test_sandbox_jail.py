"""Every layer that says it is active is proven by trying what it forbids, from inside a real child.

The attacks run as an engine (`attack_engine.py`) in the child of a real zygote, behind every layer at once. Since one
layer may answer before another, the limits are also tried alone, in a process that enters the jail without the filter.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_kit import SPIN, attack, is_alive, lone_child, request, send, until, use_attack_engine

import icn_lite
from icn_lite.model.errors import FailureReason
from icn_lite.sandbox.jail import Jail
from icn_lite.sandbox.layers import layers
from icn_lite.sandbox.outcome import RunOutcome
from icn_lite.sandbox.pool import Pool, PoolConfig, run_once

ROOT = Path(icn_lite.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def active() -> dict[str, bool]:
    return {layer.name: layer.active for layer in layers()}


def run_attack(code: str, **fields: object) -> RunOutcome:
    use_attack_engine()
    return run_once(attack(code, **fields), engine="attack")


def need(active: dict[str, bool], name: str) -> None:
    if not active[name]:
        why = next(layer.why for layer in layers() if layer.name == name)
        pytest.skip(f"the layer {name!r} is missing on this device: {why}")


def test_the_attacker_itself_works() -> None:
    outcome = run_attack("result = 41 + 1")
    assert (outcome.status, str(outcome.results[0])) == ("completed", "i32:42")


def test_every_layer_is_listed_with_its_reason() -> None:
    found = layers()
    assert [layer.name for layer in found] == [
        "process", "descriptors", "environment", "not root", "parent death", "no new privileges", "memory hidden",
        "timer", "address space", "processor time", "files opened", "processes", "file size", "core dumps",
        "system calls",
    ]  # fmt: skip
    assert all(layer.why for layer in found)


def test_an_engine_that_is_absent_is_one_layer_that_says_so() -> None:
    (layer,) = layers("v8")
    assert (layer.name, layer.active) == ("process", False)
    assert "v8" in layer.why


@pytest.mark.parametrize(
    "code",
    [
        "_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)",
        "_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)",
        "os.fork()",
        "os.execv(sys.executable, [sys.executable])",
        "os.kill(os.getppid(), 9)",
        "os.kill(os.getpid(), 9)",
    ],
)
def test_hostile_calls_kill_the_process(code: str, active: dict[str, bool]) -> None:
    need(active, "system calls")
    outcome = run_attack(code)
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
    assert "system call" in outcome.detail


def refused(expression: str) -> str:
    """Source that leaves the errno of a refused call, or 0 when it was not refused."""
    return f"try:\n    {expression}\nexcept OSError as error:\n    result = error.errno\n"


@pytest.mark.parametrize(
    "expression",
    [
        "open('/etc/hostname')",
        "os.open('/tmp/written-by-a-guest', os.O_CREAT | os.O_WRONLY)",
        "os.listdir('/')",
        "os.stat('/')",
        "os.unlink('/tmp/nothing')",
        "os.mkdir('/tmp/written-by-a-guest')",
        "os.pipe()",
        "os.dup(0)",
        "os.setuid(0)",
        "os.nice(-5)",
        "_socket.socketpair()",
        "os.setpriority(os.PRIO_PROCESS, 0, 5)",
        "select.poll().poll(1)",
        "time.sleep(1)",
    ],
)
def test_all_other_calls_are_refused(expression: str, active: dict[str, bool]) -> None:
    need(active, "system calls")
    outcome = run_attack(refused(expression))
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert outcome.results[0].bits == 1, "expected EPERM"


def test_executable_memory_is_refused(active: dict[str, bool]) -> None:
    need(active, "system calls")
    plain = run_attack("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE); result = 7")
    assert plain.results[0].bits == 7
    executable = run_attack(refused("mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)"))
    assert executable.results[0].bits == 1


def test_only_the_pipe_is_open() -> None:
    """Standard streams read as empty; no other descriptor but the one pipe exists."""
    code = """
open_fds = []
for fd in range(3, 4096):
    try:
        os.write(fd, b"")
        open_fds.append(fd)
    except OSError:
        pass
empty = os.read(0, 10)
os.write(1, b"lost"); os.write(2, b"lost")
result = len(open_fds) * 10 + len(empty)
"""
    assert run_attack(code).results[0].bits == 10


def test_the_environment_is_empty() -> None:
    assert run_attack("result = len(set(os.environ) - {'LD_LIBRARY_PATH', 'LC_CTYPE'})").results[0].bits == 0


def test_memory_beyond_the_limit_is_refused_and_fails_the_run() -> None:
    caught = run_attack("try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    result = 9\n")
    assert caught.results[0].bits == 9
    outcome = run_attack("held = [bytes(1 << 20) for _ in range(2000)]")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.OUT_OF_MEMORY)


def test_a_guest_that_runs_its_engine_out_of_memory_fails() -> None:
    """The address space is the run's own; what the engine answers to a refusal must not become an answer."""
    outcome = run_attack("raise EngineError('no pages', out_of_memory=True)")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.OUT_OF_MEMORY)


def test_a_crash_is_a_failed_run() -> None:
    outcome = run_attack("_ctypes.call_function(1, ())")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
    assert "signal 11" in outcome.detail


def test_a_child_that_just_ends_is_a_failed_run() -> None:
    outcome = run_attack("os._exit(0)")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)


def test_an_error_in_the_child_is_a_failed_run() -> None:
    outcome = run_attack("1 / 0")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)


@pytest.mark.parametrize(
    "code",
    [
        "os.write(3, b'\\x7f\\xff\\xff\\xff')",  # a frame of 2 GiB
        "os.write(3, b'\\x00\\x00\\x00\\x01\\xff')",  # not CBOR
        "os.write(3, b'\\x00\\x00\\x00\\x02\\x81\\x01')",  # an outcome without its fields
        "os.write(3, b'\\x00\\x00\\x00\\x02\\x81\\x07')",  # no such kind
        "os.write(3, b'\\x00\\x00\\x00\\x05\\x84\\x00\\x61a\\x80\\x80')",  # a call of no function
    ],
)
def test_a_child_that_lies_about_the_protocol_fails(code: str) -> None:
    use_attack_engine()
    # The pipe's number is whatever the zygote had free: write to every descriptor.
    write = code.replace("3,", "fd,", 1)
    tries = f"for fd in range(3, 64):\n    try:\n        {write}\n    except OSError:\n        pass"
    outcome = run_once(attack(tries), engine="attack")
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
    assert "protocol" in outcome.detail


def test_a_child_that_floods_the_pipe_is_bounded() -> None:
    code = "while True:\n    for fd in range(3, 12):\n        try:\n            os.write(fd, b'\\0' * 65536)\n        except OSError:\n            pass\n"  # fmt: skip # noqa: E501
    outcome = run_attack(code, timeout_ms=20_000)
    assert outcome.status == "failed"
    assert "protocol" in outcome.detail


async def test_a_child_that_closes_its_pipe_and_stays_is_killed() -> None:
    use_attack_engine()
    async with Pool(PoolConfig(workers=1, engine="attack", spares=0)) as pool:
        outcome = await pool.run(attack("os.closerange(3, 64)\nfor fd in range(3, 64):\n    os.close(fd) if 0 else None\nwhile True: pass"))  # fmt: skip # noqa: E501
        assert outcome.status == "failed"
        assert (await pool.run(attack("result = 1"))).status == "completed"


async def test_processor_time_ends_a_child_that_nobody_kills() -> None:
    """The node's deadline is not there: the child's own timer kills it."""
    async with lone_child() as (children, child):
        await send(child, request(SPIN, fuel_limit=2**60, timeout_ms=1))
        await until(lambda: not is_alive(child.process.pid), "the timer killed the child")
        ending = await children.put_away(child)
        assert ending is not None
        assert ending.signal == signal.SIGPROF


async def test_a_child_dies_with_its_zygote(active: dict[str, bool]) -> None:
    need(active, "parent death")
    async with lone_child() as (children, child):
        await send(child, request(SPIN, fuel_limit=2**60, timeout_ms=60_000))
        assert children.zygote_pid is not None
        os.kill(children.zygote_pid, 9)
        await until(lambda: not is_alive(child.process.pid), "the child died with its zygote")
        assert await children.put_away(child) is None


# Numbers of system calls by what they are good for: x86-64, arm64 and 32-bit ARM's kernel ABI are tried where they run.
RAW: dict[str, tuple[str, int, int]] = {
    "openat": ("files", 257, 56), "chroot": ("files", 161, 51), "memfd_create": ("files", 319, 279),
    "mount": ("files", 165, 40), "ioctl": ("devices", 16, 29), "sendto": ("network", 44, 206),
    "bind": ("network", 49, 200), "tkill": ("signals", 200, 130), "rt_sigqueueinfo": ("signals", 129, 138),
    "shmget": ("shared memory", 29, 194), "msgget": ("shared memory", 68, 186), "userfaultfd": ("memory", 323, 282),
    "setns": ("namespaces", 308, 268), "setuid": ("identity", 105, 146), "setgroups": ("identity", 116, 159),
    "prctl": ("undoing the jail", 157, 167), "seccomp": ("undoing the jail", 317, 277),
    "setrlimit": ("undoing the jail", 160, 164), "prlimit64": ("undoing the jail", 302, 261),
    "setitimer": ("undoing the jail", 38, 103), "timer_create": ("undoing the jail", 222, 107),
    "personality": ("undoing the jail", 135, 92), "sched_setaffinity": ("scheduling", 203, 122),
    "perf_event_open": ("kernel", 298, 241), "keyctl": ("kernel", 250, 219), "init_module": ("kernel", 175, 105),
    "kexec_load": ("kernel", 246, 104), "reboot": ("kernel", 169, 142), "settimeofday": ("kernel", 164, 170),
    "add_key": ("kernel", 248, 217), "quotactl": ("kernel", 179, 60),
}  # fmt: skip
RAW_KILLED: dict[str, tuple[int, int]] = {
    "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    "connect": (42, 203), "kill": (62, 129), "ptrace": (101, 117), "unshare": (272, 97), "bpf": (321, 280),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "io_uring_setup": (425, 425),
}  # fmt: skip
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
SYSCALL = "_ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), 'syscall'), ({}, 0, 0, 0, 0, 0, 0))"


def number_of(row: tuple[int, ...]) -> int:
    if COLUMN is None:
        pytest.skip(f"no numbers of system calls for {platform.machine()} in this test")
    return row[COLUMN]


@pytest.fixture(scope="module")
def refused_calls(active: dict[str, bool]) -> int:
    """All of them in one child; a bit for each that was let through."""
    need(active, "system calls")
    calls = [f"result |= ({SYSCALL.format(number_of(row[1:]))} != -1) << {bit}" for bit, row in enumerate(RAW.values())]
    outcome = run_attack("\n".join(calls))
    assert (outcome.status, outcome.detail) == ("completed", "")
    return outcome.results[0].bits


@pytest.mark.parametrize("name", RAW)
def test_system_calls_of_every_class_are_refused(name: str, refused_calls: int) -> None:
    assert not refused_calls >> list(RAW).index(name) & 1, f"{name} was let through ({RAW[name][0]})"


@pytest.mark.parametrize("name", RAW_KILLED)
def test_what_only_an_attacker_needs_kills(name: str, active: dict[str, bool]) -> None:
    need(active, "system calls")
    outcome = run_attack(SYSCALL.format(number_of(RAW_KILLED[name])))
    assert (outcome.status, outcome.failure) == ("failed", FailureReason.CRASH_OR_PANIC)
    assert "system call" in outcome.detail


def test_system_calls_of_the_x32_abi_are_refused(active: dict[str, bool]) -> None:
    """The same numbers with bit 30 set reach the same kernel functions on x86-64."""
    need(active, "system calls")
    if COLUMN != 0:
        pytest.skip(f"x32 is an ABI of x86-64, this is {platform.machine()}")
    assert run_attack(f"result = {SYSCALL.format(39 | 1 << 30)} == -1").results[0].bits == 1


async def test_no_other_process_of_the_user_looks_into_a_child(active: dict[str, bool]) -> None:
    """What the kernel hides belongs to root, whoever runs the process."""
    need(active, "memory hidden")
    assert os.stat("/proc/self/environ").st_uid == os.geteuid()  # one that doesn't hide
    async with lone_child() as (children, child):
        secrets = Path(f"/proc/{child.process.pid}/environ")
        # The fork returns before the child has entered the jail; root's guests are another user's by then.
        await until(lambda: b"Uid:\t0\t" not in secrets.with_name("status").read_bytes(), "it is not root")
        await until(lambda: secrets.stat().st_uid == 0, "the child hides")
        assert os.geteuid() == 0 or not os.access(secrets, os.R_OK)
        await children.put_away(child)


ALONE = """
import sys
sys.path.insert(0, {root!r})
import os, resource, signal
from icn_lite.sandbox.jail import Jail, JailLimits
if {nobody} and os.geteuid() == 0:  # root is exempt from the limit of processes
    os.setresuid(65534, 65534, 65534)
jail = Jail(executable_memory=False)
jail._filter = b""
read_end, write_end = os.pipe()
jail.enter(write_end, os.getppid())
scratch = os.memfd_create("scratch")
jail.close(JailLimits(1, 10, 0))
"""


def alone(code: str, *, nobody: bool = False) -> subprocess.CompletedProcess[bytes]:
    """The same jail without the filter, in a process of its own."""
    script = ALONE.format(root=str(ROOT), nobody=nobody) + code
    command = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, env={})


@pytest.mark.parametrize(
    ("layer", "code"),
    [
        ("files opened", "try:\n    os.open('/', os.O_RDONLY)\nexcept OSError as e:\n    os._exit(e.errno)"),  # EMFILE
        ("address space", "try:\n    bytearray(1 << 30)\nexcept MemoryError:\n    os._exit(24)"),
        ("processes", "try:\n    os.fork() or os._exit(0)\nexcept OSError as e:\n    os._exit(24)"),
        ("core dumps", "os._exit(24 if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0) else 1)"),
        ("file size", "try:\n    os.write(scratch, b'x')\nexcept OSError as e:\n    os._exit(e.errno - 3)"),  # EFBIG
        ("not root", "try:\n    os.setresuid(0, 0, 0)\nexcept PermissionError:\n    os._exit(24)"),
        ("environment", "os._exit(24 if not set(os.environ) - {'LC_CTYPE', 'LD_LIBRARY_PATH'} else 1)"),
        ("memory hidden", "os._exit(24 if jail._prctl.get(3) == 0 else 1)"),
        ("no new privileges", "os._exit(24 if jail._prctl._address and __import__('_ctypes').call_function("
         "jail._prctl._address, (39, 0, 0, 0, 0)) == 1 else 1)"),
    ],
)  # fmt: skip
def test_limits_hold_without_the_filter(layer: str, code: str, active: dict[str, bool]) -> None:
    nobody = layer == "processes"
    if not nobody:
        need(active, layer)
    done = alone(code, nobody=nobody)
    assert done.returncode == 24, done.stderr


def test_a_crash_leaves_no_core() -> None:
    """The wait status says whether a copy of the memory was written."""
    script = (
        "import resource\nresource.setrlimit(resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE)[1:] * 2)\n"
    )
    script += ALONE.format(root=str(ROOT), nobody=False) + "os.kill(os.getpid(), signal.SIGSEGV)"
    arguments = [sys.executable, "-I", "-S", "-c", script]
    _, status = os.waitpid(os.posix_spawn(sys.executable, arguments, {}), 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)


def test_root_without_capabilities_stays_and_says_so() -> None:
    """A root that could not kill another user's process must not make its guests another user's."""
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from icn_lite.sandbox import jail
jail._holds = lambda *_: False
posix = jail.posix
class Root:
    def __getattr__(self, name): return getattr(posix, name)
    geteuid = staticmethod(lambda: 0)
    setresuid = None
jail.posix = Root()
_, active, why = jail.Jail(executable_memory=False)._give_up_root()
assert not active and "capabilities" in why, why
"""
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("machine", "answers", "words"),
    [
        ("riscv64", {}, "no filter is known for this processor (riscv64)"),
        ("x86_64", {"available": False}, "can't call prctl"),
        ("x86_64", {"asked": -1}, "CONFIG_SECCOMP"),
        ("x86_64", {"asked": 0}, "forbids it to applications"),
    ],
)
def test_a_device_without_the_filter_says_why(machine: str, answers: dict[str, int], words: str) -> None:
    """The kernels that this suite can't run on, played by a prctl of their answers."""

    class Refusing:
        available = answers.get("available", True)

        def call(self, *_: object) -> bool:
            return False

        def get(self, _: int) -> int:
            return answers.get("asked", -1)

        def seccomp(self, _: bytes) -> bool:
            return False

    jail = Jail(executable_memory=False)
    jail._prctl = Refusing()  # type: ignore[assignment]
    if machine == "riscv64":
        jail._filter = b""
        words = words.replace("riscv64", platform.machine())
    name, active, why = jail._filters()
    assert (name, active) == ("system calls", False)
    assert words in why


def test_the_timer_kills_without_the_filter() -> None:
    assert alone("while True: pass").returncode == -signal.SIGPROF


def test_processor_time_kills_without_the_timer() -> None:
    """The timer taken away, RLIMIT_CPU is what is left."""
    code = "import _signal\n_signal.setitimer(_signal.ITIMER_PROF, 0)\nresource.setrlimit(resource.RLIMIT_CPU, (1, 2))\nwhile True: pass"  # fmt: skip # noqa: E501
    assert alone(code).returncode == -signal.SIGXCPU
