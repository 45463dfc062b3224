"""The tables of `node.db`, as steps from one `PRAGMA user_version` to the next.

Step n brings a database from version n to n + 1, in the transaction that also writes the new version. A step that
has left this machine is never edited; a change is a new step. Tables are STRICT, so that SQLite never turns an
overflowing integer into a float.

What SQL itself guarantees here, whoever writes: balances equal the sum of their entries, no account but `mint` is
negative, the entries of every transfer sum to zero when the transaction commits (a deferred foreign key to the one
row of `zero`), and entries are never changed nor deleted.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x49434E4C  # "ICNL": tells our file from any other SQLite database

_BLOCKS: Final = (
    # `used` orders by last use; the data stands apart so that touching a row doesn't rewrite a large blob.
    """CREATE TABLE blocks(
        id INTEGER PRIMARY KEY, cid TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, used INTEGER NOT NULL) STRICT""",
    "CREATE INDEX blocks_by_use ON blocks(used)",
    """CREATE TABLE block_data(
        id INTEGER PRIMARY KEY REFERENCES blocks(id) ON DELETE CASCADE, data BLOB NOT NULL) STRICT""",
    "CREATE TABLE block_totals(id INTEGER PRIMARY KEY CHECK (id = 1), blocks INTEGER, bytes INTEGER) STRICT",
    "INSERT INTO block_totals VALUES (1, 0, 0)",
    """CREATE TRIGGER block_added AFTER INSERT ON blocks BEGIN
        UPDATE block_totals SET blocks = blocks + 1, bytes = bytes + NEW.size; END""",
    """CREATE TRIGGER block_deleted AFTER DELETE ON blocks BEGIN
        UPDATE block_totals SET blocks = blocks - 1, bytes = bytes - OLD.size; END""",
    # A pin may stand before its block arrives, so it refers to no row of `blocks`.
    """CREATE TABLE pins(
        cid TEXT NOT NULL, holder TEXT NOT NULL, PRIMARY KEY (cid, holder)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX pins_by_holder ON pins(holder)",
)

_JOURNAL: Final = (
    # AUTOINCREMENT: a number is never given out twice, even after the newest events were dropped.
    """CREATE TABLE journal(
        number INTEGER PRIMARY KEY AUTOINCREMENT, machine TEXT NOT NULL, key TEXT NOT NULL,
        position INTEGER NOT NULL, event BLOB NOT NULL, UNIQUE (machine, key, position)) STRICT""",
)

_JOBS: Final = (
    """CREATE TABLE jobs(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, role TEXT NOT NULL, status TEXT NOT NULL,
        document TEXT NOT NULL, error TEXT NOT NULL, UNIQUE (id, role)) STRICT""",
)

_RECEIPTS: Final = (
    # (executor, seq) is not unique: two receipts with one number are evidence of a fork, and both are kept.
    """CREATE TABLE receipts(
        number INTEGER PRIMARY KEY AUTOINCREMENT, cid TEXT NOT NULL UNIQUE, executor TEXT NOT NULL,
        seq INTEGER NOT NULL, prev TEXT, job TEXT NOT NULL, shard INTEGER NOT NULL, status TEXT NOT NULL,
        fuel_used INTEGER NOT NULL, data BLOB NOT NULL) STRICT""",
    "CREATE INDEX receipts_by_chain ON receipts(executor, seq, number)",
    "CREATE INDEX receipts_by_job ON receipts(job, number)",
)

_LEDGER: Final = (
    "CREATE TABLE zero(value INTEGER PRIMARY KEY CHECK (value = 0)) STRICT",
    "INSERT INTO zero VALUES (0)",
    """CREATE TABLE accounts(
        name TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (abs(balance) <= 1 << 62),
        CHECK (balance >= 0 OR name = 'mint')) STRICT, WITHOUT ROWID""",
    """CREATE TABLE transfers(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, cause TEXT NOT NULL,
        sum INTEGER NOT NULL DEFAULT 0 REFERENCES zero(value) DEFERRABLE INITIALLY DEFERRED) STRICT""",
    """CREATE TABLE entries(
        transfer INTEGER NOT NULL REFERENCES transfers(number), account TEXT NOT NULL,
        amount INTEGER NOT NULL CHECK (amount <> 0), PRIMARY KEY (transfer, account)) STRICT, WITHOUT ROWID""",
    "CREATE INDEX entries_by_account ON entries(account, transfer)",
    """CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
        UPDATE transfers SET sum = sum + NEW.amount WHERE number = NEW.transfer;
        INSERT OR IGNORE INTO accounts VALUES (NEW.account, 0);
        UPDATE accounts SET balance = balance + NEW.amount WHERE name = NEW.account; END""",
    "CREATE TRIGGER entry_kept BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'ledger entries are kept'); END",
    "CREATE TRIGGER entry_fixed BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'ledger entries are fixed'); END",
    """CREATE TRIGGER transfer_kept BEFORE DELETE ON transfers BEGIN
        SELECT RAISE(ABORT, 'ledger transfers are kept'); END""",
)

