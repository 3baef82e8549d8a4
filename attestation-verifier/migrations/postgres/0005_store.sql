-- What SQLite's migrations 1 to 5 make, in PostgreSQL's words. Text is compared by its bytes, whatever the database's locale is.

-- What forbids: its argument says why.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0];
END
$$;

-- What the store was made for: the realm, sealed under its master key; and what authenticates the set of all keys and
-- policies, and the end of the audit log.
CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- A key is immutable at its id; it can only be disabled. `mac` covers every other column. Owner and labels, each label followed by
-- a line feed, are empty where nobody said so.
CREATE TABLE keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    sealed BYTEA NOT NULL,
    created BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('enabled', 'disabled')),
    mac BYTEA NOT NULL,
    owner TEXT COLLATE "C" NOT NULL DEFAULT '',
    labels TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TRIGGER keys_are_immutable BEFORE UPDATE OF id, sealed, created ON keys
FOR EACH ROW EXECUTE FUNCTION refuse('a key is immutable at its id');

CREATE TRIGGER keys_stay_disabled BEFORE UPDATE OF state ON keys
FOR EACH ROW WHEN (old.state = 'disabled' AND new.state <> 'disabled')
EXECUTE FUNCTION refuse('a disabled key stays disabled');

-- Every version of every release policy; the highest version of an id is the one in force. `mac` covers every other column.
CREATE TABLE policies (
    id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    toml BYTEA NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (id, version)
);

-- The audit log: the leaves of its tree, in their canonical form. `kind` repeats a member of the leaf, to be found by.
CREATE TABLE leaves (
    seq BIGINT PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    leaf BYTEA NOT NULL
);

CREATE INDEX leaves_by_kind ON leaves (kind, seq);

CREATE TRIGGER leaves_are_append_only_update BEFORE UPDATE ON leaves
FOR EACH ROW EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER leaves_are_append_only_delete BEFORE DELETE ON leaves
FOR EACH ROW EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER leaves_are_append_only_truncate BEFORE TRUNCATE ON leaves
FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit log is append-only');

-- The hashes of its tree, 256 of 32 bytes to a row; the last row of a level grows until it has as many.
CREATE TABLE tiles (
    level BIGINT NOT NULL,
    position BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    PRIMARY KEY (level, position)
);

CREATE TRIGGER tiles_only_grow BEFORE UPDATE ON tiles
FOR EACH ROW WHEN (new.level <> old.level OR new.position <> old.position
    OR substr(new.hashes, 1, length(old.hashes)) <> old.hashes)
EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER tiles_stay BEFORE DELETE ON tiles
FOR EACH ROW EXECUTE FUNCTION refuse('the audit log is append-only');

CREATE TRIGGER tiles_stay_truncate BEFORE TRUNCATE ON tiles
FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit log is append-only');

-- The newest revocation lists that were seen. `mac` covers every other column.
CREATE TABLE seen (
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (kind, subject)
);

CREATE TRIGGER seen_only_grows BEFORE UPDATE OF number ON seen
FOR EACH ROW WHEN (new.number < old.number)
EXECUTE FUNCTION refuse('the newest that was seen is not forgotten');

-- The newest of each signed document that release policies take something from, for each set of signers that policies name:
-- what one set signed is never compared with another's. `mac` covers every other column.
CREATE TABLE documents (
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    signers TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    envelope BYTEA NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (kind, name, signers)
);

CREATE TRIGGER documents_never_go_back BEFORE UPDATE OF version ON documents
FOR EACH ROW WHEN (new.version < old.version)
EXECUTE FUNCTION refuse('an older document takes the place of none');

-- Every promotion statement that was seen, by a key or identity that was a promoter then. `mac` covers every other column. The
-- same statement by the same promoter may be signed anew, where nothing verifies the old signature any more.
CREATE TABLE promotions (
    repository TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    sequence BIGINT NOT NULL,
    promoter TEXT COLLATE "C" NOT NULL,
    payload BYTEA NOT NULL,
    bundle BYTEA NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (repository, environment, sequence, promoter, payload)
);

CREATE TRIGGER promotions_stay_update
BEFORE UPDATE OF repository, environment, sequence, promoter, payload, created ON promotions
FOR EACH ROW EXECUTE FUNCTION refuse('a promotion statement stays as it is');

CREATE TRIGGER promotions_stay_delete BEFORE DELETE ON promotions
FOR EACH ROW EXECUTE FUNCTION refuse('a promotion statement stays');

CREATE TRIGGER promotions_stay_truncate BEFORE TRUNCATE ON promotions
FOR EACH STATEMENT EXECUTE FUNCTION refuse('a promotion statement stays');

-- What speaks against promotions under the release policy of a key: which manifest was reached or demoted, with which sequence at
-- the highest and when at the latest. By whom is not asked, so that it stays true when promoters change. `mac` covers every other
-- column.
CREATE TABLE promotion_facts (
    policy TEXT COLLATE "C" NOT NULL,
    repository TEXT COLLATE "C" NOT NULL,
    environment TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL CHECK (kind IN ('reached', 'demoted')),
    manifest BYTEA NOT NULL,
    sequence BIGINT NOT NULL,
    issued BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    PRIMARY KEY (policy, repository, environment, kind, manifest)
);

CREATE TRIGGER promotion_facts_only_grow
BEFORE UPDATE OF policy, repository, environment, kind, manifest, sequence, issued ON promotion_facts
FOR EACH ROW WHEN (new.policy <> old.policy OR new.repository <> old.repository OR new.environment <> old.environment
    OR new.kind <> old.kind OR new.manifest <> old.manifest OR new.sequence < old.sequence OR new.issued < old.issued)
EXECUTE FUNCTION refuse('what speaks against promotions is not taken back');

CREATE TRIGGER promotion_facts_stay BEFORE DELETE ON promotion_facts
FOR EACH ROW EXECUTE FUNCTION refuse('what speaks against promotions is not taken back');

CREATE TRIGGER promotion_facts_stay_truncate BEFORE TRUNCATE ON promotion_facts
FOR EACH STATEMENT EXECUTE FUNCTION refuse('what speaks against promotions is not taken back');

-- Every version of the Cedar policies by which workloads may have keys; the highest is in force. `mac` covers every other
-- column.
CREATE TABLE policy_sets (
    version BIGINT PRIMARY KEY,
    cedar BYTEA NOT NULL,
    comment TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    mac BYTEA NOT NULL
);

CREATE TRIGGER policy_sets_stay_update BEFORE UPDATE OF version, cedar, comment, created ON policy_sets
FOR EACH ROW EXECUTE FUNCTION refuse('a version of the policies stays as it is');

CREATE TRIGGER policy_sets_stay_delete BEFORE DELETE ON policy_sets
FOR EACH ROW EXECUTE FUNCTION refuse('a version of the policies stays');

CREATE TRIGGER policy_sets_stay_truncate BEFORE TRUNCATE ON policy_sets
FOR EACH STATEMENT EXECUTE FUNCTION refuse('a version of the policies stays');
