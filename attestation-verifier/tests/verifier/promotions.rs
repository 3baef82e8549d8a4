//! Promotions: what is delivered here, and what the registry showed once, decides at every release.

use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, START, World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_artifact::SigningKey;
use strongroom_artifact::promotion::{Action, Statement};
use strongroom_devkit::registry::{Fault, Gate, Target, Times};
use strongroom_registry_client::{Access, Reference, RegistryClient, attach_bundle};
use strongroom_wire::bytes::from_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;
use strongroom_wire::trust::Environment;

/// A world whose release policy demands a promotion to production, by as many of two promoters.
pub(crate) struct Staged {
    pub(crate) world: World,
    pub(crate) document: Vec<u8>,
    pub(crate) policy: String,
    pub(crate) anna: SigningKey,
    pub(crate) ben: SigningKey,
    pub(crate) reference: Reference,
    pub(crate) client: RegistryClient,
}

impl Staged {
    pub(crate) async fn new(threshold: usize) -> Self {
        let (world, document) = World::ready().await;
        let [anna, ben] = [(), ()].map(|()| SigningKey::generate().unwrap());
        let promoter = |name: &str, key: &SigningKey| {
            let pem = key.public().pem().to_owned();
            format!("[[release.trust.rule.promotion.promoter]]\nname = '{name}'\nkey = '''{pem}'''\n")
        };
        let policy = format!(
            "{}\n[release.trust.rule.promotion]\nenvironment = 'production'\nthreshold = {threshold}\n{}{}",
            world.policy(&document),
            promoter("anna", &anna),
            promoter("ben", &ben),
        );
        world.put_policy(KEY, &policy).await;
        let deployment = strongroom_wire::deployment::Deployment::parse(&document).unwrap();
        let reference = Reference::parse(&deployment.settings().models[0].reference).unwrap();
        let client = RegistryClient::new(reference.host(), Access { plain_http: true, ..Access::default() }).unwrap();
        Self { world, document, policy, anna, ben, reference, client }
    }

    fn statement(&self, sequence: u64, action: Action) -> Statement {
        Statement {
            manifest: self.reference.digest().unwrap(),
            repository: self.reference.name(),
            environment: Environment::parse("production").unwrap(),
            sequence,
            issued: self.world.now(),
            action,
        }
    }

    pub(crate) fn promotion(&self, sequence: u64) -> Statement {
        self.statement(sequence, Action::Promote { expires: self.world.now() + 1000, policy: None })
    }

    pub(crate) fn demotion(&self, sequence: u64) -> Statement {
        self.statement(sequence, Action::Demote { reason: "it leaks".into() })
    }

    async fn deliver(&self, bundle: Vec<u8>) -> Answer {
        self.world.admin(Method::POST, "promotions", bundle).await
    }

