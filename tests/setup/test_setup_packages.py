"""Missing system packages: installed where that is allowed, else the exact line to type."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
from collections.abc import Callable

import pytest
from setup_checkout import LIMIT_S, Checkout

Breaks = Callable[[str], None]
ROOT, USER = "echo 0", "echo 1000"


@pytest.fixture
def no_venv(checkout: Checkout, broken_python: Breaks) -> Checkout:
    """A user's machine whose Python has no venv module, as Debian's without python3-venv."""
    broken_python("ensurepip")
    checkout.replace("id", USER)
    checkout.replace("apt-get", "echo apt output")
    return checkout


def apt_calls(checkout: Checkout) -> list[str]:
    return [call for call in checkout.calls if call.startswith(("apt-get", "pkg"))]


def test_no_right_to_install_prints_the_line(no_venv: Checkout) -> None:
    done = no_venv.run("demo", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    line = done.stderr.splitlines()[-1]
    assert "type this, then start again: su -c 'apt-get update && apt-get install -y python3." in line
    assert "-venv" in line
    assert not apt_calls(no_venv)


def test_sudo_without_a_terminal_is_not_asked(no_venv: Checkout) -> None:
    no_venv.replace("sudo")
    done = no_venv.run("demo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "type this, then start again: sudo apt-get update && sudo apt-get install -y python3." in done.stderr
    assert not any(call.startswith("sudo") for call in no_venv.calls)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_yes_lets_sudo_install_without_a_terminal(no_venv: Checkout, how: str) -> None:
    no_venv.replace("sudo", '[ "$1" = -n ] && shift\nexec "$@"')
    done = no_venv.run("--yes") if how == "option" else no_venv.run(ICN_SETUP_YES="1")
    assert json.loads(done.stdout)["arguments"] == ["demo"], "what apt-get says goes to stderr"
    assert "apt output" in done.stderr
    update, install = apt_calls(no_venv)
    assert update.endswith("-q update")
    assert "install --no-install-recommends python3." in install


def test_yes_with_a_sudo_that_wants_a_password_prints_the_line(no_venv: Checkout) -> None:
    no_venv.replace("sudo", "exit 1")
    done = no_venv.run("--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert "type this, then start again: sudo apt-get update" in done.stderr
    assert not apt_calls(no_venv)


def _read_out(terminal: int) -> str:
    """All that was written to a terminal whose other side is closed: it comes in pieces and ends with EIO."""
    pieces = []
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    return b"".join(pieces).decode()


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("n", False), ("", False)])
def test_one_question_on_a_terminal(no_venv: Checkout, answer: str, installs: bool) -> None:
    no_venv.replace("sudo", 'exec "$@"')
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [str(no_venv.top / "tools" / "run")], env=no_venv.environment(), stdin=theirs, stdout=subprocess.PIPE,
            stderr=theirs, text=True,
        )  # fmt: skip
        os.write(ours, f"{answer}\n".encode())
        process.communicate(timeout=LIMIT_S)
        os.close(theirs)
        shown = _read_out(ours)
    finally:
        os.close(ours)
    assert shown.count("install them with sudo now? [y/N]") == 1
    assert bool(apt_calls(no_venv)) == installs
    assert installs or "type this, then start again: sudo apt-get update" in shown


def test_root_installs_at_once(no_venv: Checkout) -> None:
    no_venv.replace("id", ROOT)
    no_venv.run()
    assert len(apt_calls(no_venv)) == 2


def test_a_failed_installation_prints_the_line(no_venv: Checkout) -> None:
    no_venv.replace("id", ROOT)
    no_venv.replace("apt-get", "exit 100")
    done = no_venv.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert "type: apt-get update && apt-get install -y python3." in done.stderr


def test_no_python_at_all_asks_for_everything_at_once(checkout: Checkout) -> None:
    checkout.remove("python3")
    checkout.replace("id", USER)
    checkout.replace("apt-get")
    done = checkout.run()
    assert done.returncode == 1
    assert "apt-get install -y python3 python3-venv gcc libc6-dev python3-dev" in done.stderr


def test_an_old_python_counts_as_none(checkout: Checkout, broken_python: Breaks) -> None:
    broken_python("version_info")
    checkout.replace("id", USER)
    checkout.replace("apt-get")
    assert "Python 3.11 or newer: python3 python3-venv" in checkout.run().stderr


def test_a_missing_compiler_is_asked_for_when_something_has_to_be_compiled(
    checkout: Checkout, broken_python: Breaks
) -> None:
    broken_python("compiles")
    checkout.replace("id", USER)
    checkout.replace("apt-get")
    assert checkout.run("x").returncode == 0, "nothing to compile, nothing to ask for"
    (checkout.top / "pyproject.toml").write_text(
        '[project]\ndependencies = ["pywasm3==0.5.0"]\n[dependency-groups]\n', encoding="utf-8"
    )
    real = checkout.venv / "bin" / "python"
    target = real.rename(real.with_name("python-itself"))  # it stays in the environment, with the packages there
    real.write_text(
        f'#!/bin/sh\ncase "$*" in *compiles*) exit 1 ;; *"pip install"*) exit 1 ;; esac\nexec "{target}" "$@"\n',
        encoding="utf-8",
    )
    real.chmod(0o755)
    done = checkout.run("x")
    assert done.returncode == 1
    assert "compiling what has no ready-made build" in done.stderr
    assert "apt-get install -y gcc libc6-dev" in done.stderr


def test_a_system_with_another_package_manager(no_venv: Checkout) -> None:
    no_venv.remove("apt-get")
    done = no_venv.run()
    assert done.returncode == 1
    assert "install these (Debian's names) with your own package manager" in done.stderr


def test_termux_uses_pkg_and_its_own_names(checkout: Checkout) -> None:
    checkout.remove("python3")
    checkout.replace("pkg")
    done = checkout.run(TERMUX_VERSION="0.118")
    assert done.returncode == 1, "the replaced pkg brings no Python"
    assert apt_calls(checkout) == [
        "pkg install -y python python-pip clang make libffi libsodium python-psutil"
    ]


def test_32_bit_arm_gets_libffi_and_libsodium(checkout: Checkout) -> None:
    checkout.remove("python3")
    checkout.replace("dpkg", "echo armhf")
    checkout.replace("id", USER)
    checkout.replace("apt-get")
    assert "python3-dev libffi-dev libsodium-dev" in checkout.run().stderr
