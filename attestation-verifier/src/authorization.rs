//! What Cedar policies are asked about a release, and what they say.
//!
//! Who asks was appraised and what for was verified before any policy is asked: the question is made of what those steps found,
//! of the key as the store has it, and of the time. It is recorded whole with the decision, so that it can be asked again, of other
//! policies too.

use crate::attest::Attested;
use crate::models::Fact;
use crate::platform::Authentic;
use crate::store::{KeyMetadata, PolicySet, Transaction};
use crate::trail::Trail;
use serde_json::json;
use std::sync::Arc;
use strongroom_appraisal::tdx::AuthenticQuote;
use strongroom_appraisal::{AuthenticReport, Hex, Policy, SnpPolicy, TdxPolicy, UnixTime};
use strongroom_policy::{Action, Key, Model, Promotion, Question, Snp, Tdx, Workload};
use strongroom_wire::digest::Sha256;
use strongroom_wire::spiffe::SpiffeId;
use strongroom_wire::{Code, Refusal, Result};

/// What the policies in force permitted.
pub(crate) struct Permitted {
    set: Arc<PolicySet>,
    question: Question,
}

impl Permitted {
    /// Asks the policies in force. Question and answer are noted, whichever way it goes.
    ///
    /// # Errors
    /// `policy-denied`, `policy-failed`, `authorization-empty`; `policy-invalid`; `store-failed`, `store-tampered`.
    pub(crate) async fn ask(store: &mut Transaction<'_>, question: Question, trail: &mut Trail) -> Result<Self> {
        trail.note("question", &question);
        let set = store.policy_set_in_force().await?;
        decide(&set, &question, trail)?;
        Ok(Self { set, question })
    }

    /// Confirms that it is still permitted, with the key and at the time of the transaction that records it. What is not as it was
    /// asked about, is asked again.
    ///
    /// # Errors
    /// `busy`: other policies are in force by now; those of [`Self::ask`].
    pub(crate) async fn confirm(
        &self,
        store: &mut Transaction<'_>,
        key: &KeyMetadata,
        now: UnixTime,
        trail: &mut Trail,
    ) -> Result<()> {
        let current = store.policy_set_in_force().await?;
        if current.version != self.set.version {
            let version = |set: &PolicySet| format!("version {} of the policies", set.version);
            let refusal = Refusal::new(Code::Busy, "policies changed meanwhile");
            return Err(refusal.got(version(&current)).want(version(&self.set)));
        }
        let question = Question { action: self.with_key(key), now, ..self.question.clone() };
        if question == self.question {
            return Ok(());
        }
        trail.note("question", &question);
        decide(&current, &question, trail)
    }

    fn with_key(&self, metadata: &KeyMetadata) -> Action {
        match &self.question.action {
            Action::ReleaseKey { model, .. } => Action::ReleaseKey { key: key(metadata), model: model.clone() },
            other => other.clone(),
        }
    }
}

fn decide(set: &PolicySet, question: &Question, trail: &mut Trail) -> Result<()> {
    let decision = set.policies.ask(question)?;
    trail.note(
        "authorization",
        json!({
            "version": set.version, "digest": decision.digest, "verdict": decision.verdict, "by": decision.by,
            "error": decision.error,
        }),
    );
    decision.allowed().map(drop)
}

/// Under which of `names` such a guest may have connections; each answer is noted. Where policies give none, it has none.
///
/// # Errors
/// `internal`: a question that is none; `policy-invalid`; `store-failed`, `store-tampered`.
pub(crate) async fn permitted_routes(
    store: &mut Transaction<'_>,
    workload: &Workload,
    names: impl Iterator<Item = &String>,
    now: UnixTime,
    trail: &mut Trail,
) -> Result<Vec<String>> {
    let set = match store.policy_set_in_force().await {
        Err(refusal) if refusal.code == Code::AuthorizationEmpty => return Ok(Vec::new()),
        set => set?,
    };
    let (mut permitted, mut answers) = (Vec::new(), Vec::new());
    for name in names {
        let action = Action::Route { name: name.clone() };
        let decision = set.policies.ask(&Question { workload: workload.clone(), action, now })?;
        answers.push(json!({ "name": name, "verdict": decision.verdict, "by": decision.by, "error": decision.error }));
        if decision.allowed().is_ok() {
            permitted.push(name.clone());
        }
    }
    trail.note("routes", answers);
    trail.note("policies-version", set.version);
    Ok(permitted)
}

