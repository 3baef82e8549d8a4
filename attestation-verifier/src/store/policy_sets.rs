//! Cedar policies: every version is kept, the last is in force. To go back is to put an earlier one again, as a version of its
//! own: that an older one is in force can then not be taken for nobody having put a newer one.

use super::authentic::{Content, verify_read};
use super::tables::{Rewrapped, Table};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_policy::Policies;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "policy_sets",
    key: &["version"],
    names: "SELECT '', version, mac FROM policy_sets ORDER BY version",
    rewrap: |row, old, new| {
        let (metadata, cedar) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&metadata, &cedar).bytes()), sealed: None })
    },
};

/// What a list shows of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicySetMetadata {
    /// From 1.
    pub version: u64,
    /// SHA-256 of the text.
    pub digest: Sha256,
    /// Seconds since 1970.
    pub created: UnixTime,
    /// What the administrator said of it.
    pub comment: String,
}

/// The policies in force, parsed.
#[derive(Debug)]
pub(crate) struct PolicySet {
    /// Which version.
    pub version: u64,
    /// What it says.
    pub policies: Policies,
}

/// The version that was parsed last, with the code of its row, which covers all of it.
#[derive(Debug, Default)]
pub(super) struct Parsed(Mutex<Option<(Vec<u8>, Arc<PolicySet>)>>);

impl Parsed {
    fn find(&self, version: u64, mac: &[u8]) -> Option<Arc<PolicySet>> {
        let parsed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, set) = parsed.as_ref()?;
        (of == mac && set.version == version).then(|| Arc::clone(set))
    }

    fn keep(&self, mac: Vec<u8>, set: &Arc<PolicySet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((mac, Arc::clone(set)));
    }
}

impl Transaction<'_> {
    /// Puts policies into force. Those that are in force already make no new version.
    ///
    /// # Errors
    /// Those of [`Policies::parse`], which leave in force what is; `malformed`: a comment with a control character; `too-large`: a
    /// longer one than [`limits::POLICY_COMMENT`]; `store-failed`; `store-tampered`.
    pub(crate) async fn put_policy_set(
        &mut self,
        cedar: &[u8],
        comment: &str,
        now: UnixTime,
    ) -> Result<PolicySetMetadata> {
        Policies::parse(cedar)?;
        let length = comment.chars().count();
        if length > limits::POLICY_COMMENT {
            return Err(Refusal::too_large("comment", length, limits::POLICY_COMMENT));
        }
        if comment.contains(char::is_control) {
            return Err(Refusal::new(Code::Malformed, "comment").got("a control character").want("printable text"));
        }
        let before = self.last_policy_set().await?;
        if let Some((metadata, _, _)) = before.as_ref().filter(|(_, before, _)| before == cedar) {
            return Ok(metadata.clone());
        }
        let version = before.map_or(0, |(metadata, ..)| metadata.version).saturating_add(1);
        let metadata =
            PolicySetMetadata { version, digest: Sha256::of(cedar), created: now, comment: comment.to_owned() };
        let insert = "INSERT INTO policy_sets (version, cedar, comment, created, mac) VALUES ($1, $2, $3, $4, $5)";
        let insert = sqlx::query(insert).bind(to_integer(version)?).bind(cedar).bind(comment);
        let insert = insert.bind(to_integer(now)?).bind(self.master.mac(content(&metadata, cedar).bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("policies"))?;
        self.changed(&TABLE)?;
        Ok(metadata)
    }

    /// The policies in force: parsed once, however often they are asked.
    ///
    /// # Errors
    /// `authorization-empty`: none were ever put; `policy-invalid`: this program takes them no more; `store-failed`;
    /// `store-tampered`.
    pub(crate) async fn policy_set_in_force(&mut self) -> Result<Arc<PolicySet>> {
        let none = || Refusal::new(Code::AuthorizationEmpty, "policies").got("none").want("a version in force");
        let names = self.names(&TABLE).await?;
        if let Some(names) = &names {
            let last = names.last().ok_or_else(none)?;
            if let Some(set) = self.documents.policies.find(from_integer(last.version)?, &last.mac) {
                return Ok(set);
            }
        }
        let (metadata, cedar, mac) = self.last_policy_set().await?.ok_or_else(none)?;
        let policies = Policies::parse(&cedar);
        let policies = policies.map_err(|refusal| refusal.within(what(metadata.version)))?;
        let set = Arc::new(PolicySet { version: metadata.version, policies });
        self.documents.policies.keep(mac, &set);
        Ok(set)
    }

    /// All versions, the one in force last.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn policy_sets(&mut self) -> Result<Vec<PolicySetMetadata>> {
        self.verify_rows().await?;
        let select = sqlx::query("SELECT version, cedar, comment, created, mac FROM policy_sets ORDER BY version");
        let rows = select.fetch_all(&mut *self.sql).await.map_err(failed("policies"))?;
        rows.iter().map(|row| authentic(row, self.master).map(|(metadata, _)| metadata)).collect()
    }

    /// The text of a version.
    ///
    /// # Errors
    /// `no-policy`: there is no such version; `store-failed`; `store-tampered`.
    pub(crate) async fn policy_set(&mut self, version: u64) -> Result<Vec<u8>> {
        self.verify_rows().await?;
        let select = "SELECT version, cedar, comment, created, mac FROM policy_sets WHERE version = $1";
        let row = sqlx::query(select).bind(to_integer(version)?).fetch_optional(&mut *self.sql).await;
        let row = row.map_err(failed("policies"))?;
        let row = row.ok_or_else(|| Refusal::new(Code::NoPolicy, "version of the policies").got(version))?;
        authentic(&row, self.master).map(|(_, cedar)| cedar)
    }

    /// The version in force, its text, and the code of its row.
    async fn last_policy_set(&mut self) -> Result<Option<(PolicySetMetadata, Vec<u8>, Vec<u8>)>> {
        let names = self.names(&TABLE).await?;
        let select = "SELECT version, cedar, comment, created, mac FROM policy_sets ORDER BY version DESC LIMIT 1";
        let rows = sqlx::query(select).fetch_all(&mut *self.sql).await.map_err(failed("policies"))?;
        verify_read(&TABLE, names.as_ref().map(|names| names.last().into_iter()), &rows)?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (metadata, cedar) = authentic(row, self.master)?;
        Ok(Some((metadata, cedar, row.try_get("mac").map_err(failed("policies"))?)))
    }
}

