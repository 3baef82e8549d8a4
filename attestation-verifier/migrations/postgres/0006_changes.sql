-- Changes that wait for another person's approval. `login` is empty where it is `person`; `sealed` is what they would put, encrypted under the master key; `mac` covers
-- every other column.
CREATE TABLE changes (
    id TEXT COLLATE "C" PRIMARY KEY,
    method TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    came_by TEXT COLLATE "C" NOT NULL,
    login TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    sealed BYTEA NOT NULL,
    mac BYTEA NOT NULL
);
