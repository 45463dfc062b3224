"""The room's README says what the code says; run with ICN_LITE_WRITE_README=1 to write its tables anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

from icn_lite.cli import main as cli
from icn_lite.model import errors
from icn_lite.node.config import OPTIONS, Config

README = Path(cli.__file__).with_name("README.md")
BEGIN, END = "<!-- settings: drawn from node/config.py -->\n", "<!-- end -->"


def settings_table() -> str:
    defaults = Config()
    lines = ["| setting | option | variable | meaning | default |", "| --- | --- | --- | --- | --- |"]
    for option in OPTIONS:
        value = getattr(defaults, option.name)
        shown = getattr(value, "value", value)
        if isinstance(value, tuple):
            shown = ", ".join(str(getattr(item, "value", item)) for item in value)
        default = (
            {True: "true", False: "false", None: ""}.get(shown, shown)
            if not isinstance(shown, int) or isinstance(shown, bool)
            else shown
        )
        lines.append(f"| `{option.name}` | `{option.flag}` | `{option.variable}` | {option.help} | {default} |")
    return "\n".join(lines) + "\n"


def test_the_settings_table_is_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    drawn, after = rest.split(END)
    if os.environ.get("ICN_LITE_WRITE_README"):
        README.write_text(before + BEGIN + settings_table() + END + after, encoding="utf-8")
    assert drawn == settings_table()


def test_the_exit_codes_are_those_of_the_errors() -> None:
    listed = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", README.read_text(encoding="utf-8"))}
    raised = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.IcnLiteError)
    }
    assert raised <= listed
    assert {0, 4, 5, 130} <= listed
