//! What promoters said of a model, by whoever's word for it counts: signatures that hold, or a verifier that keeps them.

use crate::admin::AdminClient;
use serde::Deserialize;
use strongroom_artifact::promotion::{SignedStatement, Statement, Statements, parse_attached};
use strongroom_artifact::{PublicKey, Signers};
use strongroom_registry_client::{Reference, RegistryClient, fetch_promotions};
use strongroom_wire::bytes::from_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Code, Refusal, Result};

/// A statement, and who signed it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) statement: Statement,
    pub(super) signed_by: String,
}

/// What a verifier says that it keeps.
#[derive(Deserialize)]
pub(super) struct Kept {
    pub(super) signed_by: String,
    bundle: String,
}

/// The statements in the registry that promoters of a rule signed, or this key.
pub(super) async fn verified_in_registry(
    client: &RegistryClient,
    reference: &Reference,
    manifest: Sha256,
    demanded: Option<Statements>,
    own: Option<PublicKey>,
) -> Result<Vec<Told>> {
    let bundles = fetch_promotions(client, reference, manifest).await?;
    let signed: Vec<SignedStatement> = match (demanded, own.map(Signers::of_key)) {
        (Some(mut promoters), _) => bundles.iter().filter_map(|bundle| promoters.add(bundle).ok().cloned()).collect(),
        (None, Some(own)) => bundles.iter().filter_map(|bundle| SignedStatement::verify(bundle, &own).ok()).collect(),
        (None, None) => Vec::new(),
    };
    let told = |signed: SignedStatement| {
        let signed_by = signed.credential().to_string();
        Told { statement: signed.statement().clone(), signed_by }
    };
    Ok(signed.into_iter().map(told).collect())
}

/// What the verifier keeps about a repository, in one environment or all.
pub(super) async fn kept(
    verifier: &AdminClient,
    repository: &str,
    environment: Option<&Environment>,
) -> Result<Vec<Kept>> {
    let environment = environment.map(|environment| format!("&environment={environment}")).unwrap_or_default();
    verifier.get_json(&format!("promotions?repository={repository}{environment}")).await
}

/// [`kept`], read.
pub(super) async fn said_by_verifier(
    verifier: &AdminClient,
    repository: &str,
    environment: Option<&Environment>,
) -> Result<Vec<Told>> {
    let read = |kept: Kept| Ok(Told { statement: kept.statement()?, signed_by: kept.signed_by });
    kept(verifier, repository, environment).await?.into_iter().map(read).collect()
}

impl Kept {
    pub(super) fn bundle(&self) -> Result<Vec<u8>> {
        from_base64(&self.bundle, "bundle of the verifier")
    }

    fn statement(&self) -> Result<Statement> {
        let none = || Refusal::new(Code::Malformed, "verifier's answer about promotions").got("another bundle");
        parse_attached(&self.bundle()?).ok_or_else(none)?
    }
}
