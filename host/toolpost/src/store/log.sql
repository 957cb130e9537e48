-- One row for each call. `events` is what happened in it, as a JSON array with the milliseconds since its beginning.
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    host TEXT NOT NULL,             -- the process
    seq INTEGER NOT NULL,           -- the event with which the call began there
    id TEXT NOT NULL,
    tool TEXT NOT NULL,
    caller TEXT NOT NULL,
    session TEXT,
    parent TEXT,
    started_ms INTEGER NOT NULL,    -- since 1970
    arguments TEXT,                 -- masked and cut
    outcome TEXT,                   -- ok, or the kind of failure; nothing while it runs
    message TEXT,                   -- why it failed
    result TEXT,                    -- masked and cut
    time_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    effects INTEGER NOT NULL,
    events TEXT NOT NULL,
    written INTEGER NOT NULL,       -- the order in which rows were written last, for those who follow
    UNIQUE (host, seq)
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_id ON calls (id);
CREATE INDEX IF NOT EXISTS calls_by_start ON calls (started_ms);
CREATE INDEX IF NOT EXISTS calls_by_write ON calls (written);

-- Calls that are missing because they came faster than they could be written.
CREATE TABLE IF NOT EXISTS lost (
    host TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    calls INTEGER NOT NULL
) STRICT;

-- What was last heard of each breaker.
CREATE TABLE IF NOT EXISTS breakers (
    key TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    was TEXT NOT NULL,
    cause TEXT NOT NULL,
    until_ms INTEGER
) STRICT, WITHOUT ROWID;
