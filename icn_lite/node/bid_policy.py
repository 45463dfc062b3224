"""The owner's own word on a bid: a command that gets JSON and answers JSON before anything is offered.

It sees the job, the bid that the node would make, and the device. It may forbid the bid or set another price. Whatever
else it does (no answer in time, no JSON, an unknown key, a price over what the job pays) is a no: a policy that broke
must not lend a device.

In:   {"version": 1, "job": {"id", "name", "submitter", "shards", "max_fuel", "memory_pages", "timeout_ms",
      "deadline", "price_limit"}, "bid": {"price", "completion_ms", "max_shards"},
      "device": {"profile", "allowance", "duty_pm", "battery_pct", "headroom_pm", "open_shards"}}
Out:  {"bid": true}, {"bid": true, "price": 12}, or {"bid": false, "reason": "only for friends"}
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Final

from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.market.match import Refusal
from icn_lite.market.price import price_limit
from icn_lite.model.bid import Bid
from icn_lite.model.errors import JobErrorCode
from icn_lite.model.job import JobSpec, WasmRuntime
from icn_lite.work.bidding import BidderView

ANSWER_MS: Final = 2_000  # within the bidding time of any sensible job; a policy decides, it doesn't compute
MAX_REASON_CHARS: Final = 200
VERSION: Final = 1


async def ask(command: tuple[str, ...], job: JobSpec, bid: Bid, view: BidderView) -> Bid | Refusal:
    """The bid as the owner's command lets it pass, or why not. Without a command every bid passes."""
    if not command:
        return bid
    question = json.dumps(_question(job, bid, view), ensure_ascii=True).encode()
    try:
        answer = await asyncio.to_thread(run_command, command, ANSWER_MS, question)
    except CommandFailed as failure:
        return _no(f"the bid policy gave no answer: {failure}")
    return judge(answer, job, bid)


def judge(answer: bytes, job: JobSpec, bid: Bid) -> Bid | Refusal:
    """What an answer means."""
    try:
        word = json.loads(answer)
    except (ValueError, RecursionError) as error:
        return _no(f"the bid policy's answer is no JSON: {str(error)[:MAX_REASON_CHARS]}")
    if not isinstance(word, dict) or not isinstance(word.get("bid"), bool) or word.keys() - {"bid", "price", "reason"}:
        return _no('the bid policy answered something else than {"bid": …, "price": …, "reason": …}')
    reason, price = word.get("reason", ""), word.get("price", bid.price)
    if not isinstance(reason, str):
        return _no("the bid policy gave a reason that is no text")
    if not word["bid"]:
        return _no(f"the bid policy said no: {reason[:MAX_REASON_CHARS] or 'without a reason'}")
    if isinstance(price, bool) or not isinstance(price, int) or not 0 <= price <= price_limit(job):
        return _no(f"the bid policy set a price that is no integer from 0 to {price_limit(job)}")
    return replace(bid, price=price)


def _question(job: JobSpec, bid: Bid, view: BidderView) -> dict[str, object]:
    capability = view.capability
    return {
        "version": VERSION,
        "job": {
            "id": str(bid.job_id),
            "name": job.name,
            "submitter": str(job.submitter),
            "shards": job.input.shards,
            "max_fuel": job.compute.max_fuel,
            "memory_pages": job.runtime.memory_pages if isinstance(job.runtime, WasmRuntime) else None,
            "timeout_ms": job.compute.timeout_ms,
            "deadline": job.deadline,
            "price_limit": price_limit(job),
        },
        "bid": {"price": bid.price, "completion_ms": bid.completion_ms, "max_shards": bid.max_shards},
        "device": {
            "profile": capability.profile,
            "allowance": capability.allowance.value,
            "duty_pm": capability.duty_pm,
            "battery_pct": capability.battery_pct,
            "headroom_pm": view.outlook.headroom_pm,
            "open_shards": view.open_shards,
        },
    }


def _no(message: str) -> Refusal:
    return Refusal(JobErrorCode.NO_EXECUTOR_AVAILABLE, "policy", message)
