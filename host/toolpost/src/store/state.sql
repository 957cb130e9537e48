-- Questions that wait for an answer, and for a while those that are over. Times are milliseconds since 1970.
CREATE TABLE IF NOT EXISTS questions (
    id TEXT PRIMARY KEY,
    question TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- Until then whoever waits has given a sign of life.
    alive_until INTEGER NOT NULL,
    -- Whether nobody waits any more.
    closed INTEGER NOT NULL DEFAULT 0,
    answer TEXT
) STRICT;

-- What is known of an idempotency key. Times are milliseconds since 1970.
-- state: 0 claimed, 1 effects, 2 done, 3 unknown, 4 failed
CREATE TABLE IF NOT EXISTS ledger (
    key TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    state INTEGER NOT NULL,
    lease_ms INTEGER,
    ending TEXT,
    tool TEXT NOT NULL,
    caller TEXT NOT NULL,
    call TEXT NOT NULL,
    digest TEXT,
    first_effect TEXT,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS ledger_expires ON ledger (expires_ms);

-- What an operator wants of breakers: the last order for each. A later order has a higher number.
CREATE TABLE IF NOT EXISTS breaker_orders (
    key TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    action TEXT NOT NULL,
    by TEXT NOT NULL,
    why TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    until_ms INTEGER
) STRICT, WITHOUT ROWID;

-- Calls that were allowed until their session ends, by the hash of the question.
CREATE TABLE IF NOT EXISTS session_answers (
    hash TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
