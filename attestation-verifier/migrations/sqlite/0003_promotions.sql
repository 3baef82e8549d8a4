-- Every promotion statement that was seen, by a key or identity that was a promoter then. `mac` covers every other column.
CREATE TABLE promotions (
    repository TEXT NOT NULL,
    environment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    promoter TEXT NOT NULL,
    payload BLOB NOT NULL,
    bundle BLOB NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (repository, environment, sequence, promoter, payload)
) STRICT;

CREATE TRIGGER promotions_stay_update
BEFORE UPDATE OF repository, environment, sequence, promoter, payload, bundle, created ON promotions
BEGIN
    SELECT RAISE(ABORT, 'a promotion statement stays as it is');
END;

CREATE TRIGGER promotions_stay_delete BEFORE DELETE ON promotions
BEGIN
    SELECT RAISE(ABORT, 'a promotion statement stays');
END;
