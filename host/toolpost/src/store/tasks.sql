-- Calls that nobody waits for. Times are milliseconds since 1970.
-- state: 0 queued, 1 running, 2 done, 3 failed, 4 cancelled, 5 unknown
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    -- What was asked. It does not change.
    scope TEXT NOT NULL,
    filed_under TEXT NOT NULL,
    tool TEXT NOT NULL,
    caller TEXT NOT NULL,
    caller_rest TEXT NOT NULL,
    call TEXT NOT NULL,
    traceparent TEXT,
    shown TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    -- What only the tool may see, sealed; nothing once it has ended.
    asked BLOB,
    -- How far it is.
    version INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due_ms INTEGER,
    host TEXT,
    runs INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    effects INTEGER NOT NULL,
    again INTEGER NOT NULL,
    cancel_by TEXT,
    cancel_ms INTEGER,
    refused_ms INTEGER,
    under TEXT,
    started_ms INTEGER,
    changed_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    -- What came of it.
    result TEXT,
    report TEXT,
    -- What its run says meanwhile.
    progress TEXT,
    question TEXT,
    dropped_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_state ON tasks (state, due_ms);
CREATE INDEX IF NOT EXISTS tasks_over ON tasks (expires_ms) WHERE state > 1;

-- Effects that were let through, by the number of their run.
CREATE TABLE IF NOT EXISTS task_effects (
    id TEXT NOT NULL,
    run INTEGER NOT NULL,
    number INTEGER NOT NULL,
    effect TEXT NOT NULL,
    PRIMARY KEY (id, run, number)
) STRICT, WITHOUT ROWID;

-- What the latest run has handed out so far.
CREATE TABLE IF NOT EXISTS task_parts (
    id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (id, fence, number)
) STRICT, WITHOUT ROWID;

-- Hosts that run tasks, and until when they have said that they live.
CREATE TABLE IF NOT EXISTS task_hosts (
    host TEXT PRIMARY KEY,
    lease_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
