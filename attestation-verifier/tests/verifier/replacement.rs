//! Documents that let a model be replaced: the key of what was promoted last in its repository is released, and leases are given for it.

use crate::enclave::Enclave;
use crate::guest::Guest;
use crate::promotions::Staged;
use crate::revocations::put;
use crate::world::{KEY, KEY_VALUE};
use strongroom_artifact::promotion::Statement;
use strongroom_registry_client::Reference;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::{Environment, PromotionRule, Signer};

const OTHER: &str = "models/other/v1";

/// A document whose model may be replaced, or may not, and another model in the same repository, sealed with a key of its own.
async fn staged(replaceable: bool) -> (Staged, Reference) {
    let staged = Staged::new(1).await;
    let other = staged.world.push(staged.reference.repository(), OTHER, &staged.world.signer).await;
    staged.world.put_key(OTHER, &KEY_VALUE).await;
    let mut settings = staged.world.settings(&[staged.reference.to_string()]);
    settings.models[0].replaceable = replaceable;
    let promoters = vec![Signer::with_key("anna", staged.anna.public().pem())];
    let production = Environment::parse("production").unwrap();
    settings.trust.rules[0].promotion = Some(PromotionRule::new(production, promoters));
    let document = Deployment::render(&settings).unwrap();
    let (_, promotion) = staged.policy.split_once("\n[release.trust.rule.promotion]").unwrap();
    let policy = format!("{}\n[release.trust.rule.promotion]{promotion}", staged.world.policy(&document));
    for key in [KEY, OTHER] {
        staged.world.put_policy(key, &policy).await;
    }
    (Staged { document, ..staged }, Reference::parse(&other).unwrap())
}

/// What comes of a sound guest's question for each key: `""`, or the code.
async fn codes(staged: &Staged) -> [String; 2] {
    let guest = Guest::launch(&staged.world, &staged.document).await;
    guest.attest().await;
    let mut codes = [KEY, OTHER].map(str::to_owned);
    for key in &mut codes {
        let answer = guest.fetch(key).await;
        *key = if answer.status.is_success() { String::new() } else { answer.code() };
    }
    codes
}

fn promotion(staged: &Staged, of: &Reference, sequence: u64) -> Statement {
    Statement { manifest: of.digest().unwrap(), ..staged.promotion(sequence) }
}

#[tokio::test]
async fn key_of_what_was_promoted_last_released_where_the_document_lets_the_model_be_replaced_and_not_where_it_does_not()
 {
    let none = "key-not-in-deployment";
    for (replaceable, want) in [(true, ""), (false, "promotion-superseded")] {
        let (staged, other) = staged(replaceable).await;
        assert_eq!(codes(&staged).await, ["promotion-missing"; 2]);
        staged.told(&promotion(&staged, &staged.reference, 1), &staged.anna).await;
        assert_eq!(codes(&staged).await, ["", none]);
        staged.told(&promotion(&staged, &other, 2), &staged.anna).await;
        assert_eq!(codes(&staged).await, ["promotion-superseded", want], "replaceable: {replaceable}");
        staged.told(&promotion(&staged, &staged.reference, 3), &staged.anna).await;
        assert_eq!(codes(&staged).await, ["", none]);
    }
}

#[tokio::test]
async fn lease_given_for_the_model_that_took_another_s_place_or_for_none_and_for_the_superseded_or_revoked_one_not() {
    let (staged, other) = staged(true).await;
    staged.told(&promotion(&staged, &staged.reference, 1), &staged.anna).await;
    assert_eq!(codes(&staged).await[0], "");
    let mut enclave = Enclave::launch(&staged.world, &staged.document);
    enclave.lease().await;
    staged.told(&promotion(&staged, &other, 2), &staged.anna).await;
    assert_eq!(codes(&staged).await[1], "");
    assert_eq!(enclave.refused().await, "promotion-superseded", "it serves the old one");
    enclave.workload.models[0].manifest = other.digest().unwrap();
    enclave.lease().await;
    let model = enclave.workload.models.remove(0);
    enclave.lease().await;
    enclave.workload.models.push(model);
    enclave.workload.models[0].name.push('x');
    assert_eq!(enclave.refused().await, "workload-mismatch");
    enclave.workload.models[0].name.pop();
    assert_eq!(put(&staged.world, "quarantined", "model", &other.digest().unwrap().oci()).await.status, 200);
    assert_eq!(enclave.refused().await, "quarantined");
}

#[tokio::test]
async fn plain_model_in_another_s_place_gets_a_lease_where_it_is_promoted_and_as_long_as_it_is() {
    let (staged, _) = staged(true).await;
    staged.told(&promotion(&staged, &staged.reference, 1), &staged.anna).await;
    assert_eq!(codes(&staged).await[0], "");
    let mut enclave = Enclave::launch(&staged.world, &staged.document);
    enclave.lease().await;
    let plain = Sha256([9; 32]);
    enclave.workload.models[0].manifest = plain;
    assert_eq!(enclave.refused().await, "promotion-missing");
    staged.told(&Statement { manifest: plain, ..staged.promotion(2) }, &staged.anna).await;
    enclave.lease().await;
    staged.told(&Statement { manifest: plain, ..staged.demotion(3) }, &staged.anna).await;
    assert_eq!(enclave.refused().await, "promotion-demoted");
}

#[tokio::test]
async fn promotion_of_what_is_not_in_the_registry_stops_the_keys_of_no_other_model() {
    let (staged, _) = staged(true).await;
    staged.told(&promotion(&staged, &staged.reference, 1), &staged.anna).await;
    staged.told(&Statement { manifest: Sha256([9; 32]), ..staged.promotion(2) }, &staged.anna).await;
    assert_eq!(codes(&staged).await, ["promotion-superseded", "registry-not-found"]);
}
