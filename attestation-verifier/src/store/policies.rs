//! Release policies: every version is kept, the last is in force.

use super::authentic::{Content, verify_read};
use super::tables::{Name, Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::Arc;
use strongroom_appraisal::{ReleasePolicy, UnixTime};
use strongroom_artifact::verify_signers;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Code, Refusal, Result};

pub(super) const TABLE: Table = Table {
    name: "policies",
    key: &["id", "version"],
    names: "SELECT id, version, mac FROM policies ORDER BY id, version",
    rewrap: |row, old, new| {
        let (metadata, toml) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&metadata, &toml).bytes()), sealed: None })
    },
};

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

impl Transaction<'_> {
    /// Puts a policy into force. The document that is in force already makes no new version.
    ///
    /// # Errors
    /// Those of [`ReleasePolicy::parse`]; `policy-invalid`: a signer's key is none;
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn put_policy(&mut self, id: &ResourcePath, toml: &[u8], now: UnixTime) -> Result<PolicyMetadata> {
        verify_trust(&ReleasePolicy::parse(toml)?)?;
        self.put_text(id, toml, now).await
    }

    /// [`Self::put_policy`] of a text that was judged.
    async fn put_text(&mut self, id: &ResourcePath, toml: &[u8], now: UnixTime) -> Result<PolicyMetadata> {
        // One in force that is refused by now is replaced like any other.
        let before = self.find_text(id).await?;
        if let Some((metadata, _)) = before.as_ref().filter(|(_, before)| before == toml) {
            return Ok(metadata.clone());
        }
        let version = before.map_or(0, |(metadata, _)| metadata.version).saturating_add(1);
        let metadata = PolicyMetadata { id: id.to_string(), version, digest: Sha256::of(toml), created: now };
        let insert = "INSERT INTO policies (id, version, toml, created, mac) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(insert).bind(id.as_str()).bind(to_integer(version)?).bind(toml);
        let insert = insert.bind(to_integer(now)?).bind(self.master.mac(content(&metadata, toml).bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("policies"))?;
        self.changed(&TABLE)?;
        Ok(metadata)
    }

    /// The policy in force for a key, without what it takes of documents ([`Transaction::policy_in_force`]).
    ///
    /// # Errors
    /// `no-policy`; `store-failed`; `store-tampered`.
    pub(crate) async fn policy(&mut self, id: &ResourcePath) -> Result<Arc<StoredPolicy>> {
        let none = || Refusal::new(Code::NoPolicy, "release policy").got(id);
        let names = self.names(&TABLE).await?;
        if let Some(all) = self.documents.release_policies.get(names.as_ref()) {
            return all.iter().find(|stored| stored.metadata.id == id.as_str()).cloned().ok_or_else(none);
        }
        stored(self.find_text(id).await?.ok_or_else(none)?).map(Arc::new)
    }

    /// The policy in force as it was put.
    async fn find_text(&mut self, id: &ResourcePath) -> Result<Option<(PolicyMetadata, Vec<u8>)>> {
        let names = self.names(&TABLE).await?;
        let select = "SELECT id, version, toml, created, mac FROM policies WHERE id = $1 ORDER BY version DESC LIMIT 1";
        let rows = sqlx::query(select).bind(id.as_str()).fetch_all(&mut *self.sql).await.map_err(failed("policies"))?;
        let own = names.as_deref().map(|names| in_force(names).filter(|name| name.id == id.as_str()));
        verify_read(&TABLE, own, &rows)?;
        rows.first().map(|row| authentic(row, self.master)).transpose()
    }

    /// All policies in force, by id, without what they take of documents ([`Transaction::policies_in_force`]); read and parsed once,
    /// however often they are asked for.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn policies(&mut self) -> Result<Arc<Vec<Arc<StoredPolicy>>>> {
        let names = self.names(&TABLE).await?;
        if let Some(all) = self.documents.release_policies.get(names.as_ref()) {
            return Ok(all);
        }
        let select = "SELECT id, version, toml, created, mac FROM policies AS one
             WHERE version = (SELECT MAX(version) FROM policies WHERE id = one.id) ORDER BY id";
        let rows = sqlx::query(select).fetch_all(&mut *self.sql).await.map_err(failed("policies"))?;
        verify_read(&TABLE, names.as_deref().map(|names| in_force(names)), &rows)?;
        let all = rows.iter().map(|row| stored(authentic(row, self.master)?).map(Arc::new)).collect::<Result<_>>()?;
        Ok(self.documents.release_policies.put(names, all))
    }
}

/// Of all versions, the last of each id: they come one after the other.
fn in_force(names: &[Name]) -> impl Iterator<Item = &Name> {
    let next = names.iter().skip(1).map(Some).chain([None]);
    names.iter().zip(next).filter(|(name, next)| next.is_none_or(|next| next.id != name.id)).map(|(name, _)| name)
}

fn verify_trust(policy: &ReleasePolicy) -> Result<()> {
    verify_signers(policy.trust()).map_err(|refusal| Refusal { code: Code::PolicyInvalid, ..refusal })
}

/// What a row is authenticated by.
fn content(metadata: &PolicyMetadata, toml: &[u8]) -> Content {
    let content = Content::of("strongroom/stored-policy-row/v1").field(metadata.id.as_bytes());
    content.number(metadata.version).number(metadata.created).field(toml)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(PolicyMetadata, Vec<u8>)> {
    let error = failed("policies");
    let toml: Vec<u8> = row.try_get("toml").map_err(&error)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let metadata = PolicyMetadata {
        id: row.try_get("id").map_err(&error)?,
        version: from_integer(row.try_get("version").map_err(&error)?)?,
        digest: Sha256::of(&toml),
        created: from_integer(row.try_get("created").map_err(&error)?)?,
    };
    master.verify(&what(&metadata), content(&metadata, &toml).bytes(), &mac)?;
    Ok((metadata, toml))
}

fn stored((metadata, toml): (PolicyMetadata, Vec<u8>)) -> Result<StoredPolicy> {
    let policy = ReleasePolicy::parse(&toml);
    let policy = policy.map_err(|refusal| refusal.within(what(&metadata)))?;
    Ok(StoredPolicy { metadata, toml, policy })
}

fn what(metadata: &PolicyMetadata) -> String {
    format!("stored policy `{}`", metadata.id)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::{Database, Store};
    use strongroom_artifact::SigningKey;
    use strongroom_wire::Realm;

    /// A policy that fixes one measurement, by its first byte.
    pub(in crate::store) fn policy_text(first: u8) -> String {
        let key = SigningKey::generate().unwrap().public().pem();
        format!(
            "version = 1\n[snp]\nmeasurement = {{ exactly = \"{first:02x}{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n\
             [[release.trust.rule]]\nrepository = \"r:1/models/*\"\n\
             [[release.trust.rule.signer]]\nname = \"a\"\nkey = \"\"\"{key}\"\"\"\n",
            "00".repeat(47),
            "00".repeat(32),
        )
    }

    #[tokio::test]
    async fn policy_whose_signer_has_no_key_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let mut store = store.begin().await.unwrap();
        let id = ResourcePath::parse("a/b/c").unwrap();
        let text = policy_text(1);
        let none = text.replace("BEGIN PUBLIC", "BEGIN SECRET");
        assert_eq!(store.put_policy(&id, none.as_bytes(), 5).await.unwrap_err().code, Code::PolicyInvalid);
        assert!(store.put_policy(&id, text.as_bytes(), 5).await.is_ok());
    }

    #[tokio::test]
    async fn last_version_is_in_force_and_the_same_document_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        let mut store = store.begin().await.unwrap();
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