    /// Delivers what is then kept.
    pub(crate) async fn told(&self, statement: &Statement, by: &SigningKey) {
        let answer = self.deliver(statement.sign(by).unwrap()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// The code with which a delivery is refused.
    async fn refused(&self, statement: &Statement, by: &SigningKey) -> String {
        let answer = self.deliver(statement.sign(by).unwrap()).await;
        assert!(!answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
        answer.code()
    }

    /// Puts a statement into the registry alone.
    async fn attach(&self, statement: &Statement, by: &SigningKey) -> Sha256 {
        attach_bundle(&self.client, &self.reference, statement.sign(by).unwrap(), START).await.unwrap()
    }

    /// The registry lists no more than this from now on.
    fn show(&self, shown: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": shown}).to_string();
        let target = Target::Referrers(self.reference.digest().unwrap());
        self.world.registry.faults().clear();
        self.world.registry.faults().set(target, Times::Always, Fault::Serve(index.into()));
    }

    /// What the registry lists now.
    async fn listed(&self) -> Vec<Value> {
        let listed = self.client.referrers(&self.reference, self.reference.digest().unwrap()).await.unwrap();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let entry = |digest: &str, size: u64| json!({"mediaType": media_type, "digest": digest, "size": size});
        listed.iter().map(|referrer| entry(&referrer.digest, referrer.size)).collect()
    }

    /// A sound guest asks for the key: `""`, or the code.
    pub(crate) async fn release(&self) -> String {
        let guest = Guest::launch(&self.world, &self.document).await;
        guest.attest().await;
        let answer = guest.fetch(KEY).await;
        if answer.status == StatusCode::OK {
            return String::new();
        }
        answer.code()
    }
}

#[tokio::test]
async fn model_that_is_promoted_released_and_one_that_is_only_signed_or_ended_not() {
    let staged = Staged::new(1).await;
    assert_eq!(staged.release().await, "promotion-missing");
    staged.told(&staged.promotion(1), &staged.anna).await;
    let guest = Guest::launch(&staged.world, &staged.document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let rows = staged.world.audit().await;
    let row = rows.iter().rfind(|row| row["kind"] == "release").unwrap();
    let want = json!({"environment": "production", "sequence": 1, "expires": START + 1000, "promoters": ["anna"]});
    assert_eq!(row["detail"]["promotion"], want);
    staged.world.pass(1000);
    assert_eq!(staged.release().await, "");
    staged.world.pass(1);
    assert_eq!(staged.release().await, "promotion-expired", "though it was released before");
}

#[tokio::test]
async fn as_many_promoters_as_demanded_release_and_one_alone_does_not() {
    let staged = Staged::new(2).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-missing");
    staged.told(&staged.promotion(2), &staged.ben).await;
    assert_eq!(staged.release().await, "promotion-missing", "of another sequence");
    staged.told(&staged.promotion(2), &staged.anna).await;
    assert_eq!(staged.release().await, "");
    staged.told(&staged.demotion(3), &staged.ben).await;
    assert_eq!(staged.release().await, "promotion-demoted", "one is enough for that");
}

#[tokio::test]
async fn demotion_that_was_delivered_counts_though_the_registry_shows_the_promotion_alone() {
    let mut staged = Staged::new(1).await;
    staged.attach(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "", "the registry's word is enough to promote");
    staged.told(&staged.demotion(1), &staged.ben).await;
    assert_eq!(staged.release().await, "promotion-demoted");
    staged.world.restart().await;
    assert_eq!(staged.release().await, "promotion-demoted", "for good");
    staged.told(&staged.promotion(2), &staged.ben).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn demotion_that_the_registry_showed_once_counts_when_it_hides_it() {
    let mut staged = Staged::new(1).await;
    staged.attach(&staged.promotion(1), &staged.anna).await;
    let before = staged.listed().await;
    staged.attach(&staged.demotion(1), &staged.anna).await;
    staged.show(&before);
    assert_eq!(staged.release().await, "", "what nobody was told nobody knows");
    staged.world.registry.faults().clear();
    assert_eq!(staged.release().await, "promotion-demoted");
    staged.show(&before);
    assert_eq!(staged.release().await, "promotion-demoted", "a refused release remembers too");
    staged.world.restart().await;
    assert_eq!(staged.release().await, "promotion-demoted");
}

#[tokio::test]
async fn older_promotion_replayed_after_another_model_s_refused() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "");
    let newer = Statement { manifest: Sha256([9; 32]), ..staged.promotion(2) };
    staged.told(&newer, &staged.anna).await;
    staged.attach(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-superseded");
    assert_eq!(staged.refused(&staged.promotion(2), &staged.anna).await, "promotion-superseded");
    staged.told(&staged.promotion(3), &staged.anna).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn promotion_under_the_policy_in_force_counts_and_under_another_does_not() {
    let staged = Staged::new(1).await;
    let under = |sequence, policy: &str| {
        let policy = Some(Sha256::of(policy.as_bytes()));
        staged.statement(sequence, Action::Promote { expires: START + 1000, policy })
    };
    staged.told(&under(1, "another"), &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-policy-mismatch");
    staged.told(&under(2, &staged.policy), &staged.anna).await;
    assert_eq!(staged.release().await, "");
    staged.world.put_policy(KEY, &format!("{}\n# another text\n", staged.policy)).await;
    assert_eq!(staged.release().await, "promotion-policy-mismatch");
}

#[tokio::test]
async fn statement_by_a_promoter_that_a_policy_demands_taken_and_any_other_refused() {
    let staged = Staged::new(1).await;
    let stranger = SigningKey::generate().unwrap();
    let good = staged.promotion(5);
    assert_eq!(staged.refused(&good, &stranger).await, "signer-untrusted");
    let staging = Environment::parse("staging").unwrap();
    assert_eq!(
        staged.refused(&Statement { environment: staging, ..good.clone() }, &staged.anna).await,
        "repository-untrusted"
    );
    let elsewhere = Statement { repository: "r/other".into(), ..good.clone() };
    assert_eq!(staged.refused(&elsewhere, &staged.anna).await, "repository-untrusted");
    let over =
        Statement { issued: START - 100, action: Action::Promote { expires: START - 1, policy: None }, ..good.clone() };
    assert_eq!(staged.refused(&over, &staged.anna).await, "promotion-expired");
    let issued = START + limits::PROMOTION_SKEW + 1;
    let future = Statement { issued, action: Action::Promote { expires: issued, policy: None }, ..good.clone() };
    assert_eq!(staged.refused(&future, &staged.anna).await, "promotion-not-yet-valid");
    assert_eq!(staged.deliver(b"{}".to_vec()).await.code(), "promotion-invalid");
    assert_eq!(staged.deliver(vec![b' '; limits::SIGNATURE + 1]).await.code(), "too-large");
    let nobody = staged.world.admin_with(Method::POST, "promotions", good.sign(&staged.anna).unwrap(), None).await;
    assert_eq!(nobody.code(), "admin-unauthorized");

    staged.told(&good, &staged.anna).await;
    let again = staged.deliver(good.sign(&staged.anna).unwrap()).await;
    assert_eq!(again.status, StatusCode::OK, "the same, though it is another signature");
    assert_eq!(staged.refused(&staged.promotion(4), &staged.anna).await, "promotion-superseded");
    assert_eq!(staged.refused(&staged.demotion(5), &staged.anna).await, "promotion-superseded");
    let conflict = staged.deliver(staged.promotion(4).sign(&staged.anna).unwrap()).await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    staged.told(&staged.promotion(4), &staged.ben).await;
}

#[tokio::test]
async fn what_is_known_is_listed_with_the_bundle_and_delivery_is_on_record() {
    let staged = Staged::new(1).await;
    let bundle = staged.promotion(1).sign(&staged.anna).unwrap();
    assert_eq!(staged.deliver(bundle.clone()).await.status, StatusCode::CREATED);
    staged.told(&staged.demotion(2), &staged.ben).await;
    let path = format!("promotions?repository={}", staged.reference.name());
    let list = async |more: &str| staged.world.admin(Method::GET, &format!("{path}{more}"), vec![]).await.json();
    let all = list("").await;
    assert_eq!(all, list("&environment=production").await);
    assert_eq!(list("&environment=staging").await, json!([]));
    let sequences: Vec<_> = all.as_array().unwrap().iter().map(|row| row["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [2, 1]);
    assert_eq!((&all[0]["action"], &all[0]["reason"]), (&json!("demote"), &json!("it leaks")));
    let row = &all[1];
    assert_eq!((&row["action"], &row["expires"]), (&json!("promote"), &json!(START + 1000)));
    assert_eq!(row["manifest"], staged.reference.digest().unwrap().oci());
    assert_eq!(row["signed_by"], format!("key sha256:{}", staged.anna.public().fingerprint()));
    assert_eq!(from_base64(row["bundle"].as_str().unwrap(), "bundle").unwrap(), bundle);
    let rows = staged.world.audit().await;
    let delivered = rows.iter().filter(|row| row["subject"] == "POST /admin/v1/promotions").collect::<Vec<_>>();
    assert_eq!(delivered.len(), 2);
    assert_eq!(delivered[0]["detail"]["call"]["digest"], json!(Sha256::of(&bundle)));
}

#[tokio::test]
async fn registry_that_fails_is_never_no_demotion() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    let attached = staged.attach(&staged.demotion(1), &staged.ben).await;
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let fault = Fault::Status { status, retry_after: Some(Duration::ZERO) };
    staged.world.registry.faults().set(Target::Manifest(attached.oci()), Times::Always, fault);
    assert_eq!(staged.release().await, "registry-failed");
    staged.world.registry.faults().clear();
    assert_eq!(staged.release().await, "promotion-demoted");
}

#[tokio::test]
async fn demotion_that_is_delivered_while_a_release_waits_for_the_registry_counts() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    let gate = Gate::closed();
    staged.world.registry.faults().set(Target::Any, Times::Always, Fault::Stall(gate.clone()));
    let asked = staged.world.registry.requests().all().len();
    let guest = Guest::launch(&staged.world, &staged.document).await;
    guest.attest().await;
    let (answer, ()) = tokio::join!(guest.fetch(KEY), async {
        while staged.world.registry.requests().all().len() == asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        staged.told(&staged.demotion(1), &staged.ben).await;
        gate.open();
    });
    assert_eq!(answer.code(), "busy");
    assert_eq!(staged.release().await, "promotion-demoted");
}

/// The policy with another promoter, or another threshold, in the place of one.
async fn change(staged: &Staged, from: &str, to: &str) {
    assert!(staged.policy.contains(from), "{from}");
    staged.world.put_policy(KEY, &staged.policy.replace(from, to)).await;
}

#[tokio::test]
async fn demotion_outlives_its_demoter_until_a_promotion_with_a_higher_sequence() {
    for shown in [false, true] {
        let mut staged = Staged::new(1).await;
        staged.told(&staged.promotion(1), &staged.anna).await;
        match shown {
            false => staged.told(&staged.demotion(2), &staged.ben).await,
            true => {
                let before = staged.listed().await;
                staged.attach(&staged.demotion(2), &staged.ben).await;
                assert_eq!(staged.release().await, "promotion-demoted");
                staged.show(&before);
            }
        }
        let carl = SigningKey::generate().unwrap();
        change(&staged, &staged.ben.public().pem(), &carl.public().pem()).await;
        assert_eq!(staged.release().await, "promotion-demoted", "shown {shown}");
        staged.world.restart().await;
        assert_eq!(staged.release().await, "promotion-demoted", "shown {shown}");
        staged.told(&staged.promotion(3), &carl).await;
        assert_eq!(staged.release().await, "");
    }
}

#[tokio::test]
async fn model_that_was_superseded_stays_so_where_the_threshold_is_raised() {
    let staged = Staged::new(1).await;
    let other = Statement { manifest: Sha256([9; 32]), ..staged.promotion(2) };
    staged.told(&staged.promotion(1), &staged.anna).await;
    staged.told(&staged.promotion(1), &staged.ben).await;
    assert_eq!(staged.release().await, "");
    staged.told(&other, &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-superseded");
    change(&staged, "'production'\nthreshold = 1", "'production'\nthreshold = 2").await;
    assert_eq!(staged.release().await, "promotion-superseded", "though one alone promoted the other");
    staged.told(&staged.promotion(3), &staged.anna).await;
    staged.told(&staged.promotion(3), &staged.ben).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn promotion_that_is_reached_by_a_new_policy_alone_is_remembered_under_it() {
    let staged = Staged::new(2).await;
    let other = Statement { manifest: Sha256([9; 32]), ..staged.promotion(2) };
    staged.told(&staged.promotion(1), &staged.anna).await;
    staged.told(&staged.promotion(1), &staged.ben).await;
    staged.told(&other, &staged.anna).await;
    assert_eq!(staged.release().await, "", "one of two");
    change(&staged, "threshold = 2", "threshold = 1").await;
    staged.world.put_policy(KEY, &staged.policy).await;
    assert_eq!(staged.release().await, "promotion-superseded");
}

#[tokio::test]
async fn demotion_below_what_it_is_to_end_refused_and_with_the_same_sequence_taken() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(5), &staged.anna).await;
    let conflict = staged.deliver(staged.demotion(4).sign(&staged.ben).unwrap()).await;
    assert_eq!((conflict.status, conflict.code().as_str()), (StatusCode::CONFLICT, "promotion-superseded"));
    assert_eq!(staged.release().await, "");
    let elsewhere = Statement { manifest: Sha256([9; 32]), ..staged.demotion(4) };
    staged.told(&elsewhere, &staged.ben).await;
    staged.told(&staged.demotion(5), &staged.ben).await;
    assert_eq!(staged.release().await, "promotion-demoted");
}

#[tokio::test]
async fn renewal_made_before_a_demotion_and_shown_after_it_refused() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    let hidden = staged.promotion(3);
    staged.world.pass(1);
    staged.told(&staged.demotion(2), &staged.ben).await;
    staged.attach(&hidden, &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-demoted");
    staged.told(&staged.promotion(4), &staged.anna).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn flood_by_who_is_no_promoter_any_more_stops_nobody() {
    let staged = Staged::new(2).await;
    let carl = SigningKey::generate().unwrap();
    for sequence in 1..=u64::try_from(limits::PROMOTIONS).unwrap() + 1 {
        let sequence = limits::PROMOTION_SEQUENCE - 1000 + sequence;
        staged.told(&staged.promotion(sequence), &staged.ben).await;
    }
    change(&staged, &staged.ben.public().pem(), &carl.public().pem()).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-missing");
    staged.told(&staged.promotion(1), &carl).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn promotion_of_the_future_that_a_registry_shows_is_not_kept() {
    let staged = Staged::new(1).await;
    let issued = START + limits::PROMOTION_SKEW + 1;
    let action = Action::Promote { expires: issued + 1000, policy: None };
    let highest = limits::PROMOTION_SEQUENCE;
    staged.attach(&Statement { issued, ..staged.statement(highest, action) }, &staged.anna).await;
    assert_eq!(staged.release().await, "promotion-not-yet-valid");
    staged.told(&staged.promotion(1), &staged.anna).await;
    assert_eq!(staged.release().await, "");
}

#[tokio::test]
async fn demotion_that_was_shown_beside_an_incomplete_answer_counts_when_it_is_hidden() {
    let staged = Staged::new(1).await;
    let lost = staged.attach(&staged.promotion(1), &staged.anna).await;
    let before = staged.listed().await;
    staged.attach(&staged.demotion(1), &staged.ben).await;
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let fault = Fault::Status { status, retry_after: Some(Duration::ZERO) };
    staged.world.registry.faults().set(Target::Manifest(lost.oci()), Times::Always, fault);
    assert_eq!(staged.release().await, "registry-failed");
    staged.show(&before);
    assert_eq!(staged.release().await, "promotion-demoted");
}

#[tokio::test]
async fn key_of_two_models_refused_whatever_is_promoted() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    let second = staged.world.push("models/other", KEY, &staged.world.signer).await;
    let second = Reference::parse(&second).unwrap();
    let document = staged.world.document(&[staged.reference.to_string(), second.to_string()]);
    let policy = staged.world.policy(&document);
    let (_, promotion) = staged.policy.split_once("\n[release.trust.rule.promotion]").unwrap();
    staged.world.put_policy(KEY, &format!("{policy}\n[release.trust.rule.promotion]{promotion}")).await;
    let staged = Staged { document, ..staged };
    assert_eq!(staged.release().await, "promotion-missing");
    let other = Statement { manifest: second.digest().unwrap(), repository: second.name(), ..staged.promotion(1) };
    staged.told(&other, &staged.anna).await;
    assert_eq!(staged.release().await, "key-shared", "what is asked about one would open the other");
    let fault = Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None };
    staged.world.registry.faults().set(Target::Manifest(second.digest().unwrap().oci()), Times::Always, fault);
    assert_eq!(staged.release().await, "registry-not-found", "its key may be this one");
}
