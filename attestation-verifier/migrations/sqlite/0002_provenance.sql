-- The newest revocation lists that were seen. `mac` covers every other column.
CREATE TABLE seen (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    number INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (kind, subject)
) STRICT;

CREATE TRIGGER seen_only_grows BEFORE UPDATE OF number ON seen WHEN new.number < old.number
BEGIN
    SELECT RAISE(ABORT, 'the newest that was seen is not forgotten');
END;

-- The newest of each signed document that release policies take something from, for each set of signers that policies name:
-- what one set signed is never compared with another's. `mac` covers every other column.
CREATE TABLE documents (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    signers TEXT NOT NULL,
    version INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (kind, name, signers)
) STRICT;

CREATE TRIGGER documents_never_go_back BEFORE UPDATE OF version ON documents WHEN new.version < old.version
BEGIN
    SELECT RAISE(ABORT, 'an older document takes the place of none');
END;