/// Asks the policies in force whether such a guest may have that identity. Question and answer are noted.
///
/// # Errors
/// As [`Permitted::ask`].
pub(crate) async fn permitted_identity(
    store: &mut Transaction<'_>,
    workload: Workload,
    id: &SpiffeId,
    now: UnixTime,
    trail: &mut Trail,
) -> Result<()> {
    let action = Action::IssueIdentity { id: id.to_string() };
    Permitted::ask(store, Question { workload, action, now }, trail).await.map(drop)
}

/// May this guest have that key, to open a model of its deployment with?
pub(crate) fn release_question(
    attested: &Attested,
    metadata: &KeyMetadata,
    fact: &Fact,
    policy: &Policy,
    now: UnixTime,
) -> Question {
    let document = attested.deployment.digest();
    let workload = attested.authentic.workload(&attested.thumbprint, document, attested.authentic.zone(policy));
    let action = Action::ReleaseKey { key: key(metadata), model: model(fact) };
    Question { workload, action, now }
}

fn key(metadata: &KeyMetadata) -> Key {
    let KeyMetadata { id, tags, .. } = metadata;
    let owner = Some(tags.owner()).filter(|owner| !owner.is_empty());
    Key { id: id.clone(), owner: owner.map(str::to_owned), labels: tags.labels().clone() }
}

fn model(fact: &Fact) -> Model {
    // A deployment document names models by digest.
    let (repository, manifest) = fact.reference.split_once('@').unwrap_or((&fact.reference, ""));
    let promotion = fact.promotion.as_ref().map(|held| held.promotion());
    Model {
        repository: repository.to_owned(),
        manifest: manifest.to_owned(),
        signers: fact.signers.iter().cloned().collect(),
        promotion: promotion.map(|promotion| Promotion {
            environment: promotion.environment().to_string(),
            sequence: promotion.sequence(),
            expires: promotion.expires(),
        }),
    }
}

impl Authentic {
    /// What policies may know of the guest, whose attested key has this thumbprint, which was launched with this document, and whose
    /// machine stands in that zone.
    pub(crate) fn workload(&self, thumbprint: &str, document: Sha256, zone: Option<&str>) -> Workload {
        Workload {
            id: thumbprint.to_owned(),
            platform: self.tee().platform().to_owned(),
            root: self.root().to_string(),
            measurement: self.measurement(),
            deployment: document.to_string(),
            machine: self.machine(),
            zone: zone.map(str::to_owned),
            snp: self.report().map(snp),
            tdx: self.quote().map(tdx),
        }
    }

    /// Where its machine stands, as the inventory says that `policy` takes machines from.
    pub(crate) fn zone<'a>(&self, policy: &'a Policy) -> Option<&'a str> {
        match self {
            Self::Snp(report) => zone_of_chip(report, policy.snp()?),
            Self::Tdx(quote) => zone_of_platform(quote, policy.tdx()?),
            Self::AzureSnp(vtpm) => zone_of_chip(vtpm.hardware(), &policy.azure_snp()?.hardware),
            Self::AzureTdx(vtpm) => zone_of_platform(vtpm.hardware(), &policy.azure_tdx()?.hardware),
        }
    }
}

fn zone_of_chip<'a>(report: &AuthenticReport, policy: &'a SnpPolicy) -> Option<&'a str> {
    policy.chip.zone_at(&Hex(report.report().chip_id), report.at())
}

/// Where both of its ids are of an inventory, those have to agree.
fn zone_of_platform<'a>(quote: &AuthenticQuote, policy: &'a TdxPolicy) -> Option<&'a str> {
    let facts = quote.platform().facts();
    let instance = facts.platform_instance.map(Hex);
    let of_instance = instance.and_then(|id| policy.platform_instance.zone_at(&id, quote.at()));
    match (policy.ppid.zone_at(&Hex(facts.ppid), quote.at()), of_instance) {
        (Some(one), Some(other)) if one != other => None,
        (one, other) => one.or(other),
    }
}

fn snp(authentic: &AuthenticReport) -> Snp {
    let (report, tcb) = (authentic.report(), authentic.tcb());
    Snp {
        product: authentic.product().to_owned(),
        debug: report.policy.debug(),
        vmpl: report.vmpl,
        fmc: tcb.fmc.unwrap_or_default(),
        bootloader: tcb.bootloader,
        tee: tcb.tee,
        snp: tcb.snp,
        microcode: tcb.microcode,
    }
}

