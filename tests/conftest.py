"""What every room's tests share: the pycose oracle, and the rule that CI skips nothing that it could run."""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from absent import stand_in

# Skips that stand even where ICN_TEST_NO_SKIPS=1 (as in .ci/run) turns skips into a failure:
# (pattern of the test's id, pattern of the skip's reason, why CI can't run it).
ALLOWED_SKIPS: tuple[tuple[str, str, str], ...] = (
    (
        "tests/model/test_model_spec.py::*",
        "*the specification is missing*",
        "the documents are no part of the checkout; ICN_LITE_SPEC names them",
    ),
    (
        "tests/wasm/test_wasm_suite*.py::*",
        "*no test suite at*",
        "the specification's modules are no part of the checkout either",
    ),
    (
        "tests/mesh/test_mesh_discovery.py::*",
        "*a network namespace can't be made here*",
        "a container or a chroot may forbid new namespaces",
    ),
    (
        "tests/mesh/test_mesh_avahi.py::*",
        "*a network namespace can't be made here*",
        "a container or a chroot may forbid new namespaces, and only root may start Avahi in one",
    ),
    ("tests/mesh/test_mesh_discovery.py::*", "*multicast is refused*", "a container may have no multicast"),
    ("tests/mesh/test_mesh_endpoint.py::*", "*no IPv6 loopback*", "a container may have no IPv6"),
    (
        "tests/store/test_store_transactions.py::*",
        "*may not mount a tmpfs here*",
        "a container or a chroot may forbid mounts",
    ),
)

stand_in("wasmtime")  # before the rooms' own conftest files, which import it

_unexpected = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_unexpected] = []
    config.pluginmanager.register(_SkipWatch(config), "icn-lite-skips")


class _SkipWatch:
    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.strict = os.environ.get("ICN_TEST_NO_SKIPS") == "1"

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not self.strict or not report.skipped or hasattr(report, "wasxfail"):
            return
        # A skip's long representation is (file, line, reason).
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not is_allowed_skip(report.nodeid, reason):
            self.config.stash[_unexpected].append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        passed = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if passed and self.config.stash[_unexpected]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        unexpected = self.config.stash[_unexpected]
        if unexpected:
            terminalreporter.section("skipped, though ICN_TEST_NO_SKIPS=1")
            for line in unexpected:
                terminalreporter.line(line, red=True)


def is_allowed_skip(nodeid: str, reason: str) -> bool:
    return any(fnmatchcase(nodeid, test) and fnmatchcase(reason, why) for test, why, _ in ALLOWED_SKIPS)


@pytest.fixture(scope="session")
def pycose_python() -> Path:
    """The interpreter of an environment with pycose 1.1 and cbor2 5.9 in it, to be run as a subprocess."""
    named = os.environ.get("ICN_TEST_PYCOSE_PYTHON")
    python = Path(named) if named else Path(sys.prefix) / "oracles" / "pycose" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"pycose's own environment is missing: expected {python}, which tools/test makes")
    return python
