"""The owner's bid policy: a real command is asked; whatever it does but a clear yes is a no."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from icn_lite.market.match import Refusal
from icn_lite.market.price import Prices
from icn_lite.model.bid import Bid
from icn_lite.model.capability import NodeCapability, NodeRole
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.job import Architecture, Budget, InputSpec, JobSpec, WasmRuntime
from icn_lite.model.messages import JobAnnouncementV1
from icn_lite.node import bid_policy
from icn_lite.work.bidding import BidderView, Outlook, consider

SUBMITTER = Did(bytes(31) + b"\x01")
JOB = JobSpec(
    name="job",
    submitter=SUBMITTER,
    nonce=bytes(16),
    created_at=1_000,
    runtime=WasmRuntime(Cid.of_raw(b"module")),
    input=InputSpec(data=Cid.of_raw(b"input")),
    budget=Budget(max_total=100),
    deadline=20_000,
)
CAPABILITY = NodeCapability("pi-4", (NodeRole.EXECUTE,), Architecture.ARM64, 4, 128, 160, 2, 10**9)
VIEW = BidderView(Did(bytes(31) + b"\x02"), CAPABILITY, Prices(7, 0, 0, 0), Outlook(0), bytes(16), 1_000, 0, 8, 1 << 20)


def offered() -> Bid:
    """The bid that the node would make."""
    bid = consider(JobAnnouncementV1(SUBMITTER, JOB, 5_000, (), bytes(16)), VIEW)
    assert isinstance(bid, Bid)
    return bid


def program(folder: Path, body: str) -> tuple[str, ...]:
    """A policy of the owner's, as a script."""
    path = folder / "policy.py"
    path.write_text(f"import json, sys\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (sys.executable, "-I", "-S", str(path))


async def test_without_a_command_every_bid_passes() -> None:
    assert await bid_policy.ask((), JOB, offered(), VIEW) == offered()


async def test_a_policy_sees_the_job_the_bid_and_the_device_and_may_set_the_price(tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    body = f"asked = json.load(sys.stdin)\nopen({str(seen)!r}, 'w').write(json.dumps(asked))\n"
    command = program(tmp_path, body + 'print(\'{"bid": true, "price": 99}\')')
    answer = await bid_policy.ask(command, JOB, offered(), VIEW)
    assert answer == replace(offered(), price=99)
    asked = json.loads(seen.read_text(encoding="utf-8"))
    assert asked["version"] == 1
    assert asked["job"]["id"] == str(JOB.id)
    assert asked["job"]["price_limit"] == 100
    assert asked["bid"] == {"price": 7, "completion_ms": offered().completion_ms, "max_shards": 8}
    assert asked["device"]["allowance"] == "run"


NO = {
    "it says so": ('print(\'{"bid": false, "reason": "only for friends"}\')', "said no: only for friends"),
    "no JSON": ("print('yes')", "no JSON"),
    "not an object": ("print('[true]')", "something else"),
    "an unknown key": ('print(\'{"bid": true, "prise": 3}\')', "something else"),
    "a price over what is paid": ('print(\'{"bid": true, "price": 101}\')', "no integer from 0 to 100"),
    "a price that is a truth value": ('print(\'{"bid": true, "price": true}\')', "no integer from 0 to 100"),
    "a reason that is no text": ('print(\'{"bid": false, "reason": 3}\')', "no text"),
    "a flood": ("print('x' * 10_000_000)", "printed more than"),
    "an error": ("sys.exit(3)", "ended with 3"),
    "nesting without end": ("print('[' * 60_000)", "no JSON"),
}


@pytest.mark.parametrize("case", NO)
async def test_anything_but_a_clear_yes_is_a_no(case: str, tmp_path: Path) -> None:
    body, sentence = NO[case]
    answer = await bid_policy.ask(program(tmp_path, body), JOB, offered(), VIEW)
    assert isinstance(answer, Refusal)
    assert answer.reason == "policy"
    assert sentence in answer.message


async def test_a_policy_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bid_policy, "ANSWER_MS", 300)
    answer = await bid_policy.ask(program(tmp_path, "import signal; signal.pause()"), JOB, offered(), VIEW)
    assert isinstance(answer, Refusal)
    assert "no answer in time and was killed" in answer.message


async def test_a_command_that_is_not_there_is_a_no() -> None:
    answer = await bid_policy.ask(("/nowhere/policy",), JOB, offered(), VIEW)
    assert isinstance(answer, Refusal)
    assert "No such file" in answer.message
