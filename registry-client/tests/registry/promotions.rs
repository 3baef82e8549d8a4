//! Who promoted a model, by the statements that a registry gives; and that what it fails to give is never "no demotion".

use crate::common::{NOW, code};
use crate::models::Shelf;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use strongroom_artifact::SigningKey;
use strongroom_artifact::cosign::sign_manifest;
use strongroom_artifact::promotion::{Action, PREDICATE_TYPE, Statement};
use strongroom_devkit::registry::{Fault, Target, Times};
use strongroom_registry_client::{attach_bundle, fetch_promotions, verify_model, verify_signed};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, PromotionRule, Signer, TrustFile};
use strongroom_wire::{Code, Result, limits};

/// A model whose rule demands a promotion by a key of its own.
struct Staged {
    shelf: Shelf,
    promoter: SigningKey,
    trust: TrustFile,
}

impl Staged {
    async fn new(api: bool) -> Self {
        let (shelf, promoter) = (Shelf::new(true, api).await, SigningKey::generate().unwrap());
        let promoters = vec![Signer::with_key("operations", promoter.public().pem())];
        let mut trust = shelf.trust.clone();
        trust.rules[0].promotion = Some(PromotionRule::new(production(), promoters));
        Self { shelf, promoter, trust }
    }

    fn statement(&self, sequence: u64, action: Action) -> Statement {
        let repository = self.shelf.peer.reference("m/demo").name();
        let manifest = self.shelf.pushed.manifest;
        Statement { manifest, repository, environment: production(), sequence, issued: NOW, action }
    }

    /// Attaches a bundle; gives the digest of the manifest around it.
    async fn attach(&self, bundle: Vec<u8>) -> Sha256 {
        let pinned = self.shelf.peer.reference("m/demo").pinned(self.shelf.pushed.manifest);
        attach_bundle(&self.shelf.peer.client, &pinned, bundle, NOW).await.unwrap()
    }

    async fn promote(&self, sequence: u64, by: &SigningKey) -> Sha256 {
        let action = Action::Promote { expires: NOW + 100, policy: None };
        self.attach(self.statement(sequence, action).sign(by).unwrap()).await
    }

    async fn demote(&self, sequence: u64) -> Sha256 {
        let action = Action::Demote { reason: "withdrawn".into() };
        self.attach(self.statement(sequence, action).sign(&self.promoter).unwrap()).await
    }

    /// The sequence of the promotion that holds.
    async fn verify_at(&self, now: u64) -> Result<u64> {
        let trusted =
            verify_model(&self.shelf.peer.client, &self.shelf.peer.reference("m/demo:v1"), &self.trust, now).await?;
        Ok(trusted.promotion().unwrap().sequence())
    }

    async fn verify(&self) -> Result<u64> {
        self.verify_at(NOW).await
    }

    fn fault(&self, target: Target, fault: Fault) {
        self.shelf.peer.registry.faults().set(target, Times::Always, fault);
    }
}

fn production() -> Environment {
    Environment::parse("production").unwrap()
}

#[tokio::test]
async fn model_that_is_promoted_accepted_and_signed_only_expired_or_demoted_refused() {
    for api in [true, false] {
        let staged = Staged::new(api).await;
        assert_eq!(code(staged.verify().await), Code::PromotionMissing);
        staged.promote(1, &SigningKey::generate().unwrap()).await;
        assert_eq!(code(staged.verify().await), Code::PromotionMissing);
        staged.promote(1, &staged.promoter).await;
        assert_eq!(staged.verify_at(NOW + 100).await.unwrap(), 1);
        assert_eq!(code(staged.verify_at(NOW + 101).await), Code::PromotionExpired);
        staged.demote(2).await;
        assert_eq!(code(staged.verify().await), Code::PromotionDemoted);
        staged.promote(3, &staged.promoter).await;
        assert_eq!(staged.verify().await.unwrap(), 3);
        let client = &staged.shelf.peer.client;
        assert!(
            verify_model(client, &staged.shelf.pushed.reference, &staged.shelf.trust, NOW).await.is_ok(),
            "not asked"
        );
    }
}

