use super::*;
use crate::clock::Clock;
use crate::store::schema::tests::{put_back, take_triggers};
use crate::store::{Database, Store};
use std::path::Path;
use strongroom_artifact::SigningKey;
use strongroom_artifact::promotion::{Action, Statement, Statements};
use strongroom_wire::Realm;
use strongroom_wire::trust::{PromotionRule, Rule, Signer, TrustFile};

const REPOSITORY: &str = "h/m";

async fn open(folder: &Path) -> Result<Store> {
    Store::open(Database::sqlite(&folder.join("verifier.sqlite")), &folder.join("master"), Realm::Vendor).await
}

fn production() -> Environment {
    Environment::parse("production").unwrap()
}

/// Statements with these sequences, by one promoter.
fn said(sequences: impl Iterator<Item = u64>) -> Vec<SignedStatement> {
    by_somebody(|statement| sequences.map(|sequence| Statement { sequence, ..statement.clone() }).collect())
}

/// What one promoter makes of a statement, each signed apart from the others.
fn by_somebody(say: impl FnOnce(Statement) -> Vec<Statement>) -> Vec<SignedStatement> {
    let key = SigningKey::generate().unwrap();
    let signer = || vec![Signer::with_key("anna", key.public().pem())];
    let promotion = Some(PromotionRule::new(production(), signer()));
    let trust = TrustFile::new(vec![Rule { promotion, ..Rule::new(REPOSITORY, signer()) }]);
    let statement = Statement {
        manifest: Sha256([7; 32]),
        repository: REPOSITORY.into(),
        environment: production(),
        sequence: 1,
        issued: 5,
        action: Action::Promote { expires: 9, policy: None },
    };
    let sign = |statement: Statement| {
        let mut statements = Statements::demanded(&trust, REPOSITORY).unwrap().unwrap();
        statements.add(&statement.sign(&key).unwrap()).unwrap().clone()
    };
    say(statement).into_iter().map(sign).collect()
}

async fn sequences(store: &Store) -> Result<(Vec<u64>, u64)> {
    let kept = store.begin().await?.promotions(REPOSITORY, &production()).await?;
    Ok((kept.rows.iter().map(|row| row.sequence).collect(), kept.floor(|_| true)))
}

#[tokio::test]
async fn statements_are_kept_once_across_restarts_and_the_highest_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let said = said([3, 1].into_iter());
    let mut transaction = store.begin().await.unwrap();
    assert!(transaction.keep_promotions(&said, 6).await.unwrap());
    assert!(!transaction.keep_promotions(&said, 7).await.unwrap());
    assert_eq!(transaction.highest_promotion(&said[1]).await.unwrap(), Some(3));
    assert_eq!(transaction.environments(REPOSITORY).await.unwrap(), [production()]);
    transaction.commit_in_test().await.unwrap();
    drop(store);
    let store = open(folder.path()).await.unwrap();
    assert_eq!(sequences(&store).await.unwrap(), (vec![3, 1], 0));
    let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
    assert_eq!((kept.rows[0].created, kept.rows[0].bundle.as_slice()), (6, said[0].bundle()));
    let staging = Environment::parse("staging").unwrap();
    assert_eq!(store.begin().await.unwrap().promotions(REPOSITORY, &staging).await.unwrap(), Kept::default());
}

#[tokio::test]
async fn statements_are_the_same_under_another_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.keep_promotions(&said(1..=2), 6).await.unwrap();
    transaction.commit_in_test().await.unwrap();
    let kept = async |store: &Store| {
        let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
        kept.rows.into_iter().map(|row| (row.sequence, row.created, row.bundle)).collect::<Vec<_>>()
    };
    let before = kept(&store).await;
    let new = || MasterKey::from_file_bytes(&[2; 32]).unwrap();
    store.rewrap(&new(), &Clock::of(|| 6)).await.unwrap();
    let store = Store::open_under(Database::sqlite(&folder.path().join("verifier.sqlite")), new(), Realm::Vendor)
        .await
        .unwrap();
    let after = kept(&store).await;
    assert_eq!((after.len(), after), (2, before));
}

