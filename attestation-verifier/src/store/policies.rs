//! Release policies: every version is kept, the last is in force.

use super::{Store, failed, from_integer, to_integer};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

use crate::release_policy::ReleasePolicy;

/// What a list shows of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicyMetadata {
    /// The id of the key that it is about.
    pub id: String,
    /// From 1.
    pub version: u64,
    /// SHA-256 of the document.
    pub digest: Sha256,
    /// Seconds since 1970.
    pub created: UnixTime,
}

/// A release policy in force.
#[derive(Debug, Clone)]
pub(crate) struct StoredPolicy {
    /// Its place in the store.
    pub metadata: PolicyMetadata,
    /// The document as it was put.
    pub toml: Vec<u8>,
    /// What it says.
    pub policy: ReleasePolicy,
}

impl Store {
    /// Puts a policy into force. The document that is in force already makes no new version.
    ///
    /// # Errors
    /// Those of [`ReleasePolicy::parse`]; `store-failed`.
    pub(crate) async fn put_policy(&self, id: &ResourcePath, toml: &[u8], now: UnixTime) -> Result<PolicyMetadata> {
        ReleasePolicy::parse(toml)?;
        let insert = "INSERT INTO policies (id, version, toml, created)
             SELECT ?1, COALESCE(MAX(version), 0) + 1, ?2, ?3 FROM policies WHERE id = ?1
             HAVING COALESCE((SELECT toml FROM policies WHERE id = ?1 ORDER BY version DESC LIMIT 1), x'') <> ?2";
        let insert = sqlx::query(insert).bind(id.as_str()).bind(toml).bind(to_integer(now)?);
        insert.execute(&self.pool).await.map_err(failed("policies"))?;
        self.policy(id).await.map(|stored| stored.metadata)
    }

    /// The policy in force for a key.
    ///
    /// # Errors
    /// `no-policy`; `store-failed`.
    pub(crate) async fn policy(&self, id: &ResourcePath) -> Result<StoredPolicy> {
        let select = "SELECT id, version, toml, created FROM policies WHERE id = ? ORDER BY version DESC LIMIT 1";
        let row = sqlx::query(select).bind(id.as_str()).fetch_optional(&self.pool).await.map_err(failed("policies"))?;
        stored(&row.ok_or_else(|| Refusal::new(Code::NoPolicy, "release policy").got(id))?)
    }

    /// All policies in force, by id.
    pub(crate) async fn policies(&self) -> Result<Vec<StoredPolicy>> {
        let select = "SELECT id, version, toml, created FROM policies AS one
             WHERE version = (SELECT MAX(version) FROM policies WHERE id = one.id) ORDER BY id";
        let rows = sqlx::query(select).fetch_all(&self.pool).await.map_err(failed("policies"))?;
        rows.iter().map(stored).collect()
    }
}

fn stored(row: &SqliteRow) -> Result<StoredPolicy> {
    let toml: Vec<u8> = row.try_get("toml").map_err(failed("policies"))?;
    let id: String = row.try_get("id").map_err(failed("policies"))?;
    let policy = ReleasePolicy::parse(&toml).map_err(|refusal| refusal.within(format!("stored policy `{id}`")))?;
    let metadata = PolicyMetadata {
        id,
        version: from_integer(row.try_get("version").map_err(failed("policies"))?)?,
        digest: policy.digest(),
        created: from_integer(row.try_get("created").map_err(failed("policies"))?)?,
    };
    Ok(StoredPolicy { metadata, toml, policy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release_policy::tests::policy_text;
    use strongroom_wire::Realm;

    #[tokio::test]
    async fn last_version_is_in_force_and_the_same_document_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(&path, &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let id = ResourcePath::parse("a/b/c").unwrap();
        assert_eq!(store.policy(&id).await.unwrap_err().code, Code::NoPolicy);

        let (first, second) = (policy_text(1), policy_text(2));
        assert_eq!(store.put_policy(&id, first.as_bytes(), 5).await.unwrap().version, 1);
        assert_eq!(store.put_policy(&id, first.as_bytes(), 6).await.unwrap().version, 1);
        assert_eq!(store.put_policy(&id, second.as_bytes(), 7).await.unwrap().version, 2);
        assert_eq!(store.policy(&id).await.unwrap().toml, second.as_bytes());
        assert_eq!(store.put_policy(&id, first.as_bytes(), 8).await.unwrap().version, 3);

        let other = ResourcePath::parse("a/b/d").unwrap();
        store.put_policy(&other, second.as_bytes(), 9).await.unwrap();
        let all = store.policies().await.unwrap();
        let versions: Vec<_> = all.iter().map(|one| (one.metadata.id.as_str(), one.metadata.version)).collect();
        assert_eq!(versions, [("a/b/c", 3), ("a/b/d", 1)]);
        assert_eq!(store.put_policy(&id, b"version = 1", 9).await.unwrap_err().code, Code::PolicyInvalid);
    }
}