/// What a row is authenticated by.
fn content(metadata: &PolicySetMetadata, cedar: &[u8]) -> Content {
    let content = Content::of("strongroom/stored-policy-set-row/v1").number(metadata.version);
    content.number(metadata.created).field(metadata.comment.as_bytes()).field(cedar)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(PolicySetMetadata, Vec<u8>)> {
    let error = failed("policies");
    let cedar: Vec<u8> = row.try_get("cedar").map_err(&error)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let metadata = PolicySetMetadata {
        version: from_integer(row.try_get("version").map_err(&error)?)?,
        digest: Sha256::of(&cedar),
        created: from_integer(row.try_get("created").map_err(&error)?)?,
        comment: row.try_get("comment").map_err(&error)?,
    };
    master.verify(&what(metadata.version), content(&metadata, &cedar).bytes(), &mac)?;
    Ok((metadata, cedar))
}

fn what(version: u64) -> String {
    format!("version {version} of the policies")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::tests::{put_back, take_triggers};
    use crate::store::{Database, Store};
    use std::path::Path;
    use strongroom_wire::Realm;

    async fn open(folder: &Path) -> Result<Store> {
        Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
    }

    fn permit(id: &str) -> String {
        format!("@id(\"{id}\") permit (principal, action, resource);")
    }

    /// Puts policies for good.
    async fn put(store: &Store, cedar: &str) -> Result<u64> {
        let mut transaction = store.begin().await?;
        let metadata = transaction.put_policy_set(cedar.as_bytes(), "why", 5).await?;
        transaction.commit_in_test().await?;
        Ok(metadata.version)
    }

    async fn in_force(store: &Store) -> Result<(u64, Vec<String>)> {
        let set = store.begin_reading().await?.policy_set_in_force().await?;
        Ok((set.version, set.policies.ids()))
    }

    #[tokio::test]
    async fn last_version_is_in_force_bad_ones_leave_it_and_the_same_makes_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        assert_eq!(in_force(&store).await.unwrap_err().code, Code::AuthorizationEmpty);
        let [a, b] = ["a", "b"].map(permit);
        assert_eq!(put(&store, &a).await.unwrap(), 1);
        assert_eq!(put(&store, &a).await.unwrap(), 1);
        assert_eq!(put(&store, &b).await.unwrap(), 2);
        assert_eq!(in_force(&store).await.unwrap(), (2, vec!["b".into()]));
        for bad in [
            "permit (principal, action, resource);",
            "permit",
            "@id(\"c\") permit (principal, action, resource) when { context.x };",
        ] {
            assert_eq!(put(&store, bad).await.unwrap_err().code, Code::PolicyInvalid, "{bad}");
            assert_eq!(in_force(&store).await.unwrap(), (2, vec!["b".into()]), "{bad}");
        }
        assert_eq!(put(&store, &a).await.unwrap(), 3);
        assert_eq!(in_force(&store).await.unwrap(), (3, vec!["a".into()]));
        drop(store);
        let store = open(folder.path()).await.unwrap();
        assert_eq!(in_force(&store).await.unwrap(), (3, vec!["a".into()]));
        let mut transaction = store.begin().await.unwrap();
        let versions = transaction.policy_sets().await.unwrap();
        assert_eq!(versions.iter().map(|one| one.version).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((versions[0].digest, versions[0].comment.as_str()), (versions[2].digest, "why"));
        assert_eq!(transaction.policy_set(2).await.unwrap(), b.as_bytes());
        assert_eq!(transaction.policy_set(4).await.unwrap_err().code, Code::NoPolicy);
    }

    #[tokio::test]
    async fn version_that_was_not_committed_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        put(&store, &permit("a")).await.unwrap();
        let mut dropped = store.begin().await.unwrap();
        dropped.put_policy_set(permit("b").as_bytes(), "", 5).await.unwrap();
        assert_eq!(dropped.policy_set_in_force().await.unwrap().version, 2);
        drop(dropped);
        assert_eq!(in_force(&store).await.unwrap(), (1, vec!["a".into()]));
        assert_eq!(put(&store, &permit("c")).await.unwrap(), 2);
        assert_eq!(in_force(&store).await.unwrap(), (2, vec!["c".into()]));
    }

    #[tokio::test]
    async fn comment_as_long_as_the_limit_and_of_printable_characters_accepted_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        let (longest, longer) = ("ä".repeat(limits::POLICY_COMMENT), "ä".repeat(limits::POLICY_COMMENT + 1));
        for (comment, code) in [(longer.as_str(), Code::TooLarge), ("a\nb", Code::Malformed)] {
            let put = transaction.put_policy_set(permit("a").as_bytes(), comment, 5).await;
            assert_eq!(put.unwrap_err().code, code);
        }
        let put = transaction.put_policy_set(permit("a").as_bytes(), &longest, 5).await;
        assert_eq!(put.unwrap().comment, longest);
    }

    #[tokio::test]
    async fn version_changed_added_or_taken_out_without_the_master_key_is_noticed() {
        for (statement, tampered) in [
            ("SELECT 1", false),
            (
                "UPDATE policy_sets SET cedar = (SELECT cedar FROM policy_sets WHERE version = 1) WHERE version = 2",
                true,
            ),
            ("UPDATE policy_sets SET comment = 'x' WHERE version = 2", true),
            ("UPDATE policy_sets SET created = 6 WHERE version = 2", true),
            ("UPDATE policy_sets SET version = 3 WHERE version = 1", true),
            ("DELETE FROM policy_sets WHERE version = 2", true),
            ("DELETE FROM policy_sets", true),
            ("INSERT INTO policy_sets SELECT 3, cedar, comment, created, mac FROM policy_sets WHERE version = 1", true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let store = open(folder.path()).await.unwrap();
            for id in ["a", "b"] {
                put(&store, &permit(id)).await.unwrap();
            }
            drop(store);
            let store = open(folder.path()).await.unwrap();
            let triggers = take_triggers(&store).await;
            sqlx::query(statement).execute(&store.pool).await.unwrap();
            put_back(&store, triggers).await;
            let expected = tampered.then_some(Code::StoreTampered);
            let in_force = store.begin().await.unwrap().policy_set_in_force().await;
            assert_eq!(in_force.err().map(|refusal| refusal.code), expected, "{statement}");
        }
    }

    #[tokio::test]
    async fn version_can_neither_be_changed_nor_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        put(&store, &permit("a")).await.unwrap();
        for statement in ["UPDATE policy_sets SET cedar = x'00'", "DELETE FROM policy_sets"] {
            let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
            assert!(refused.to_string().contains("a version of the policies stays"), "{refused}");
        }
    }
}
