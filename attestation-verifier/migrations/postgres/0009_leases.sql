-- What is revoked for good or quarantined: nobody it names is attested, gets a key or a lease, or keeps a connection. `mac` covers
-- every other column.
CREATE TABLE revocations (
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('identity', 'measurement', 'chip', 'model', 'key')),
    value TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('revoked', 'quarantined')),
    because TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (kind, value)
);

-- Which keys were released to guests of a deployment document, for which of its models: what a lease of theirs is judged by again.
-- `mac` covers every other column.
CREATE TABLE openings (
    document TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (document, id, model)
);

-- Every version of the table of routes; the highest is in force. `mac` covers every other column.
CREATE TABLE routes (
    version BIGINT PRIMARY KEY,
    toml BYTEA NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL
);

-- Leases, by the thumbprint of the key that each is about, until some time after they ended. `mac` covers every other column.
CREATE TABLE leases (
    holder TEXT COLLATE "C" PRIMARY KEY,
    expires BIGINT NOT NULL,
    lease BYTEA NOT NULL,
    mac BYTEA NOT NULL
);
