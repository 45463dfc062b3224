"""Receipts as files: exported, read by another implementation, imported with every check; forks and anchors shown."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import dag_cbor
import pytest

sys.path.append(str(Path(__file__).parents[1] / "store"))

from store_samples import chain_of, receipt_of, signer_of

from icn_lite.model import document
from icn_lite.model.anchor import AnchorAck
from icn_lite.model.cid import Cid
from icn_lite.node.car import encode_header, encode_section, read_car
from icn_lite.node.home import Home
from icn_lite.node.keys import create_key
from icn_lite.store.db import Store
from icn_lite.store.receipts import ChainLink

if TYPE_CHECKING:
    from conftest import Program

EXECUTOR, ANCHOR = signer_of(5), signer_of(6)
CHAIN = chain_of(EXECUTOR, 5)
ACK = document.seal(AnchorAck(ANCHOR.did, EXECUTOR.did, 2, CHAIN[2].cid), ANCHOR)


@pytest.fixture
def home_here(home: Path) -> Path:
    """A home that names the anchor."""
    made = Home(home)
    made.create()
    create_key(made.key, None)
    made.config.write_text(f'anchors = ["{ANCHOR.did}"]\n')
    return home


@pytest.fixture
def filled(home_here: Path) -> Path:
    with Store.open(home_here) as store:
        for sealed in CHAIN:
            store.receipts.put_sealed(sealed)
        store.acks.put(ACK)
    return home_here


def car(path: Path, blocks: list[bytes]) -> Path:
    sections = b"".join(encode_section(Cid.of_dag_cbor(block), block) for block in blocks)
    path.write_bytes(encode_header([]) + sections)
    return path


def test_what_is_exported_is_imported_elsewhere(icn: Program, filled: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "out.car", tmp_path / "other"
    made = icn("receipts", "export", file, "--json").json
    assert (made["receipts"], made["acks"], made["blocks"]) == (5, 1, 0)
    shutil.copytree(filled, other)
    (other / "node.db").unlink()
    done = icn("receipts", "import", file, "--home", other, "--json").json
    counts = {"receipts": 5, "acks": 1, "known": 0, "refused": 0, "forks": 0, "others": 0}
    assert {name: done[name] for name in counts} == counts
    again = icn("receipts", "import", file, "--home", other, "--json").json
    assert (again["receipts"], again["acks"], again["known"]) == (0, 0, 6)
    listed = icn("receipts", "--home", other, "--json").json
    assert [row["anchored"] for row in listed["receipts"]] == [True, True, True, False, False]
    assert listed["pending"] == 2
    told = icn("receipts", "--home", other)
    assert told.out.count("pending") == 2
    assert icn("receipts", "verify", file, "--json").json["count"] == 5  # the acknowledgement is no receipt
    (ack,) = icn("receipts", "acks", "--home", other, "--json").json["acks"]
    assert (ack["anchor"], ack["executor"], ack["seq"]) == (str(ANCHOR.did), str(EXECUTOR.did), 2)
    assert ANCHOR.did.short in icn("receipts", "acks", "--home", other).out


def test_another_implementation_reads_the_file(icn: Program, filled: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.car"
    icn("receipts", "export", file)
    with file.open("rb") as stream:
        blocks = dict(read_car(stream))
    for cid, block in blocks.items():
        _, unprotected, payload, signature = dag_cbor.decode(block)  # type: ignore[misc]
        assert (unprotected, len(signature)) == ({}, 64)
        assert dag_cbor.decode(payload)["v"] == 1  # type: ignore[index, call-overload]
        assert Cid.of_dag_cbor(block) == cid


def test_ipfs_tools_read_the_file(icn: Program, filled: Path, tmp_path: Path) -> None:
    modules = os.environ.get("ICN_TEST_NPM")
    if not modules or not (Path(modules) / "@ipld" / "car").is_dir():
        pytest.skip("npm's @ipld/car is missing: ICN_TEST_NPM names no node_modules that has it")
    file = tmp_path / "out.car"
    icn("receipts", "export", file)
    script = """
        const { CarReader } = await import(process.argv[3])
        import { readFileSync } from 'fs'
        const car = await CarReader.fromBytes(readFileSync(process.argv[2]))
        const found = []
        for await (const { cid, bytes } of car.blocks()) found.push([cid.toString(), bytes.length])
        const roots = (await car.getRoots()).map(String)
        console.log(JSON.stringify({ roots, found }))
    """
    library = Path(modules).resolve() / "@ipld" / "car" / "src" / "index.js"
    program = tmp_path / "read.mjs"
    program.write_text(script)
    done = subprocess.run(
        ["node", str(program), str(file), str(library)], capture_output=True, text=True, timeout=60, check=True
    )
    told = json.loads(done.stdout)
    assert told["roots"] == [str(CHAIN[-1].cid)]
    assert told["found"] == [[str(one.cid), len(one.block)] for one in (*CHAIN, ACK)]


def test_what_does_not_hold_ends_the_import_and_what_is_no_receipt_is_passed_over(
    icn: Program, home_here: Path, tmp_path: Path
) -> None:
    forged = CHAIN[1].block[:-1] + bytes([CHAIN[1].block[-1] ^ 1])
    assert icn("receipts", "import", car(tmp_path / "forged.car", [CHAIN[0].block, forged])).code == 8
    with Store.open(home_here) as store:
        assert store.receipts.count() == 0
    stranger = document.seal(AnchorAck(signer_of(9).did, EXECUTOR.did, 2, CHAIN[2].cid), signer_of(9))
    mixed = car(tmp_path / "mixed.car", [CHAIN[0].block, dag_cbor.encode({"a": 1}), stranger.block])
    done = icn("receipts", "import", mixed, "--json").json
    assert (done["receipts"], done["acks"], done["known"], done["others"]) == (1, 0, 1, 1)
    whole = mixed.read_bytes()
    (tmp_path / "cut.car").write_bytes(whole[:-10])
    (tmp_path / "bent.car").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for name in ("cut.car", "bent.car"):
        assert icn("receipts", "import", tmp_path / name).code == 8
    assert icn("receipts", "import", tmp_path / "absent.car").code == 2
    with Store.open(home_here) as store:
        assert store.receipts.count() == 1


def test_a_fork_that_a_file_brings_is_told(icn: Program, filled: Path, tmp_path: Path) -> None:
    fork = receipt_of(EXECUTOR, ChainLink(3, CHAIN[2].cid), shard=99)
    assert icn("receipts", "forks", "--json").json == {"forks": []}
    done = icn("receipts", "import", car(tmp_path / "fork.car", [fork.block]))
    assert "1 forks were found" in done.err
    (told,) = icn("receipts", "forks", "--json").json["forks"]
    assert (told["executor"], told["seq"], told["kind"]) == (str(EXECUTOR.did), 3, "fork")
    assert set(told["receipts"]) == {str(CHAIN[3].cid), str(fork.cid)}
    assert EXECUTOR.did.short in icn("receipts", "forks").out


def test_a_length_that_is_too_long_is_refused() -> None:
    from icn_lite.model.errors import DocumentError

    for data in (b"\xff" * 9, b"\xff" * 20, b"\x80"):
        with pytest.raises(DocumentError):
            list(read_car(io.BytesIO(data)))
