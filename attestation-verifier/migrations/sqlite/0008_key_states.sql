-- A key is enabled, disabled or destroyed, and its value is wrapped by a custody. The value is immutable at its id: it may be
-- wrapped anew, and it is erased where the key is destroyed, for good; its row stays, so that its id is never free again. How often
-- it was wrapped and released, when last, and how often since when within a rate. `mac` covers every other column.
DROP TRIGGER keys_are_immutable;
DROP TRIGGER keys_stay_disabled;

ALTER TABLE keys RENAME TO keys_of_two_states;

CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'destroyed')),
    owner TEXT NOT NULL DEFAULT '',
    labels TEXT NOT NULL DEFAULT '',
    custody TEXT NOT NULL DEFAULT 'master-key',
    wrappings INTEGER NOT NULL DEFAULT 1,
    releases INTEGER NOT NULL DEFAULT 0,
    last_release INTEGER NOT NULL DEFAULT 0,
    counted_from INTEGER NOT NULL DEFAULT 0,
    counted INTEGER NOT NULL DEFAULT 0,
    mac BLOB NOT NULL
) STRICT;

INSERT INTO keys (id, sealed, created, state, owner, labels, mac)
SELECT id, sealed, created, state, owner, labels, mac FROM keys_of_two_states;

DROP TABLE keys_of_two_states;

CREATE TRIGGER keys_are_immutable BEFORE UPDATE OF id, created ON keys
BEGIN
    SELECT RAISE(ABORT, 'a key is immutable at its id');
END;

CREATE TRIGGER keys_stay_destroyed BEFORE UPDATE ON keys
WHEN old.state = 'destroyed' AND (new.state <> 'destroyed' OR length(new.sealed) > 0)
BEGIN
    SELECT RAISE(ABORT, 'a destroyed key stays destroyed');
END;

CREATE TRIGGER keys_releases_only_grow BEFORE UPDATE OF releases ON keys WHEN new.releases < old.releases
BEGIN
    SELECT RAISE(ABORT, 'a release is not forgotten');
END;

CREATE TRIGGER keys_stay BEFORE DELETE ON keys
BEGIN
    SELECT RAISE(ABORT, 'the row of a key stays');
END;
