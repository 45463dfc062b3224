"""What the owner may ask of syncing: take in what was brought as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icn_lite.model.errors import UsageError
from icn_lite.model.sync import Give, read_ask
from icn_lite.node.control import Command, Json

if TYPE_CHECKING:
    from icn_lite.node.node import Node


class SyncCommands:
    """The commands over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> dict[str, Command]:
        """Command names and what answers them."""
        return {"take_receipts": self.take_receipts}

    async def take_receipts(self, request: Mapping[str, Json], body: bytes) -> Json:
        """Keep the receipts and acknowledgements of one frame."""
        give = read_ask(body).ask
        if not isinstance(give, Give) or self._node.syncing is None:
            raise UsageError("expected a frame that gives receipts")
        return await self._node.syncing.take_in(give.blocks)
