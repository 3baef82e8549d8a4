//! What a release hangs on, looked at again before it is recorded.

use super::*;
use crate::store::{Database, Store};
use strongroom_artifact::SigningKey;
use strongroom_artifact::promotion::Statement;
use strongroom_wire::Realm;
use strongroom_wire::trust::{PromotionRule, Rule, Signer, TrustFile};

const REPOSITORY: &str = "h/m";
const POLICY: &str = "a/b/c";
const MODEL: Sha256 = Sha256([7; 32]);
const NOW: UnixTime = 6;

#[tokio::test]
async fn promotion_that_what_is_forgotten_of_a_promoter_could_speak_against_is_judged_anew() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::sqlite(&folder.path().join("verifier.sqlite"));
    let store = Store::open(database, &folder.path().join("master"), Realm::Vendor).await.unwrap();
    let (key, environment) = (SigningKey::generate().unwrap(), Environment::parse("production").unwrap());
    let signer = || vec![Signer::with_key("anna", key.public().pem())];
    let promotion = Some(PromotionRule::new(environment.clone(), signer()));
    let trust = TrustFile::new(vec![Rule { promotion, ..Rule::new(REPOSITORY, signer()) }]);
    let demanded = || Statements::demanded(&trust, REPOSITORY).unwrap().unwrap();
    let said = |sequence| {
        let action = Action::Promote { expires: 9, policy: None };
        let (repository, environment) = (REPOSITORY.to_owned(), environment.clone());
        let statement = Statement { manifest: MODEL, repository, environment, sequence, issued: 5, action };
        demanded().add(&statement.sign(&key).unwrap()).unwrap().clone()
    };
    // One more than are looked at.
    let said: Vec<SignedStatement> = (1..=u64::try_from(limits::PROMOTIONS).unwrap() + 1).map(said).collect();
    let anna = said[0].credential().to_string();
    let place =
        Place { policy: POLICY.to_owned(), repository: REPOSITORY.to_owned(), environment: environment.clone() };
    let held = |sequence: usize, promoter: &str| {
        let mut statements = demanded();
        statements.add(said[sequence - 1].bundle()).unwrap();
        Held {
            place: place.clone(),
            promotion: statements.judge(&MODEL, NOW).unwrap(),
            weighed: vec![Fact::Demoted { manifest: MODEL, sequence: 5, issued: 5 }],
            judged: said.iter().map(|signed| (signed.payload(), signed.credential().to_string())).collect(),
            promoters: [promoter.to_owned()].into(),
        }
    };
    let mut known = store.begin().await.unwrap();
    known.keep_promotions(&said[..limits::PROMOTIONS], NOW).await.unwrap();
    assert_eq!(held(1, &anna).confirm(&mut known, NOW).await, Ok(()), "all of it is known");
    // It was judged too, as its registry showed it; but now the first is out of sight.
    known.keep_promotions(&said, NOW).await.unwrap();
    assert_eq!(held(1, &anna).confirm(&mut known, NOW).await.unwrap_err().code, Code::Busy);
    assert_eq!(held(2, &anna).confirm(&mut known, NOW).await, Ok(()), "from here on all is known");
    assert_eq!(held(1, "key of nobody who counted").confirm(&mut known, NOW).await, Ok(()));
    // What spoke against it, by whomever, was weighed; or it was hidden then.
    for (sequence, issued, code) in
        [(4, 5, None), (5, 4, None), (5, 5, None), (5, 6, Some(Code::Busy)), (6, 5, Some(Code::Busy))]
    {
        let fact = Fact::Demoted { manifest: MODEL, sequence, issued };
        known.keep_promotion_facts(&place, &[fact]).await.unwrap();
        let confirmed = held(2, &anna).confirm(&mut known, NOW).await;
        assert_eq!(confirmed.err().map(|refusal| refusal.code), code, "{fact:?}");
    }
}