fn tdx(authentic: &AuthenticQuote) -> Tdx {
    Tdx {
        fmspc: hex::encode(authentic.platform().facts().fmspc),
        debug: authentic.quote().body.td_attributes.debug(),
        status: authentic.tcb_status().as_str().to_owned(),
        advisories: authentic.advisories().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Kind;
    use crate::store::{Database, KeyState, Store, Uses};
    use crate::tags::Tags;
    use strongroom_wire::Realm;

    const POLICIES: &str = r#"@id("p") permit (principal, action, resource)
        when { context.now < datetime("1970-01-01T00:01:40Z") };
        @id("f") forbid (principal, action == Strongroom::Action::"ReleaseKey", resource)
        when { resource.labels.contains("on-hold") };"#;

    fn metadata(tags: &str) -> KeyMetadata {
        KeyMetadata {
            id: "a/b/c".into(),
            created: 5,
            state: KeyState::Enabled,
            custody: "master-key".into(),
            wrappings: 1,
            uses: Uses::default(),
            tags: Tags::parse(tags).unwrap(),
        }
    }

    fn question(now: UnixTime) -> Question {
        let workload = Workload {
            id: "x".into(),
            platform: "snp".into(),
            root: "amd".into(),
            measurement: "aa".into(),
            deployment: "bb".into(),
            machine: None,
            zone: None,
            snp: None,
            tdx: None,
        };
        let model = Model {
            repository: "r:1/m".into(),
            manifest: "sha256:00".into(),
            signers: ["a".to_owned()].into(),
            promotion: None,
        };
        Question { workload, action: Action::ReleaseKey { key: key(&metadata("owner=o")), model }, now }
    }

    async fn put(store: &Store, cedar: &str) {
        let mut transaction = store.begin().await.unwrap();
        transaction.put_policy_set(cedar.as_bytes(), "", 5).await.unwrap();
        let event = Trail::new(Kind::Admin, "-").event(None);
        transaction.commit(5, &event).await.unwrap();
    }

    /// What a permission that was given at 98 comes to once it is confirmed, and the row's notes.
    async fn confirmed(meanwhile: &[&str], key: KeyMetadata, now: UnixTime) -> (Option<Code>, serde_json::Value) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verifier.sqlite");
        let store = Store::open(Database::sqlite(&path), &folder.path().join("master"), Realm::Vendor).await.unwrap();
        put(&store, POLICIES).await;
        let mut trail = Trail::new(Kind::Release, "a/b/c");
        let mut reading = store.begin_reading().await.unwrap();
        let permitted = Permitted::ask(&mut reading, question(98), &mut trail).await.unwrap();
        drop(reading);
        for cedar in meanwhile {
            put(&store, cedar).await;
        }
        let mut transaction = store.begin().await.unwrap();
        let confirmed = permitted.confirm(&mut transaction, &key, now, &mut trail).await;
        (confirmed.err().map(|refusal| refusal.code), trail.event(None).detail)
    }

    #[tokio::test]
    async fn permission_is_confirmed_under_the_policies_that_gave_it_and_under_others_it_is_busy() {
        let other = format!("{POLICIES} // another version");
        assert_eq!(confirmed(&[], metadata("owner=o"), 98).await.0, None);
        assert_eq!(confirmed(&[POLICIES], metadata("owner=o"), 98).await.0, None, "the same make no version");
        assert_eq!(confirmed(&[&other], metadata("owner=o"), 98).await.0, Some(Code::Busy));
        let back = confirmed(&[&other, POLICIES], metadata("owner=o"), 98).await;
        assert_eq!(back.0, Some(Code::Busy), "put again, they are another version");
    }

    #[tokio::test]
    async fn key_or_time_that_changed_since_is_asked_about_again() {
        let (code, detail) = confirmed(&[], metadata("owner=o"), 99).await;
        assert_eq!((code, &detail["question"]["now"]), (None, &json!(99)));
        let (code, detail) = confirmed(&[], metadata("owner=o"), 100).await;
        assert_eq!((code, &detail["authorization"]["verdict"]), (Some(Code::PolicyDenied), &json!("none")));
        assert_eq!(confirmed(&[], metadata("label=gold"), 98).await.0, None);
        let (code, detail) = confirmed(&[], metadata("label=on-hold"), 98).await;
        assert_eq!((code, &detail["authorization"]["by"]), (Some(Code::PolicyDenied), &json!(["f"])));
        assert_eq!(detail["question"]["action"]["release-key"]["key"]["labels"], json!(["on-hold"]));
    }
}
