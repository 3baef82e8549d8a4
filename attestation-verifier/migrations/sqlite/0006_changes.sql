-- Changes that wait for another person's approval. `login` is empty where it is `person`; `sealed` is what they would put, encrypted under the master key; `mac` covers
-- every other column.
CREATE TABLE changes (
    id TEXT PRIMARY KEY NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    person TEXT NOT NULL,
    came_by TEXT NOT NULL,
    login TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
