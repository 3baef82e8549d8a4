//! Signed documents that release policies take something from (reference values, inventories): the newest of each name, and
//! the policies in force with what they take.

use super::authentic::{Content, verify_read};
use super::policies::StoredPolicy;
use super::tables::{Rewrapped, Table};
use super::verified::{Memory, Outcome};
use super::{Transaction, failed, from_integer, to_integer};
use crate::master_key::MasterKey;
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::sync::Arc;
use strongroom_appraisal::{Policy, ReferenceValues, SignedDocument, Source, UnixTime, Verified};
use strongroom_wire::bytes::hex_array;
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::inventory::Inventory;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::{Refusal, Result, limits};

pub(super) const TABLE: Table = Table {
    name: "documents",
    key: &["kind", "name", "signers"],
    names: "SELECT kind, signers, name, version, mac FROM documents ORDER BY kind, name, signers",
    rewrap: |row, old, new| {
        let (metadata, envelope) = authentic(row, old)?;
        Ok(Rewrapped { mac: new.mac(content(&metadata, &envelope).bytes()), sealed: None })
    },
};

/// What a list shows of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DocumentMetadata {
    /// `reference-values` or `inventory`.
    pub kind: String,
    /// By what policies name it.
    pub name: String,
    /// Whose versions it is compared with: of which keys and threshold, as policies name them.
    pub signers: Sha256,
    /// Its own.
    pub version: u64,
    /// SHA-256 of what was signed.
    pub digest: Sha256,
    /// Since when it is kept, in seconds since 1970.
    pub created: UnixTime,
}

/// A release policy in force, with what it takes of the documents that are kept.
#[derive(Debug, Clone)]
pub(crate) struct PolicyInForce {
    /// The policy; as it was put, where it lacks something.
    pub stored: Arc<StoredPolicy>,
    /// Why it could not take all that it takes. It accepts nobody then.
    pub lacks: Option<Refusal>,
}

