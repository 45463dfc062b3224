"""What a running node says of itself, where one runs on the home; commands that look work without it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from icn_lite.cli.output import Json

if TYPE_CHECKING:
    from icn_lite.node.home import Home

ANSWER_S: Final = 5.0  # it answers from memory; a busy Pi may take a second


def ask_node(home: Home, command: str, **fields: str) -> Json:
    """The node's answer; None when none runs, or it doesn't know, or it is too busy to say."""
    if not home.control_socket.exists():
        return None
    from icn_lite.model.errors import IcnLiteError
    from icn_lite.node.control import ask

    try:
        return ask(home.control_socket, {**fields, "command": command}, timeout_s=ANSWER_S)
    except IcnLiteError:
        return None
