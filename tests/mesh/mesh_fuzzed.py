"""A guarded endpoint in a process of its own, to be fuzzed: what its memory is can be asked, what it logs is stderr.

Prints its port, then for each line that comes in its resident memory in KiB and how often it refused what. All bounds
are the usual ones but the rates: what comes is looked at and not turned away unread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections import Counter
from pathlib import Path

import mesh_samples as samples
from mesh_members import member
from mesh_samples import Node

from icn_lite.mesh.endpoint import Endpoint, EndpointConfig
from icn_lite.mesh.limits import MeshLimits
from icn_lite.model.cid import Cid

MANY = 10**6
LIMITS = MeshLimits(requests_per_s=MANY, requests_per_s_strangers=MANY, requests_per_s_peer=MANY, burst=MANY)


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    node = Node(blocks={Cid.of_raw(samples.BLOCK): samples.BLOCK})
    endpoint = Endpoint(EndpointConfig("127.0.0.1", 0, LIMITS, member(node.signer)), node)
    await endpoint.start()
    print(endpoint.port, flush=True)
    refused = Counter[str]()
    while await asyncio.to_thread(sys.stdin.readline):
        node.heard.clear()  # what the tests' node notes is not the endpoint's
        node.remotes.clear()
        refused.update(node.refused)
        node.refused.clear()
        print(resident_kib(), json.dumps(refused), flush=True)
    await endpoint.close()


if __name__ == "__main__":
    asyncio.run(main())
