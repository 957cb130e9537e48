-- Keys and values of tools. Times are milliseconds since 1970; what is over stays until its room is needed.
CREATE TABLE IF NOT EXISTS kv (
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    version INTEGER NOT NULL,
    expires_ms INTEGER,
    UNIQUE (space, key)
) STRICT;
CREATE INDEX IF NOT EXISTS kv_expires ON kv (space, expires_ms) WHERE expires_ms IS NOT NULL;

-- How many keys a space has, and how long they are with their values.
CREATE TABLE IF NOT EXISTS kv_room (
    space TEXT PRIMARY KEY NOT NULL,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
