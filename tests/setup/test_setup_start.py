"""tools/run and tools/test: prepare once, start at once afterwards, from anywhere, side by side, resumed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from setup_checkout import LIMIT_S, Checkout, make_checkout


def arguments_of(stdout: str) -> list[str]:
    found = json.loads(stdout)["arguments"]
    assert isinstance(found, list)
    return found


def tiny_wheel(folder: Path, version: str) -> None:
    """A package `tinydep` of one module, as pip likes it."""
    info = f"tinydep-{version}.dist-info"
    files = {
        "tinydep.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / f"tinydep-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


def test_first_start_prepares_and_tells_it_on_stderr_only(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path, template=None)
    done = checkout.run("one", "two words", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"arguments": ["one", "two words", "--json"], "program": "icn-lite"}
    assert "making it with" in done.stderr
    assert not checkout.calls


def test_without_arguments_it_is_the_demo(prepared_once: Checkout) -> None:
    assert arguments_of(prepared_once.run().stdout) == ["demo"]
    assert arguments_of(prepared_once.run("--yes").stdout) == ["demo"]
    only_a_leading_one_is_ours = prepared_once.run("status", "--yes").stdout
    assert arguments_of(only_a_leading_one_is_ours) == ["status", "--yes"]


def test_second_start_asks_nobody(prepared: Checkout) -> None:
    for name in ("apt-get", "sudo", "pkg", "flock"):
        prepared.replace(name, "exit 1")
    prepared.forbid_pip()
    done = prepared.run("again")
    assert (done.returncode, done.stderr, prepared.calls) == (0, "", [])
    assert arguments_of(done.stdout) == ["again"]


def test_works_from_any_folder_and_through_links(prepared: Checkout, tmp_path: Path) -> None:
    prepared.forbid_pip()
    (tmp_path / "link to tools").symlink_to(prepared.top / "tools")
    (tmp_path / "lite").symlink_to(tmp_path / "link to tools" / "run")
    for script in ("run", tmp_path / "link to tools" / "run", tmp_path / "lite"):
        done = prepared.run("x", script=script, cwd=Path("/"))
        assert (done.returncode, done.stderr) == (0, "")


def test_a_change_of_code_needs_no_set_up(prepared: Checkout) -> None:
    prepared.forbid_pip()
    (prepared.top / "icn_lite" / "cli" / "main.py").write_text("def main():\n    return 7\n", encoding="utf-8")
    done = prepared.run("x")
    assert (done.returncode, done.stderr, prepared.calls) == (7, "", [])


@pytest.mark.parametrize("name", ["pyproject.toml", "tools/constraints.txt", "tools/setup.sh"])
def test_a_change_of_what_is_needed_sets_up_again(prepared: Checkout, name: str) -> None:
    with (prepared.top / name).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    done = prepared.run("x")
    assert done.returncode == 0, done.stderr
    assert "preparing" in done.stderr
    assert "making it with" not in done.stderr, "the environment itself stays"
    assert prepared.run("x").stderr == ""


def test_a_failed_pip_leaves_no_stamp_and_no_output(prepared: Checkout) -> None:
    (prepared.top / "tools" / "constraints.txt").write_text("# changed\n", encoding="utf-8")
    prepared.forbid_pip()
    for _ in range(2):
        done = prepared.run("x")
        assert (done.returncode, done.stdout) == (1, "")
        assert "call this again to resume" in done.stderr


def test_what_was_left_half_installed_is_installed_again(tmp_path: Path, template: Path) -> None:
    checkout = make_checkout(tmp_path / "checkout", template, '"tinydep>=1"')
    (checkout.top / "tools" / "constraints.txt").write_text("tinydep==1.0\n", encoding="utf-8")
    tiny_wheel(tmp_path / "wheels", "1.0")
    tiny_wheel(tmp_path / "wheels", "2.0")
    checkout.environ["PIP_FIND_LINKS"] = str(tmp_path / "wheels")
    (checkout.top / "icn_lite" / "cli" / "main.py").write_text(
        "import tinydep\ndef main():\n    print(tinydep.version)\n", encoding="utf-8"
    )
    done = checkout.run()
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr  # the pinned one, not the newest
    # As a power cut in the middle leaves it: no stamp, metadata without RECORD, a file missing.
    (checkout.venv / "icn-lite" / "ready-run").unlink()
    [info] = checkout.venv.glob("lib/python*/site-packages/tinydep-1.0.dist-info")
    (info / "RECORD").unlink()
    (info.parent / "tinydep.py").unlink()
    done = checkout.run()
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr
    assert "tinydep-1.0.dist-info was left half installed" in done.stderr
    # And a file that went missing while RECORD stands.
    (checkout.venv / "icn-lite" / "ready-run").write_text("", encoding="utf-8")
    (info.parent / "tinydep.py").unlink()
    assert checkout.run().stdout == "1.0\n"


def test_an_environment_without_its_python_is_made_anew(prepared: Checkout) -> None:
    (prepared.venv / "bin" / "python").unlink()
    (prepared.venv / "bin" / "python3").unlink(missing_ok=True)
    done = prepared.run("x")
    assert done.returncode == 0, done.stderr
    assert "making it with" in done.stderr


def test_a_folder_of_somebody_else_is_left_alone(checkout: Checkout) -> None:
    precious = checkout.venv / "bin" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine", encoding="utf-8")
    cache = checkout.top.parent / "cache"
    done = checkout.run("x", XDG_CACHE_HOME=str(cache))
    assert done.returncode == 0, done.stderr
    assert "was not made by this set-up" in done.stderr
    assert precious.read_text(encoding="utf-8") == "mine"
    assert list(cache.glob("icn-lite/*/venv/bin/icn-lite"))
    assert checkout.run("x", XDG_CACHE_HOME=str(cache)).stderr == "", "the cached one starts at once too"
    refused = checkout.run("x", ICN_SETUP_VENV=str(checkout.venv))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ICN_SETUP_VENV" in refused.stderr


@pytest.mark.parametrize("flock", [True, False])
def test_two_at_once_do_the_work_once(checkout: Checkout, flock: bool) -> None:
    if not flock:
        checkout.remove("flock")
    started = [checkout.start(str(number)) for number in range(3)]
    ended = [(process, *process.communicate(timeout=LIMIT_S)) for process in started]
    for number, (process, stdout, stderr) in enumerate(ended):
        assert process.returncode == 0, stderr
        assert arguments_of(stdout) == [str(number)]
        assert "was not made by this set-up" not in stderr, "the first to come made it, just now"
    assert sum("making it with" in stderr for _, _, stderr in ended) == 1
    assert not (checkout.venv / "icn-lite" / "lock.d").exists()


def test_a_lock_whose_owner_is_gone_is_taken_over(prepared: Checkout) -> None:
    prepared.remove("flock")
    (prepared.venv / "icn-lite" / "ready-run").unlink()
    lock = prepared.venv / "icn-lite" / "lock.d"
    lock.mkdir()
    (lock / "pid").write_text("999999999\n", encoding="utf-8")  # above the kernel's largest process id
    done = prepared.run("x")
    assert done.returncode == 0, done.stderr
    assert not lock.exists()


def test_tools_test_passes_arguments_to_pytest_at_the_top(prepared: Checkout) -> None:
    [site] = prepared.venv.glob("lib/python*/site-packages")
    (site / "pytest.py").write_text("import os, sys\nprint(os.getcwd(), sys.argv[1:])\n", encoding="utf-8")
    done = prepared.run("-k", "a or b", script="test")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prepared.top} ['-k', 'a or b']\n"
    assert (prepared.venv / "oracles" / "pycose" / "bin" / "python").exists()
    prepared.forbid_pip()
    assert prepared.run(script="test").stderr == ""
    assert prepared.run("x").stderr == "", "what is ready for tests is ready to run"


def test_the_user_s_cflags_are_kept(prepared: Checkout) -> None:
    (prepared.venv / "icn-lite" / "ready-run").unlink()
    [main] = prepared.venv.glob("lib/python*/site-packages/pip/__main__.py")
    main.write_text(
        "import os, sys\nprint(os.environ['CFLAGS'])\nsys.exit('--no-index' in sys.argv)\n", encoding="utf-8"
    )
    assert "-O1 -Wno-error=incompatible-pointer-types\n" in prepared.run("x", CFLAGS="-O1").stderr


def test_python_variables_of_the_caller_do_no_harm(prepared_once: Checkout, tmp_path: Path) -> None:
    done = prepared_once.run("x", PYTHONHOME=str(tmp_path), VIRTUAL_ENV=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
