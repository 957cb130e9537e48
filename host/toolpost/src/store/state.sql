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