#[tokio::test]
async fn more_of_one_promoter_than_fits_into_a_judgement_raises_the_floor_where_he_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let most = u64::try_from(limits::PROMOTIONS).unwrap();
    let (all, other) = (said(1..=most + 1), said(1..=1));
    for (said, length, floor) in [(&all[..limits::PROMOTIONS], 256, 0), (&other, 257, 0), (&all, 257, 2)] {
        let mut transaction = store.begin().await.unwrap();
        transaction.keep_promotions(said, 6).await.unwrap();
        transaction.commit_in_test().await.unwrap();
        let (known, from) = sequences(&store).await.unwrap();
        assert_eq!((known.len(), known.last(), from), (length, Some(&1), floor));
    }
    let kept = store.begin().await.unwrap().promotions(REPOSITORY, &production()).await.unwrap();
    assert_eq!(kept.floor(|promoter| *promoter == other[0].credential().to_string()), 0, "not by another's flood");
}

#[tokio::test]
async fn promotion_that_has_not_begun_or_is_not_above_is_not_kept_and_a_demotion_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let all = said(1..=3);
    let mut transaction = store.begin().await.unwrap();
    assert!(transaction.keep_promotions(&all[2..], 6).await.unwrap());
    assert!(!transaction.keep_promotions(&all, 6).await.unwrap(), "none is above the third");
    let demotion = Statement { action: Action::Demote { reason: "it leaks".into() }, ..all[0].statement().clone() };
    let demotion = by_somebody(|_| vec![demotion]);
    assert!(transaction.keep_promotions(&demotion, 6).await.unwrap());
    let far = Statement { issued: 7 + limits::PROMOTION_SKEW, ..all[0].statement().clone() };
    let far = Statement { action: Action::Promote { expires: far.issued, policy: None }, ..far };
    let far = by_somebody(|_| vec![far]);
    assert!(!transaction.keep_promotions(&far, 6).await.unwrap());
    assert!(transaction.keep_promotions(&far, 7).await.unwrap());
}

#[tokio::test]
async fn statement_signed_anew_keeps_its_new_signature() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let twice = by_somebody(|statement| vec![statement.clone(), statement]);
    assert_ne!(twice[0].bundle(), twice[1].bundle());
    let mut transaction = store.begin().await.unwrap();
    for (signed, now) in [(&twice[0], 6), (&twice[1], 7)] {
        assert!(transaction.keep_promotions(core::slice::from_ref(signed), now).await.unwrap());
        let kept = transaction.promotions(REPOSITORY, &production()).await.unwrap();
        assert_eq!((kept.rows.len(), kept.rows[0].created, kept.rows[0].bundle.as_slice()), (1, 6, signed.bundle()));
    }
}

#[tokio::test]
async fn rows_changed_put_in_or_taken_out_are_noticed() {
    for (statement, tampered) in [
        ("SELECT 1", false),
        ("DELETE FROM promotions WHERE sequence = 2", true),
        ("DELETE FROM promotions", true),
        ("UPDATE promotions SET sequence = 9 WHERE sequence = 2", true),
        ("UPDATE promotions SET environment = 'staging' WHERE sequence = 2", true),
        ("UPDATE promotions SET bundle = x'00' WHERE sequence = 2", true),
        ("UPDATE promotions SET created = 9 WHERE sequence = 2", true),
        (
            "INSERT INTO promotions SELECT repository, 'x', sequence, promoter, payload, bundle, created, mac FROM promotions",
            true,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        transaction.keep_promotions(&said(1..=2), 6).await.unwrap();
        transaction.commit_in_test().await.unwrap();
        if tampered && !statement.starts_with("INSERT") && !statement.contains("SET bundle") {
            let refused = sqlx::query(statement).execute(&store.pool).await.unwrap_err();
            assert!(refused.to_string().contains("a promotion statement stays"), "{refused}");
        }
        let triggers = take_triggers(&store).await;
        sqlx::query(statement).execute(&store.pool).await.unwrap();
        put_back(&store, triggers).await;
        let expected = tampered.then_some(Code::StoreTampered);
        assert_eq!(sequences(&store).await.err().map(|refusal| refusal.code), expected, "{statement}");
    }
}
