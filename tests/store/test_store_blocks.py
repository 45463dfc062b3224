"""Blocks: a model of what is kept, pinned and evicted, and each refusal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from store_samples import roll_back

from icn_lite.model.cid import Cid
from icn_lite.model.errors import DiskFullError, DocumentError, StoreError
from icn_lite.store import blocks as blocks_module
from icn_lite.store.db import Store

BUDGET = 1_000
CONTENTS = [bytes([number]) * (number * 37 % 400 + 1) for number in range(12)]
content = st.sampled_from(CONTENTS)
holder = st.sampled_from(["lease:1", "lease:2"])


class BlocksMachine(RuleBasedStateMachine):
    """The store beside a list in order of use and a set of pins."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name), block_budget_bytes=BUDGET)
        self.order: list[bytes] = []
        self.pins: set[tuple[str, bytes]] = set()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def _pinned(self, data: bytes) -> bool:
        return any(pinned == data for _, pinned in self.pins)

    def _use(self, data: bytes) -> None:
        self.order.remove(data)
        self.order.append(data)

    @rule(data=content)
    def put(self, data: bytes) -> None:
        cid = Cid.of_raw(data)
        if data in self.order:
            assert not self.store.blocks.put(cid, data)
            self._use(data)
            return
        kept = sum(len(each) for each in self.order if self._pinned(each))
        if kept + len(data) > BUDGET:
            with pytest.raises(DiskFullError, match="pinned"):
                self.store.blocks.put(cid, data)
            return
        assert self.store.blocks.put(cid, data)
        for oldest in [each for each in self.order if not self._pinned(each)]:
            if sum(map(len, self.order)) + len(data) <= BUDGET:
                break
            self.order.remove(oldest)
        self.order.append(data)

    @rule(data=content)
    def get(self, data: bytes) -> None:
        found = self.store.blocks.get(Cid.of_raw(data))
        assert found == (data if data in self.order else None)
        if found is not None:
            self._use(data)

    @rule(holder=holder, chosen=st.lists(content, max_size=3))
    def pin(self, holder: str, chosen: list[bytes]) -> None:
        self.store.blocks.pin(holder, [Cid.of_raw(data) for data in chosen])
        self.pins |= {(holder, data) for data in chosen}

    @rule(holder=holder)
    def unpin(self, holder: str) -> None:
        held = {pin for pin in self.pins if pin[0] == holder}
        assert self.store.blocks.unpin(holder) == len(held)
        self.pins -= held

    @rule(data=content)
    def delete(self, data: bytes) -> None:
        if data in self.order and self._pinned(data):
            with pytest.raises(StoreError, match="still needed"):
                self.store.blocks.delete(Cid.of_raw(data))
            return
        assert self.store.blocks.delete(Cid.of_raw(data)) == (data in self.order)
        if data in self.order:
            self.order.remove(data)

    @rule(data=content)
    def roll_back(self, data: bytes) -> None:
        roll_back(self.store, lambda: self.store.blocks.evict(len(data)))
        if not self.pins:
            roll_back(self.store, lambda: self.store.blocks.put(Cid.of_raw(b"new" + data), b"new" + data))

    @rule()
    def commit_and_reopen(self) -> None:
        with self.store.transaction():
            pass  # writes the order of use, which is otherwise allowed to be lost
        self.store.close()
        self.store = Store.open(Path(self.folder.name), block_budget_bytes=BUDGET)

    @invariant()
    def agrees(self) -> None:
        blocks = self.store.blocks
        assert blocks.count == len(self.order)
        assert blocks.total_bytes == sum(map(len, self.order)) <= BUDGET
        for data in CONTENTS:
            cid = Cid.of_raw(data)
            assert blocks.has(cid) == (data in self.order)
            assert blocks.size(cid) == (len(data) if data in self.order else None)
            assert blocks.pinned(cid) == self._pinned(data)
        for name in ("lease:1", "lease:2"):
            missing = {data for held, data in self.pins if held == name} - set(self.order)
            assert blocks.missing(name) == sorted((Cid.of_raw(data) for data in missing), key=str)


TestBlocks = BlocksMachine.TestCase
TestBlocks.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, derandomize=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path, block_budget_bytes=BUDGET)


def test_bytes_that_do_not_match_their_cid_change_nothing(store: Store) -> None:
    with store:
        with pytest.raises(DocumentError, match="3 bytes don't match their CID"):
            store.blocks.put(Cid.of_raw(b"one"), b"two")
        assert store.blocks.count == 0


def test_both_codecs_name_blocks_of_their_own(store: Store) -> None:
    with store:
        raw, document = Cid.of_raw(b"\xa0"), Cid.of_dag_cbor(b"\xa0")
        assert store.blocks.put(raw, b"\xa0")
        assert not store.blocks.has(document)
        assert store.blocks.put(document, b"\xa0")
        assert store.blocks.count == 2


def test_the_empty_block_is_a_block(store: Store) -> None:
    with store:
        assert store.blocks.put(Cid.of_raw(b""), b"")
        assert store.blocks.get(Cid.of_raw(b"")) == b""


def test_a_block_over_the_bound_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "MAX_BLOCK_BYTES", 10)
    with store, pytest.raises(DocumentError, match="at most 10 bytes, found 11"):
        store.blocks.put(Cid.of_raw(bytes(11)), bytes(11))


def test_a_block_larger_than_the_budget_is_refused_and_evicts_nothing(store: Store) -> None:
    with store:
        store.blocks.put(Cid.of_raw(b"a"), b"a")
        with pytest.raises(DiskFullError, match=f"{BUDGET + 1} bytes doesn't fit"):
            store.blocks.put(Cid.of_raw(bytes(BUDGET + 1)), bytes(BUDGET + 1))
        assert store.blocks.has(Cid.of_raw(b"a"))


@pytest.mark.parametrize("holder", ["", "x" * 129])
def test_a_holder_without_a_proper_name_is_refused(store: Store, holder: str) -> None:
    with store, pytest.raises(StoreError, match="expected a holder"):
        store.blocks.pin(holder, [Cid.of_raw(b"a")])


def test_bytes_that_decayed_on_the_disk_never_pass(store: Store) -> None:
    cid = Cid.of_raw(b"content")
    with store:
        store.blocks.put(cid, b"content")
        store.blocks.pin("lease:1", [cid])
        store._db.run("UPDATE block_data SET data = x'636f6e74656e75'")
        with pytest.raises(StoreError, match="is damaged on the disk"):
            store.blocks.get(cid)
        assert store.blocks.delete(cid)
        assert store.blocks.missing("lease:1") == [cid]
        assert store.blocks.put(cid, b"content")
        assert store.blocks.get(cid) == b"content"
