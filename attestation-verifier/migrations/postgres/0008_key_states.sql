-- As SQLite's migration of this number makes it.
DROP TRIGGER keys_are_immutable ON keys;
DROP TRIGGER keys_stay_disabled ON keys;

ALTER TABLE keys DROP CONSTRAINT keys_state_check;
ALTER TABLE keys ADD CONSTRAINT keys_state_check CHECK (state IN ('enabled', 'disabled', 'destroyed'));

ALTER TABLE keys ADD COLUMN custody TEXT COLLATE "C" NOT NULL DEFAULT 'master-key';
ALTER TABLE keys ADD COLUMN wrappings BIGINT NOT NULL DEFAULT 1;
ALTER TABLE keys ADD COLUMN releases BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN last_release BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN counted_from BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN counted BIGINT NOT NULL DEFAULT 0;

CREATE TRIGGER keys_are_immutable BEFORE UPDATE OF id, created ON keys
FOR EACH ROW EXECUTE FUNCTION refuse('a key is immutable at its id');

CREATE TRIGGER keys_stay_destroyed BEFORE UPDATE ON keys
FOR EACH ROW WHEN (old.state = 'destroyed' AND (new.state <> 'destroyed' OR length(new.sealed) > 0))
EXECUTE FUNCTION refuse('a destroyed key stays destroyed');

CREATE TRIGGER keys_releases_only_grow BEFORE UPDATE OF releases ON keys
FOR EACH ROW WHEN (new.releases < old.releases)
EXECUTE FUNCTION refuse('a release is not forgotten');

CREATE TRIGGER keys_stay BEFORE DELETE ON keys
FOR EACH ROW EXECUTE FUNCTION refuse('the row of a key stays');

CREATE TRIGGER keys_stay_truncate BEFORE TRUNCATE ON keys
FOR EACH STATEMENT EXECUTE FUNCTION refuse('the row of a key stays');
