-- Nonces that were used, and when they end.
CREATE TABLE nonces (
    nonce BLOB PRIMARY KEY NOT NULL,
    expires INTEGER NOT NULL
) STRICT;

CREATE INDEX nonces_by_end ON nonces (expires);

-- Sessions that were accepted, with what the guest showed. `mac` covers every other column but `expires`, which the nonce says.
CREATE TABLE sessions (
    nonce BLOB PRIMARY KEY NOT NULL,
    expires INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    shown BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE INDEX sessions_by_end ON sessions (expires);