#[tokio::test]
async fn promotion_is_attached_as_what_it_is_and_a_signature_as_a_signature() {
    let staged = Staged::new(true).await;
    let kind = async |attached: Sha256| {
        let pinned = staged.shelf.peer.reference("m/demo").pinned(attached);
        let manifest = staged.shelf.peer.client.manifest(&pinned).await.unwrap();
        let manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        manifest["annotations"]["dev.sigstore.bundle.predicateType"].clone()
    };
    assert_eq!(kind(staged.promote(1, &staged.promoter).await).await, PREDICATE_TYPE);
    let signature = sign_manifest(&staged.shelf.pushed.manifest, &staged.promoter, &BTreeMap::new()).unwrap();
    assert_eq!(kind(staged.attach(signature).await).await, "https://sigstore.dev/cosign/sign/v1");
    let pinned = staged.shelf.peer.reference("m/demo");
    let found = fetch_promotions(&staged.shelf.peer.client, &pinned, staged.shelf.pushed.manifest).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn statement_that_the_registry_fails_to_give_is_never_no_demotion() {
    for api in [true, false] {
        let staged = Staged::new(api).await;
        staged.promote(1, &staged.promoter).await;
        let demotion = staged.demote(1).await;
        let status = |status| Fault::Status { status, retry_after: None };
        for (fault, want) in [
            (status(StatusCode::INTERNAL_SERVER_ERROR), Code::RegistryFailed),
            (status(StatusCode::NOT_FOUND), Code::RegistryNotFound),
            (Fault::FlipBit { at: 30 }, Code::ManifestDigestMismatch),
        ] {
            staged.fault(Target::Manifest(demotion.oci()), fault);
            assert_eq!(code(staged.verify().await), want, "though the promotion is there, api {api}");
            staged.shelf.peer.registry.faults().clear();
        }
        assert_eq!(code(staged.verify().await), Code::PromotionDemoted);
    }
}

/// Lists, in place of what was listed, these and `count` manifests that are something else.
async fn flood(staged: &Staged, listed: &[Sha256], count: usize) {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let mut entries: Vec<Value> = Vec::new();
    let entry = |digest: &Sha256, size: usize| json!({"mediaType": media_type, "digest": digest.oci(), "size": size});
    entries.extend(listed.iter().map(|digest| entry(digest, 1)));
    for number in 0..count {
        // The config blob of every referrer.
        let config =
            json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Sha256::of(b"{}").oci(), "size": 2});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [],
            "annotations": {"number": number.to_string()},
        });
        let manifest = manifest.to_string();
        let (digest, size) = (Sha256::of(manifest.as_bytes()), manifest.len());
        let pinned = staged.shelf.peer.reference("m/demo").pinned(digest);
        staged.shelf.peer.client.push_manifest(&pinned, media_type, manifest).await.unwrap();
        entries.push(entry(&digest, size));
    }
    let index = json!({"schemaVersion": 2, "manifests": entries}).to_string();
    staged.shelf.peer.registry.faults().clear();
    staged.fault(Target::Referrers(staged.shelf.pushed.manifest), Fault::Serve(index.into()));
}

#[tokio::test]
async fn as_many_referrers_as_are_looked_at_accepted_and_one_more_refused() {
    let staged = Staged::new(true).await;
    let listed = [staged.promote(1, &staged.promoter).await, staged.shelf.pushed.signature];
    flood(&staged, &listed, limits::REFERRERS - 2).await;
    assert_eq!(staged.verify().await.unwrap(), 1);
    flood(&staged, &listed, limits::REFERRERS - 1).await;
    assert_eq!(code(staged.verify().await), Code::TooLarge, "what was cut off may be a demotion");
}

#[tokio::test]
async fn long_attestation_beside_a_promotion_is_none() {
    let staged = Staged::new(true).await;
    staged.promote(1, &staged.promoter).await;
    staged.attach(vec![b' '; limits::SIGNATURE + 1]).await;
    assert_eq!(staged.verify().await.unwrap(), 1);
}

