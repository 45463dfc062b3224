"""Cooperatives as people have them: made, listed, invited to, joined, left; with a running node and without."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icn_lite.cli import main as cli
from icn_lite.cli.invite import RESET, WHITE_ON_BLACK, grouped, qr_code
from icn_lite.model.cose import KeySigner
from icn_lite.model.invitation import Invitation
from icn_lite.node.fleet import Fleet, FleetNode, fleet

if TYPE_CHECKING:
    from conftest import Program

STRANGER = str(KeySigner(b"\x05" * 32).did)
PATIENCE_S = 90


def run(home: Path, *words: str, code: int = 0) -> Any:
    """One command on a home, in a process of its own as `join` needs one."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("ICN_LITE")}
    done = subprocess.run(
        [sys.executable, "-m", "icn_lite.cli", "--home", str(home), *words, "--json"],
        capture_output=True, timeout=PATIENCE_S, check=False, env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == code, done.stderr.decode() + done.stdout.decode()
    return json.loads(done.stdout)


def test_init_makes_a_cooperative_of_its_own(icn: Program) -> None:
    made = icn("init", "--json").json["cooperative"]
    (row,) = icn("coop", "list", "--json").json["cooperatives"]
    assert (row["name"], row["cooperative"]) == (made["name"], made["did"]) == ("home", made["did"])
    assert row["roles"] == ["execute", "submit", "bridge", "admin"]
    assert (row["holds_key"], row["state"]) == (True, "member")
    assert "home" in icn("coop", "list").out


def test_cooperatives_are_made_and_named_once(icn: Program) -> None:
    icn("init")
    made = icn("coop", "create", "village", "--json").json
    assert made["name"] == "village"
    assert len(made["fingerprint"]) == 32
    assert icn("coop", "create", "village").code == 2
    for name in ("", "x" * 33, " x", "a\nb"):
        assert icn("coop", "create", name).code == 2
    assert [row["name"] for row in icn("coop", "list", "--json").json["cooperatives"]] == ["home", "village"]


def test_a_membership_is_renewed_by_a_running_node_alone(icn: Program) -> None:
    icn("init")
    refused = icn("coop", "renew", "--coop", "home", "--json")
    assert refused.code == 2
    assert "no node runs" in refused.json["error"]["message"]


def test_a_cooperative_outlives_the_home_that_made_it(icn: Program, tmp_path: Path) -> None:
    """Its key goes by a sealed copy to another home, where it opens by its passphrase alone."""
    icn("init")
    made = icn("coop", "create", "village", "--json").json
    copy, words, wrong = tmp_path / "village.key", tmp_path / "words", tmp_path / "wrong"
    words.write_text("correct horse\n", encoding="utf-8")
    wrong.write_text("battery staple\n", encoding="utf-8")
    told = icn("coop", "export", str(copy), "--coop", "village", "--passphrase-file", str(words), "--json").json
    assert (told["cooperative"], copy.stat().st_mode & 0o777) == (made["cooperative"], 0o600)
    again = icn("coop", "export", str(copy), "--coop", "village", "--passphrase-file", str(words))
    assert again.code == 1  # a file that is there is never replaced
    other = tmp_path / "other"
    run(other, "init")
    args = ("coop", "import", str(copy), "--passphrase-file")
    assert run(other, *args, str(wrong), "--name", "village", code=2)["error"]["kind"] == "usage"
    assert "--name" in run(other, *args, str(words), code=2)["error"]["hint"]
    taken = run(other, *args, str(words), "--name", "village")
    assert (taken["cooperative"], taken["holds_key"], taken["state"]) == (made["cooperative"], True, "member")
    assert "admin" in taken["roles"]
    assert run(other, *args, str(words))["name"] == "village"  # once more: it is known by now


def test_an_invitation_is_read_from_standard_input(icn: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token on the command line is every local user's to read."""
    icn("init")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"icn://10.0.0.1:1/join?f=x\n")))
    refused = icn("join", "-")
    assert (refused.code, "icn://HOST:PORT/join?f" in refused.err) == (2, True), refused.err


