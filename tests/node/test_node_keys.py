"""The identity on disk: whole or absent, private, sealed or plain, and never used when anything is odd."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from icn_lite.model import cbor
from icn_lite.model.cose import verify_bytes
from icn_lite.model.errors import StoreError, UsageError
from icn_lite.node import keys
from icn_lite.node.keys import create_key, load_key, passphrase_from, read_key_file

SEED = bytes([1]) * 32
DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"


def never() -> bytes:
    raise AssertionError("a plain key asks for no passphrase")


def test_a_plain_key_comes_back_and_signs(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = create_key(path, None, seed=SEED)
    assert str(made.did) == DID
    assert not made.sealed
    loaded = load_key(path, never)
    assert loaded.did == made.did
    assert verify_bytes(made.did, b"message", loaded.sign(b"message"))


def test_two_keys_differ(tmp_path: Path) -> None:
    assert create_key(tmp_path / "a", None).did != create_key(tmp_path / "b", None).did


def test_a_sealed_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = create_key(path, b"correct horse", seed=SEED)
    assert made.sealed
    assert SEED not in path.read_bytes()
    assert load_key(path, lambda: b"correct horse").sign(b"m") == made.sign(b"m")
    with pytest.raises(UsageError) as caught:
        load_key(path, lambda: b"wrong")
    assert "--passphrase-file" in caught.value.hint
    content = read_key_file(path)
    assert str(content.did) == DID
    assert content.sealed is not None
    assert (content.sealed.passes, content.sealed.memory_kib) == (3, 64 * 1024)


def test_the_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        create_key(tmp_path / "key", None)
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    create_key(path, None)
    path.chmod(mode)
    with pytest.raises(StoreError) as caught:
        load_key(path, never)
    assert "chmod 600" in caught.value.hint


def test_a_key_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    create_key(path, None)
    monkeypatch.setattr("icn_lite.node.keys.os.geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreError, match="belongs to user"):
        load_key(path, never)


def test_a_link_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    create_key(tmp_path / "real", None)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "folder", "pipe", "absent"):
        with pytest.raises(StoreError):
            load_key(tmp_path / name, never)


def test_an_identity_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_key(path, None, seed=SEED)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="already"):
        create_key(path, None)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["key"]


def _create(path: Path, gate: multiprocessing.synchronize.Barrier) -> None:
    gate.wait(10)
    try:
        create_key(path, None)
    except StoreError:
        os._exit(3)
    os._exit(0)


def test_of_many_that_make_a_key_at_once_one_succeeds(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)
    children = [context.Process(target=_create, args=(tmp_path / "key", gate)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(20)
    assert sorted(child.exitcode or 0 for child in children) == [0, 3, 3, 3]
    load_key(tmp_path / "key", never)


def test_a_folder_that_is_missing_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't write the key"):
        create_key(tmp_path / "none" / "key", None)


def rewritten(path: Path, **changes: cbor.Value) -> None:
    value = cbor.decode(path.read_bytes())
    assert isinstance(value, dict)
    path.write_bytes(cbor.encode({k: v for k, v in {**value, **changes}.items() if v is not None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"seed": None},
        {"seed": b"short"},
        {"more": 1},
        {"did": "did:key:zzz"},
        {"seed": bytes(32)},  # a seed that is not that of the DID beside it
        {"sealed": {"passes": 3, "memory_kib": 65536, "salt": bytes(16), "box": bytes(72)}},  # both forms at once
    ],
)
def test_a_changed_file_is_refused(tmp_path: Path, changes: dict[str, cbor.Value]) -> None:
    path = tmp_path / "key"
    create_key(path, None, seed=SEED)
    rewritten(path, **changes)
    with pytest.raises(StoreError):
        load_key(path, never)


@pytest.mark.parametrize("seal", [{"passes": 1 << 20}, {"memory_kib": 1 << 30}, {"memory_kib": 0}, {"salt": b""}])
def test_a_forged_cost_is_refused_before_it_is_paid(tmp_path: Path, seal: dict[str, cbor.Value]) -> None:
    path = tmp_path / "key"
    honest: dict[str, cbor.Value] = {"passes": 1, "memory_kib": 8, "salt": bytes(16), "box": bytes(72)}
    create_key(path, None, seed=SEED)
    rewritten(path, seed=None, sealed={**honest, **seal})
    with pytest.raises(StoreError, match="no key of icn-lite"):
        load_key(path, lambda: b"x")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    create_key(path, None, seed=SEED)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(StoreError):
            load_key(path, never)
    path.write_bytes(data + bytes(keys.MAX_FILE_BYTES))
    with pytest.raises(StoreError, match="too large"):
        load_key(path, never)


def test_where_a_passphrase_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes("geheim ✓\r\n".encode())
    other = tmp_path / "other"
    other.write_bytes(b"other")
    environ = {"ICN_LITE_PASSPHRASE_FILE": str(file), "ICN_LITE_PASSPHRASE": "spoken"}
    assert passphrase_from({}, None) is None
    assert passphrase_from({"ICN_LITE_PASSPHRASE": "spoken"}, None) == b"spoken"
    assert passphrase_from(environ, None) == "geheim ✓".encode()
    assert passphrase_from(environ, other) == b"other"
    with pytest.raises(UsageError, match="can't read"):
        passphrase_from({}, tmp_path / "absent")
    for empty in ({"ICN_LITE_PASSPHRASE": ""}, {"ICN_LITE_PASSPHRASE": "x" * 1025}):
        with pytest.raises(UsageError, match="1 to 1024 bytes"):
            passphrase_from(empty, None)