/// Attaches what is attached as `attached` once more, with a layer that says it is of another size.
async fn attach_again(staged: &Staged, attached: Sha256, size: u64) -> Sha256 {
    let named = staged.shelf.peer.reference("m/demo");
    let manifest = staged.shelf.peer.client.manifest(&named.pinned(attached)).await.unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    let media_type = manifest["mediaType"].as_str().unwrap().to_owned();
    manifest["layers"][0]["size"] = size.into();
    let manifest = manifest.to_string();
    let digest = Sha256::of(manifest.as_bytes());
    staged.shelf.peer.client.push_manifest(&named.pinned(digest), &media_type, manifest).await.unwrap();
    digest
}

#[tokio::test]
async fn referrer_that_lies_about_its_layer_stops_nobody_and_hides_nothing() {
    let staged = Staged::new(true).await;
    let stranger = SigningKey::generate().unwrap();
    for size in [0, 1, 100_000, u64::MAX] {
        let another = staged.promote(1, &stranger).await;
        attach_again(&staged, another, size).await;
    }
    assert_eq!(code(staged.verify().await), Code::PromotionMissing);
    let promotion = staged.promote(1, &staged.promoter).await;
    assert_eq!(staged.verify().await.unwrap(), 1);
    // The statement that counts is in a liar alone.
    let demotion = staged.demote(1).await;
    attach_again(&staged, demotion, 1).await;
    flood(&staged, &[promotion, staged.shelf.pushed.signature], 0).await;
    assert_eq!(staged.verify().await.unwrap(), 1);
    let liar = attach_again(&staged, demotion, 2).await;
    flood(&staged, &[promotion, staged.shelf.pushed.signature, liar], 0).await;
    assert_eq!(code(staged.verify().await), Code::PromotionDemoted);
}

#[tokio::test]
async fn blob_of_a_statement_that_the_registry_fails_to_give_refused() {
    let staged = Staged::new(true).await;
    staged.promote(1, &staged.promoter).await;
    let bundle = staged.statement(2, Action::Demote { reason: "withdrawn".into() }).sign(&staged.promoter).unwrap();
    staged.attach(bundle.clone()).await;
    // What stands in the way of a blob may well be longer than a bundle is.
    let page = |length: usize| Fault::Serve(vec![b'<'; length].into());
    for (fault, want) in [
        (Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None }, Code::RegistryNotFound),
        (page(100), Code::LayerDigestMismatch),
        (page(limits::SIGNATURE + 1), Code::LayerDigestMismatch),
        (page(limits::BUNDLE + 1), Code::TooLarge),
    ] {
        staged.fault(Target::Blob(Sha256::of(&bundle)), fault);
        assert_eq!(code(staged.verify().await), want);
        staged.shelf.peer.registry.faults().clear();
    }
    assert_eq!(code(staged.verify().await), Code::PromotionDemoted);
}

#[tokio::test]
async fn statements_are_shown_beside_what_the_registry_failed_to_give() {
    let staged = Staged::new(true).await;
    let lost = staged.promote(1, &staged.promoter).await;
    staged.demote(1).await;
    let fault = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
    staged.fault(Target::Manifest(lost.oci()), fault.clone());
    let shelf = &staged.shelf;
    let shown = async || verify_signed(&shelf.peer.client, &shelf.pushed.reference, &staged.trust).await.unwrap();
    let answer = shown().await;
    assert_eq!((answer.signed.is_ok(), answer.statements.len()), (true, 1));
    assert_eq!(answer.unread.unwrap().code, Code::RegistryNotFound);
    staged.fault(Target::Manifest(shelf.pushed.signature.oci()), fault);
    let answer = shown().await;
    assert_eq!((answer.signed.unwrap_err().code, answer.statements.len()), (Code::RegistryNotFound, 1));
    staged.shelf.peer.registry.faults().clear();
    assert_eq!((shown().await.statements.len(), shown().await.unread), (2, None));
}
