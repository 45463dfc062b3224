"""What only looks: status, jobs, job, peers, profile, doctor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from icn_lite.cli import doctor
from icn_lite.cli.status import lock_holder
from icn_lite.model.cid import Cid
from icn_lite.model.cose import KeySigner
from icn_lite.store.db import Store
from icn_lite.store.jobs import JobRecord, JobRole
from icn_lite.store.peers import Found, PeerRecord

if TYPE_CHECKING:
    from conftest import Program

STATUS_KEYS = {
    "did", "home", "sealed", "running", "pid", "since", "mana", "jobs", "receipts", "chain_head", "blocks",
    "block_bytes", "peers", "counters",
}  # fmt: skip


def test_status_of_a_fresh_home(icn: Program, home: Path) -> None:
    assert icn("status", "--json").code == 1
    did = icn("init", "--json").json["did"]
    answer = icn("status", "--json").json
    assert set(answer) >= STATUS_KEYS
    assert (answer["did"], answer["running"], answer["sealed"]) == (did, False, False)
    assert did in icn("status").out


def test_status_counts_what_is_stored(icn: Program, home: Path, guests: Path) -> None:
    receipt = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:2", "--json").json["receipt"]
    answer = icn("status", "--json").json
    assert answer["receipts"] == 1
    assert answer["chain_head"] == {"seq": 0, "cid": receipt}
    assert answer["blocks"] == 3  # module, job, and nothing, which is input and output
    assert answer["mana"] == 0


def test_status_while_another_process_holds_the_home(icn: Program, home: Path) -> None:
    icn("init")
    with Store.open(home):
        answer = icn("status", "--json").json
        assert (answer["running"], answer["pid"]) == (True, os.getpid())
        assert icn("jobs").code == icn("peers").code == icn("receipts").code == 0
    assert icn("status", "--json").json["running"] is False


def test_the_note_of_a_killed_process_counts_for_nothing(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(30)
    lock = tmp_path / "lock"
    for text in (f"pid={gone.pid}\nsince=x\n", "", "pid=x\n", "nonsense"):
        lock.write_text(text)
        assert lock_holder(lock) is None
    assert lock_holder(tmp_path / "absent") is None
    lock.write_text(f"pid={os.getpid()}\nsince=now\n")
    assert lock_holder(lock) == {"pid": str(os.getpid()), "since": "now"}


def test_jobs_and_job(icn: Program, home: Path, guests: Path) -> None:
    icn("init")
    assert icn("jobs", "--json").json == {"jobs": []}
    local = icn("run", guests / "add.wasm", "--invoke", "add", "i32:1", "i32:2", "--json").json
    assert icn("jobs", "--json").json == {"jobs": []}  # a local run is not listed
    job = Cid.parse(local["job"])
    with Store.open(home) as store:
        store.jobs.upsert(JobRecord(job, JobRole.ORIGINATOR, "open", job))
        store.jobs.upsert(JobRecord(Cid.of_dag_cbor(b"x"), JobRole.EXECUTOR, "leased", Cid.of_dag_cbor(b"x"), "oh"))
    listed = icn("jobs", "--json").json["jobs"]
    assert listed[0] == {
        "job": str(job), "name": "local run", "role": "originator", "status": "open", "error": None,
    }  # fmt: skip
    assert (listed[1]["name"], listed[1]["error"]) == (None, "oh")
    assert [j["role"] for j in icn("jobs", "--role", "executor", "--json").json["jobs"]] == ["executor"]
    assert str(job) in icn("jobs").out
    shown = icn("job", job.__str__(), "--json").json
    assert set(shown) >= {"job", "roles", "spec", "receipts"}
    assert shown["spec"]["runtime"]["module"] == local["module"]
    assert [r["cid"] for r in shown["receipts"]] == [local["receipt"]]
    assert local["receipt"] in icn("job", str(job)).out


def test_a_job_that_is_not_here(icn: Program) -> None:
    icn("init")
    assert icn("job", str(Cid.of_dag_cbor(b"absent"))).code == 1
    assert icn("job", "nonsense").code == 8
    assert icn("jobs", "--role", "king").code == 2


def test_peers(icn: Program, home: Path) -> None:
    icn("init")
    assert icn("peers", "--json").json == {"running": False, "peers": []}
    did = KeySigner(bytes(range(32))).did
    with Store.open(home) as store:
        store.peers.remember(PeerRecord(did, ("coap://10.0.0.7:5683",), Found.MDNS))
    (peer,) = icn("peers", "--json").json["peers"]
    assert (peer["did"], peer["endpoints"], peer["found"]) == (str(did), ["coap://10.0.0.7:5683"], "mdns")
    assert str(did) in icn("peers").out


def test_profiles(icn: Program, tmp_path: Path) -> None:
    names = [profile["name"] for profile in icn("profile", "list", "--json").json["profiles"]]
    assert {"pi-4", "termux-phone", "server"} <= set(names)
    for name in names:
        assert icn("profile", "check", name).code == 0
        assert icn("profile", "show", name, "--json").json["name"] == name
    assert "[thermal]" in icn("profile", "show", "pi-4").out
    found = icn("profile", "detect", "--json").json
    assert found["profile"] in names
    assert found["reason"]
    own = tmp_path / "mine.toml"
    own.write_text("title = 'x'\nnonsense = 1\n")
    refused = icn("profile", "check", own, "--json")
    assert refused.code != 0
    assert "nonsense" in refused.json["error"]["message"]
    assert icn("profile", "show", "absent").code != 0
    own.write_text(icn("profile", "show", "pi-4", "--toml").out.replace("quiet = []", 'quiet = ["22:00-07:30"]'))
    assert icn("profile", "show", own, "--json").json["hours"] == {"quiet": ["22:00-07:30"]}
    checked = icn("profile", "check", own, "--json").json
    assert (checked["accepted"], checked["matches"]) == (True, False)
    assert "for another device" in icn("profile", "check", own).out
    assert icn("profile", "check", found["profile"], "--json").json["matches"] is True
    assert found["facts"].keys() >= {"device_tree_model", "machine", "memory_mib"}
    assert "memory_mib" in icn("profile", "detect").out
    assert icn("init", "--profile", "absent").code != 0


def test_doctor_says_what_works(icn: Program, home: Path, tmp_path: Path) -> None:
    answer = icn("doctor", "--json").json
    topics = {finding["topic"] for finding in answer["findings"]}
    assert topics == {
        "platform", "home", "key", "settings", "profile", "membership", "sandbox", "engine", "libraries", "clock",
        "sensors", "ports", "multicast", "disk", "speed",
    }  # fmt: skip
    assert answer["ok"] is True
    assert not home.exists()  # it only looks
    states = {finding["topic"]: finding["state"] for finding in answer["findings"]}
    assert states["key"] == "warning"
    told = [finding["text"] for finding in answer["findings"] if finding["topic"] == "sensors"]
    assert "memory_total" in told[0]
    assert all(" is unknown: " in text or " doesn't answer: " in text for text in told[1:])
    secret = tmp_path / "secret"
    secret.write_text("secret")
    icn("init", "--passphrase-file", secret)
    assert "sealed by a passphrase" in icn("doctor").out


@pytest.mark.parametrize(
    ("spoil", "topic"),
    [
        (lambda home: home.chmod(0o777), "home"),
        (lambda home: (home / "key").chmod(0o644), "key"),
        (lambda home: (home / "config.toml").write_text("prot = 1\n"), "settings"),
        (lambda home: (home / "config.toml").write_text("profile = 'absent'\n"), "profile"),
    ],
)
def test_doctor_says_what_is_wrong(icn: Program, home: Path, spoil: object, topic: str) -> None:
    icn("init")
    assert callable(spoil)
    spoil(home)
    done = icn("doctor", "--json")
    assert (done.code, done.json["ok"]) == (1, False)
    wrong = [finding["topic"] for finding in done.json["findings"] if finding["state"] == "wrong"]
    assert topic in wrong
    home.chmod(0o700)


def test_doctor_notices_a_misspelt_variable(icn: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICN_LITE_PROT", "1")
    (finding,) = [f for f in icn("doctor", "--json").json["findings"] if f["topic"] == "settings"]
    assert finding["state"] == "warning"
    assert "ICN_LITE_PROT" in finding["text"]


def test_an_engine_that_is_installed_and_cannot_be_loaded() -> None:
    assert doctor._engine("x", "no_such_module_at_all", required=False).state == "ok"
    assert doctor._engine("x", "no_such_module_at_all", required=True).state == "wrong"