impl Transaction<'_> {
    /// Keeps a signed document in place of an older one of its kind, name and signers, for each set of signers that a release
    /// policy in force names and that signed it.
    ///
    /// # Errors
    /// `malformed`, `too-large`: no envelope of such a document; those of [`Source::verify`], where no release policy in force
    /// that names it takes it; `reference-values-invalid`, `inventory-invalid`: none names it; `reference-values-rolled-back`,
    /// `inventory-rolled-back`: older than the one that is kept, or another of its version; `store-failed`; `store-tampered`.
    pub(crate) async fn put_document(&mut self, envelope: &[u8], now: UnixTime) -> Result<Vec<DocumentMetadata>> {
        if envelope.len() > limits::STORED_DOCUMENT {
            return Err(Refusal::too_large("signed document", envelope.len(), limits::STORED_DOCUMENT));
        }
        let parsed = Envelope::parse(envelope)?;
        match parsed.payload_type.as_str() {
            ReferenceValues::PAYLOAD_TYPE => self.put_of(&parsed, envelope, Policy::reference_sources, now).await,
            Inventory::PAYLOAD_TYPE => self.put_of(&parsed, envelope, Policy::inventory_sources, now).await,
            other => Err(Refusal::malformed("payload type of a signed document", other)),
        }
    }

    async fn put_of<D: SignedDocument>(
        &mut self,
        parsed: &Envelope,
        envelope: &[u8],
        sources: impl Fn(&Policy) -> &[Source<D>],
        now: UnixTime,
    ) -> Result<Vec<DocumentMetadata>> {
        // The name is not verified yet. It only chooses whose keys are asked, and is compared again under their signature.
        let name = D::parse(&parsed.payload)?.name().to_owned();
        let policies = self.policies().await?;
        let named = policies.iter().flat_map(|stored| sources(stored.policy.appraisal()));
        let named: Vec<_> =
            named.filter(|source| source.name == name).map(|source| source.verify(envelope, now)).collect();
        let unnamed = || Refusal::new(D::CODES.invalid, format!("{} that no release policy names", D::WHAT)).got(&name);
        let (held, refused): (Vec<_>, Vec<_>) = named.into_iter().partition(Result::is_ok);
        let held: BTreeMap<_, _> =
            held.into_iter().flatten().map(|verified| (verified.signed_by().0, verified)).collect();
        if held.is_empty() {
            return Err(refused.into_iter().find_map(Result::err).unwrap_or_else(unnamed));
        }
        let mut kept = Vec::new();
        for verified in held.values() {
            kept.push(self.keep(verified, envelope, now).await?);
        }
        self.changed(&TABLE)?;
        Ok(kept)
    }

    async fn keep<D: SignedDocument>(
        &mut self,
        verified: &Verified<D>,
        envelope: &[u8],
        now: UnixTime,
    ) -> Result<DocumentMetadata> {
        let (version, digest, signers) = (verified.document().version(), verified.digest(), verified.signed_by());
        let (kind, name) = (D::SEEN.as_str(), verified.document().name().to_owned());
        if let Some((before, _)) = self.document(kind, &name, signers).await? {
            let back = || Refusal::new(D::SEEN.code(), format!("{} `{name}`", D::WHAT));
            if version < before.version {
                return Err(back().got(version).want(format!("at least {}, which is kept", before.version)));
            }
            if version == before.version && digest != before.digest {
                return Err(back().got(format!("another document of version {version}")).want(before.digest));
            }
        }
        let metadata = DocumentMetadata { kind: kind.to_owned(), name, signers, version, digest, created: now };
        let insert =
            "INSERT INTO documents (kind, name, signers, version, envelope, created, mac) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (kind, name, signers) DO UPDATE SET version = excluded.version, envelope = excluded.envelope,
             created = excluded.created, mac = excluded.mac";
        let insert = sqlx::query(insert).bind(&metadata.kind).bind(&metadata.name).bind(signers.to_string());
        let insert = insert.bind(to_integer(version)?).bind(envelope).bind(to_integer(now)?);
        let insert = insert.bind(self.master.mac(content(&metadata, envelope).bytes()));
        insert.execute(&mut *self.sql).await.map_err(failed("documents"))?;
        Ok(metadata)
    }

    /// All that are kept, by kind and name.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn documents(&mut self) -> Result<Vec<DocumentMetadata>> {
        self.verify_rows().await?;
        let select =
            "SELECT kind, name, signers, version, envelope, created, mac FROM documents ORDER BY kind, name, signers";
        let rows = sqlx::query(select).fetch_all(&mut *self.sql).await.map_err(failed("documents"))?;
        rows.iter().map(|row| authentic(row, self.master).map(|(metadata, _)| metadata)).collect()
    }

    /// The policy in force for a key, with all that it takes.
    ///
    /// # Errors
    /// Those of [`Transaction::policy`]; why it could not take something.
    pub(crate) async fn policy_in_force(&mut self, id: &ResourcePath, now: UnixTime) -> Result<Arc<StoredPolicy>> {
        let stored = self.policy(id).await?;
        let PolicyInForce { stored, lacks } = self.taking(stored, now).await?;
        lacks.map_or(Ok(stored), Err)
    }

    /// All policies in force, by id, each with what it takes.
    ///
    /// # Errors
    /// Those of [`Transaction::policies`].
    pub(crate) async fn policies_in_force(&mut self, now: UnixTime) -> Result<Vec<PolicyInForce>> {
        let mut policies = Vec::new();
        for stored in self.policies().await?.iter() {
            policies.push(self.taking(Arc::clone(stored), now).await?);
        }
        Ok(policies)
    }

    async fn taking(&mut self, stored: Arc<StoredPolicy>, now: UnixTime) -> Result<PolicyInForce> {
        let appraisal = stored.policy.appraisal();
        if appraisal.reference_sources().is_empty() && appraisal.inventory_sources().is_empty() {
            return Ok(PolicyInForce { stored, lacks: None });
        }
        let documents = self.documents;
        let values = self.kept(appraisal.reference_sources(), &documents.reference_values).await?;
        let inventories = self.kept(appraisal.inventory_sources(), &documents.inventories).await?;
        let taken = all(&values).and_then(|values| stored.policy.with_documents(&values, &all(&inventories)?, now));
        Ok(match taken {
            Ok(policy) => {
                PolicyInForce { stored: Arc::new(StoredPolicy { policy, ..StoredPolicy::clone(&stored) }), lacks: None }
            }
            Err(refusal) => {
                let refusal = refusal.within(format!("release policy `{}`", stored.metadata.id));
                PolicyInForce { stored, lacks: Some(refusal) }
            }
        })
    }

    /// What is kept of `sources`.
    async fn kept<D: SignedDocument>(&mut self, sources: &[Source<D>], memory: &Memory<D>) -> Result<Vec<Outcome<D>>> {
        let mut kept = Vec::new();
        for source in sources {
            kept.extend(self.verified_once(source, memory).await?);
        }
        Ok(kept)
    }

    /// What is kept of `source`, of any date and version.
    async fn verified_once<D: SignedDocument>(
        &mut self,
        source: &Source<D>,
        memory: &Memory<D>,
    ) -> Result<Option<Outcome<D>>> {
        let (kind, name, signers) = (D::SEEN.as_str(), &source.name, source.signed_by());
        let mac = match self.names(&TABLE).await? {
            Some(names) => {
                let id = id(kind, name, signers);
                names.iter().find(|row| row.id == id).map(|row| row.mac.clone())
            }
            None => {
                let select = "SELECT mac FROM documents WHERE kind = $1 AND name = $2 AND signers = $3";
                let select = sqlx::query_scalar(select).bind(kind).bind(name).bind(signers.to_string());
                select.fetch_optional(&mut *self.sql).await.map_err(failed("documents"))?
            }
        };
        let Some(mac) = mac else { return Ok(None) };
        if let Some(outcome) = memory.get(name, signers, &mac) {
            return Ok(Some(outcome));
        }
        let Some((metadata, envelope)) = self.document(kind, name, signers).await? else { return Ok(None) };
        let any_version = Source::<D>::new(name.clone(), source.signers.clone());
        // It was valid when it was put.
        let outcome = Arc::new(any_version.verify(&envelope, metadata.created));
        memory.put(name, signers, mac, Arc::clone(&outcome));
        Ok(Some(outcome))
    }

    async fn document(
        &mut self,
        kind: &str,
        name: &str,
        signers: Sha256,
    ) -> Result<Option<(DocumentMetadata, Vec<u8>)>> {
        let names = self.names(&TABLE).await?;
        let select = "SELECT kind, name, signers, version, envelope, created, mac FROM documents
             WHERE kind = $1 AND name = $2 AND signers = $3";
        let rows = sqlx::query(select).bind(kind).bind(name).bind(signers.to_string()).fetch_all(&mut *self.sql).await;
        let rows = rows.map_err(failed("documents"))?;
        let id = id(kind, name, signers);
        verify_read(&TABLE, names.as_ref().map(|names| names.iter().filter(|row| row.id == id)), &rows)?;
        rows.first().map(|row| authentic(row, self.master)).transpose()
    }
}

