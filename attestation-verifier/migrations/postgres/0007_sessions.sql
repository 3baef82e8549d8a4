-- Nonces that were used, and when they end.
CREATE TABLE nonces (
    nonce BYTEA PRIMARY KEY,
    expires BIGINT NOT NULL
);

CREATE INDEX nonces_by_end ON nonces (expires);

-- Sessions that were accepted, with what the guest showed. `mac` covers every other column but `expires`, which the nonce says.
CREATE TABLE sessions (
    nonce BYTEA PRIMARY KEY,
    expires BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    shown BYTEA NOT NULL,
    mac BYTEA NOT NULL
);

CREATE INDEX sessions_by_end ON sessions (expires);
