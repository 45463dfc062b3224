"""The settings of a node as options of a command: one option for each row of `node/config.py`'s table.

A command that takes them has `**settings: Words` and calls `load_config(home.config, app.environ, settings)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import click

from icn_lite.node.config import OPTIONS, Option, kind_of

F = TypeVar("F", bound=Callable[..., Any])
Words: TypeAlias = str | tuple[str, ...] | None


def node_options(function: F) -> F:
    """Give a command every setting; each help names its variable."""
    for option in reversed(OPTIONS):
        function = _option(option)(function)
    return function


def _option(option: Option) -> Callable[[F], F]:
    kind = kind_of(option.name)
    text = f"{option.help[0].upper()}{option.help[1:]}.  [env: {option.variable}]"
    if kind == "flag":
        return click.option(option.flag, option.name, default=None, callback=_flag_word, help=text)
    return click.option(option.flag, option.name, metavar=option.metavar, multiple=kind == "list", help=text)


def _flag_word(context: click.Context, parameter: click.Parameter, value: bool | None) -> str | None:
    """As the words of all other sources are read: in one place."""
    return None if value is None else str(value).lower()
