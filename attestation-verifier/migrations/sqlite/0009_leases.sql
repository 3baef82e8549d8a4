-- What is revoked for good or quarantined: nobody it names is attested, gets a key or a lease, or keeps a connection. `mac` covers
-- every other column.
CREATE TABLE revocations (
    kind TEXT NOT NULL CHECK (kind IN ('identity', 'measurement', 'chip', 'model', 'key')),
    value TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('revoked', 'quarantined')),
    because TEXT NOT NULL,
    person TEXT NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT;

-- Which keys were released to guests of a deployment document, for which of its models: what a lease of theirs is judged by again.
-- `mac` covers every other column.
CREATE TABLE openings (
    document TEXT NOT NULL,
    id TEXT NOT NULL,
    model TEXT NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (document, id, model)
) STRICT;

-- Every version of the table of routes; the highest is in force. `mac` covers every other column.
CREATE TABLE routes (
    version INTEGER PRIMARY KEY NOT NULL,
    toml BLOB NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;

-- Leases, by the thumbprint of the key that each is about, until some time after they ended. `mac` covers every other column.
CREATE TABLE leases (
    holder TEXT PRIMARY KEY NOT NULL,
    expires INTEGER NOT NULL,
    lease BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
