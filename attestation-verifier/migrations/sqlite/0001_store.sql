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

-- The audit log: the leaves of its tree, in their canonical form. `kind` repeats a member of the leaf, to be found by.
CREATE TABLE leaves (
    seq INTEGER PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    leaf BLOB NOT NULL
) STRICT;

CREATE INDEX leaves_by_kind ON leaves (kind, seq);

CREATE TRIGGER leaves_are_append_only_update BEFORE UPDATE ON leaves
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER leaves_are_append_only_delete BEFORE DELETE ON leaves
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

-- The hashes of its tree, 256 of 32 bytes to a row; the last row of a level grows until it has as many.
CREATE TABLE tiles (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT;

CREATE TRIGGER tiles_only_grow BEFORE UPDATE ON tiles
WHEN new.level <> old.level OR new.position <> old.position
    OR substr(new.hashes, 1, length(old.hashes)) <> old.hashes
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;

CREATE TRIGGER tiles_stay BEFORE DELETE ON tiles
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