/// As rows of the set are named: kind and signers have no space in them.
fn id(kind: &str, name: &str, signers: Sha256) -> String {
    format!("{kind} {signers} {name}")
}

fn all<D>(outcomes: &[Outcome<D>]) -> Result<Vec<&Verified<D>>> {
    outcomes.iter().map(|outcome| outcome.as_ref().as_ref().map_err(Clone::clone)).collect()
}

/// What a row is authenticated by.
fn content(metadata: &DocumentMetadata, envelope: &[u8]) -> Content {
    let content = Content::of("strongroom/stored-document-row/v1").field(metadata.kind.as_bytes());
    let content = content.field(metadata.name.as_bytes()).field(&metadata.signers.0);
    content.number(metadata.version).number(metadata.created).field(envelope)
}

/// A row that is what was put.
fn authentic(row: &AnyRow, master: &MasterKey) -> Result<(DocumentMetadata, Vec<u8>)> {
    let error = failed("documents");
    let envelope: Vec<u8> = row.try_get("envelope").map_err(&error)?;
    let mac: Vec<u8> = row.try_get("mac").map_err(&error)?;
    let mut metadata = DocumentMetadata {
        kind: row.try_get("kind").map_err(&error)?,
        name: row.try_get("name").map_err(&error)?,
        signers: Sha256(hex_array(&row.try_get::<String, _>("signers").map_err(&error)?, "signers")?),
        version: from_integer(row.try_get("version").map_err(&error)?)?,
        digest: Sha256([0; 32]),
        created: from_integer(row.try_get("created").map_err(&error)?)?,
    };
    let what = format!("stored document `{}`", metadata.name);
    master.verify(&what, content(&metadata, &envelope).bytes(), &mac)?;
    metadata.digest = Sha256::of(&Envelope::parse(&envelope)?.payload);
    Ok((metadata, envelope))
}

#[cfg(test)]
mod tests;
