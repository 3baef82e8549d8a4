-- Every version of the Cedar policies by which workloads may have keys; the highest is in force. `mac` covers every other
-- column.
CREATE TABLE policy_sets (
    version INTEGER PRIMARY KEY NOT NULL,
    cedar BLOB NOT NULL,
    comment TEXT NOT NULL,
    created INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;

CREATE TRIGGER policy_sets_stay_update BEFORE UPDATE OF version, cedar, comment, created ON policy_sets
BEGIN
    SELECT RAISE(ABORT, 'a version of the policies stays as it is');
END;

CREATE TRIGGER policy_sets_stay_delete BEFORE DELETE ON policy_sets
BEGIN
    SELECT RAISE(ABORT, 'a version of the policies stays');
END;

-- Whose a key is, and what its owner calls it by, each label followed by a line feed. Both are empty where nobody said so.
ALTER TABLE keys ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN labels TEXT NOT NULL DEFAULT '';
