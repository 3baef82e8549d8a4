-- What speaks against promotions under the release policy of a key: which manifest was reached or demoted, with which sequence at
-- the highest and when at the latest. By whom is not asked, so that it stays true when promoters change. `mac` covers every other
-- column.
CREATE TABLE promotion_facts (
    policy TEXT NOT NULL,
    repository TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('reached', 'demoted')),
    manifest BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    issued INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (policy, repository, environment, kind, manifest)
) STRICT;

CREATE TRIGGER promotion_facts_only_grow BEFORE UPDATE OF policy, repository, environment, kind, manifest, sequence, issued
ON promotion_facts
WHEN new.policy <> old.policy OR new.repository <> old.repository OR new.environment <> old.environment
    OR new.kind <> old.kind OR new.manifest <> old.manifest OR new.sequence < old.sequence OR new.issued < old.issued
BEGIN
    SELECT RAISE(ABORT, 'what speaks against promotions is not taken back');
END;

CREATE TRIGGER promotion_facts_stay BEFORE DELETE ON promotion_facts
BEGIN
    SELECT RAISE(ABORT, 'what speaks against promotions is not taken back');
END;

-- The same statement by the same promoter may be signed anew, where nothing verifies the old signature any more.
DROP TRIGGER promotions_stay_update;

CREATE TRIGGER promotions_stay_update
BEFORE UPDATE OF repository, environment, sequence, promoter, payload, created ON promotions
BEGIN
    SELECT RAISE(ABORT, 'a promotion statement stays as it is');
END;