def test_putting_out_without_a_running_node(icn: Program) -> None:
    icn("init")
    answer = icn("coop", "revoke", STRANGER, "--json").json
    assert (answer["member"], answer["name"]) == (STRANGER, "home")
    assert icn("coop", "list", "--json").json["cooperatives"][0]["revoked"] == 1
    assert "no member of home" in icn("coop", "revoke", STRANGER).out
    assert icn("coop", "revoke", "nobody").code == 2
    assert icn("coop", "revoke", STRANGER, "--coop", "nowhere").code == 2


def test_an_invitation_needs_the_node_to_run(icn: Program) -> None:
    icn("init")
    refused = icn("invite")
    assert refused.code == 7
    assert "icn-lite up" in refused.err


def test_what_is_no_invitation_is_refused_before_anything_is_asked(icn: Program) -> None:
    refused = icn("join", "icn://10.0.0.1:1/join?f=x")
    assert refused.code == 2
    assert "icn-lite invite" in refused.err


def test_the_qr_code_is_read_as_drawn() -> None:
    lines = qr_code(
        "icn://192.168.1.20:5683/join?f=Psapa8bkcXkYvtjTvdX-YQ&t=sVywTJrHDBEqB92PjFly8Q&n=home"
    ).splitlines()
    assert all(line.startswith(WHITE_ON_BLACK) and line.endswith(RESET) for line in lines)
    bare = [line[len(WHITE_ON_BLACK) : -len(RESET)] for line in lines]
    assert {len(line) for line in bare} == {len(bare[0])}
    assert len(bare[0]) <= 60  # it fits a phone's terminal
    assert set("".join(bare)) <= set("█▀▄ ")
    assert bare[0] == "█" * len(bare[0])  # the quiet zone
    assert grouped("3ec6a96b") == "3ec6 a96b"


@pytest.mark.parametrize("running", [False, True])
def test_from_an_invitation_to_peers_and_out_again(tmp_path: Path, running: bool) -> None:
    with fleet(tmp_path) as nodes, fleet(tmp_path) as others:  # each in a cooperative of its own
        host = nodes.start("host", "submit", "server", ("--no-mdns",))
        nodes.wait_ready()
        home = tmp_path / "joining"
        run(home, "init")
        guest = begin(others, "joining") if running else None
        made = run(host.home.path, "invite", "--coop", "fleet", "--role", "admin", code=2)
        assert "holds the cooperative's key" in made["error"]["message"]
        run(host.home.path, "coop", "create", "village")
        made = run(host.home.path, "invite", "--role", "execute", "--minutes", "5", "--coop", "village")
        assert Invitation.parse(made["uri"]).addresses == (f"127.0.0.1:{host.port}",)
        joined = run(home, "join", made["uri"])
        assert (joined["name"], joined["roles"], joined["holds_key"]) == ("village", ["execute"], False)
        assert joined["fingerprint"] == made["fingerprint"]
        assert run(tmp_path / "third", "join", made["uri"], code=7)["error"]["kind"] == "peer_refused"
        guest = guest or begin(others, "joining")
        peers = wait_for_peers(guest, 1)
        assert (peers[0]["did"], peers[0]["found"], peers[0]["live"]) == (host.did, "invited", True)
        assert [row["did"] for row in wait_for_peers(host, 1)] == [guest.did]
        told = run(host.home.path, "coop", "revoke", guest.did, "--coop", "village")
        assert told["member"] == guest.did
        assert wait_for_peers(host, 0) == []
        assert run(home, "doctor")["ok"] is True


def begin(nodes: Fleet, name: str) -> FleetNode:
    """Start a node on a home that was made by hand: it keeps its own cooperatives beside the fleet's."""
    nodes.start(name, "execute", "server", ("--no-mdns",))
    nodes.wait_ready()
    return nodes.nodes[-1]


def wait_for_peers(node: FleetNode, count: int) -> list[dict[str, Any]]:
    """The peers once there are so many; the node's own waiting is used, never a sleep."""
    rows: Any = []
    for _ in range(600):
        rows = node.control.ask("peers")
        if len(rows) == count and all(row["live"] for row in rows):
            return list(rows)
        node.control.ask("greet", {"uris": []})
    raise AssertionError(f"expected {count} peers, found {rows}")


def test_examples_name_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["invite"], ["join"], ["coop"], ["coop", "revoke"]):
        assert cli.run([*words, "--help"]) == 0
        assert f"icn-lite {' '.join(words)}" in capsys.readouterr().out