_PEERS: Final = (
    """CREATE TABLE peers(
        did TEXT PRIMARY KEY, found TEXT NOT NULL, capability BLOB, seen INTEGER NOT NULL) STRICT, WITHOUT ROWID""",
    "CREATE INDEX peers_by_seen ON peers(seen)",
    """CREATE TABLE peer_endpoints(
        did TEXT NOT NULL REFERENCES peers(did) ON DELETE CASCADE, position INTEGER NOT NULL, uri TEXT NOT NULL,
        PRIMARY KEY (did, position)) STRICT, WITHOUT ROWID""",
)

_COUNTERS: Final = ("CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",)

_PARTS: Final = (
    # A blob that is a tree (model/unixfs.py) has its blocks here instead of a row in `block_data`: its chunks in
    # order from 0, its nodes under -1. Two blobs may have a block in common, and a blob one block several times.
    """CREATE TABLE parts(
        id INTEGER PRIMARY KEY, blob INTEGER NOT NULL REFERENCES blocks(id) ON DELETE CASCADE,
        number INTEGER NOT NULL, cid TEXT NOT NULL, data BLOB NOT NULL) STRICT""",
    "CREATE INDEX parts_by_blob ON parts(blob, number)",
    "CREATE INDEX parts_by_cid ON parts(cid)",
)

_CHAINS: Final = (
    # whole: everything before it is here. anchored: an anchor keeps it. Its bytes may be let go then: empty data.
    "ALTER TABLE receipts ADD COLUMN whole INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE receipts ADD COLUMN anchored INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX receipts_pending ON receipts(executor, seq) WHERE anchored = 0",
    """UPDATE receipts SET whole = 1 WHERE number IN (
        WITH RECURSIVE line(number, cid, executor, seq) AS (
            SELECT number, cid, executor, seq FROM receipts WHERE seq = 0
            UNION ALL SELECT r.number, r.cid, r.executor, r.seq FROM line CROSS JOIN receipts AS r
            ON r.executor = line.executor AND r.seq = line.seq + 1 AND r.prev = line.cid)
        SELECT number FROM line)""",
    # `total` is the sum of the digests modulo 2^256; NULL where it has to be counted anew.
    """CREATE TABLE chains(
        executor TEXT PRIMARY KEY, next INTEGER NOT NULL, count INTEGER NOT NULL, forks INTEGER NOT NULL,
        total BLOB, tip TEXT NOT NULL) STRICT, WITHOUT ROWID""",
    """INSERT INTO chains SELECT executor, max(seq) + 1, count(*), count(*) - count(DISTINCT seq), NULL,
        (SELECT cid FROM receipts AS t WHERE t.executor = r.executor ORDER BY seq DESC, cid LIMIT 1)
        FROM receipts AS r GROUP BY executor""",
    """CREATE TABLE forks(
        number INTEGER PRIMARY KEY AUTOINCREMENT, executor TEXT NOT NULL, seq INTEGER NOT NULL,
        first TEXT NOT NULL, second TEXT NOT NULL, broken INTEGER NOT NULL, UNIQUE (first, second)) STRICT""",
    """INSERT INTO forks(executor, seq, first, second, broken) SELECT a.executor, a.seq, a.cid, b.cid, 0
        FROM receipts AS a JOIN receipts AS b ON b.executor = a.executor AND b.seq = a.seq AND a.cid < b.cid""",
    """CREATE TABLE acks(
        cid TEXT PRIMARY KEY, anchor TEXT NOT NULL, executor TEXT NOT NULL, seq INTEGER NOT NULL, head TEXT NOT NULL,
        data BLOB NOT NULL) STRICT, WITHOUT ROWID""",
    "CREATE INDEX acks_by_chain ON acks(executor, anchor, seq)",
    "CREATE INDEX acks_by_head ON acks(head)",
)

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (*_BLOCKS, *_JOURNAL, *_JOBS, *_RECEIPTS, *_LEDGER, *_PEERS, *_COUNTERS),
    _PARTS,
    _CHAINS,
)
VERSION: Final = len(STEPS)
