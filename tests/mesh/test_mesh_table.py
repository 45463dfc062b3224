"""The table of resources: the README shows it, `/.well-known/core` tells it, its bounds hold the documents."""

from __future__ import annotations

from pathlib import Path

import mesh_samples as samples
import pytest
from aiocoap.util import linkformat

from icn_lite.mesh import table

README = Path(table.__file__).parent / "README.md"


def test_the_readme_shows_the_table() -> None:
    text = README.read_text(encoding="utf-8")
    begin, end = "<!-- table -->\n", "<!-- end of table -->"
    assert text[text.index(begin) + len(begin) : text.index(end)] == table.markdown()


def test_core_links_are_read_by_another_parser() -> None:
    links = {link.href: link for link in linkformat.parse(table.links().decode()).links}
    assert set(links) == {"/icn/hs", "/icn", "/icn/join", "/icn/membership", "/icn/revocations",
                          "/icn/ping", "/icn/cap", "/lwm2m/3/0", "/icn/jobs", "/icn/bids",
                          "/icn/leases", "/icn/leases/return",
                          "/icn/rumours", "/icn/parcels", "/icn/sync", "/rd", "/rd-lookup/ep", "/rd-lookup/res",
                          "/icn/status", "/icn/receipts", "/icn/blocks", "/icn/logs"}  # fmt: skip
    assert links["/icn/bids"].rt == ["icn.bids"]
    assert links["/icn/bids"].ct == ["18"]
    assert links["/icn/jobs"].ct == ["18 60"]
    assert links["/icn/jobs"].obs == [None]
    assert links["/lwm2m/3/0"].ct == ["112"]
    assert all(getattr(link, "if") == ["icn-lite"] for link in links.values())


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ((), 22), (("rt=icn.bids",), 1), (("rt=icn.leases*",), 2), (("href=/icn/*",), 17),
        (("if=icn-lite", "rt=icn.cap"), 1), (("rt=nothing",), 0), (("if=other",), 0), (("title=x",), 0),
    ],
)  # fmt: skip
def test_filters(query: tuple[str, ...], count: int) -> None:
    text = table.links(query).decode()
    assert len(linkformat.parse(text).links if text else []) == count


@pytest.mark.parametrize(
    "path", [(), ("ic",), ("icn", "blocks"), ("icn", "blocks", "{cid}"), ("icn", "bids", "x"), ("",)]
)
def test_paths_where_nothing_is(path: tuple[str, ...]) -> None:
    assert table.find(path) is None


def test_paths_with_a_cid() -> None:
    found = table.find(("icn", "blocks", "bafy"))
    assert found is not None
    assert found[1] == "bafy"


def test_every_row_with_a_body_says_its_form_and_every_action_has_a_row() -> None:
    assert {row.action for row in table.TABLE} == set(table.Action)
    assert all((row.takes is not None) == bool(row.body) for row in table.TABLE)
    assert all(
        row.body for row in table.TABLE if row.method != "GET" and row.path not in (table.JOIN, table.REGISTRATION)
    )


def test_the_bounds_hold_usual_documents() -> None:
    bound = {row.action: row.body for row in table.TABLE}
    assert len(samples.lease(32).block) <= bound[table.Action.LEASE]
    assert len(samples.bid().block) <= bound[table.Action.BID]
    assert len(samples.advertisement().block) <= bound[table.Action.CAPABILITY]
