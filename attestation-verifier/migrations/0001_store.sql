-- What the store was made for: the realm, sealed under its master key; and what authenticates the set of all keys and
-- policies, and the end of the audit log.
CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;

-- A key is immutable at its id; it can only be disabled. `mac` covers every other column.
CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    mac BLOB NOT NULL
) STRICT;

CREATE TRIGGER keys_are_immutable BEFORE UPDATE OF id, sealed, created ON keys
BEGIN
    SELECT RAISE(ABORT, 'a key is immutable at its id');
END;

CREATE TRIGGER keys_stay_disabled BEFORE UPDATE OF state ON keys WHEN old.state = 'disabled' AND new.state <> 'disabled'
BEGIN
    SELECT RAISE(ABORT, 'a disabled key stays disabled');
END;

-- Every version of every release policy; the highest version of an id is the one in force. `mac`
-- covers every other column.
CREATE TABLE policies (
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    toml BLOB NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (id, version)
) STRICT;

-- The decisions, chained: `hash` covers every other column, `previous` is the hash of the row before.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY NOT NULL,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
