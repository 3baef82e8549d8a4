//! Everything somebody may try to get a key that is not his, each attempt refused with its own code and on record:
//! `docs/attacks.md`, held here.

mod administration;
mod rows;

use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, World};
use core::pin::Pin;
use futures_util::StreamExt as _;
use http::Method;
use std::path::Path;
use strongroom_jose::TeeKey;
use strongroom_wire::kbs::Jwe;

type Attempt = for<'a> fn(&'a World, &'a [u8]) -> Pin<Box<dyn Future<Output = Answer> + 'a>>;

struct Row {
    part: &'static str,
    attempt: &'static str,
    at: &'static str,
    code: &'static str,
    run: Attempt,
}

impl Row {
    fn line(&self) -> String {
        format!("| {} | {} | `{}` | `{}` |", self.part, self.attempt, self.at, self.code)
    }

    /// The kind of its row in the audit log.
    fn kind(&self) -> &'static str {
        match self.at {
            "resource" => "release",
            "attest" => "attestation",
            "lease" if matches!(self.code, "workload-mismatch") => "lease",
            "lease" => "attestation",
            _ => "admin",
        }
    }
}

fn rows() -> Vec<Row> {
    rows::rows().into_iter().chain(administration::rows()).collect()
}

#[tokio::test]
async fn whatever_is_tried_for_somebody_else_s_key_is_refused_with_its_code_and_on_record() {
    let mut failed = Vec::new();
    for row in rows() {
        let (mut world, document) = World::ready().await;
        if row.at == "admin" {
            administration::configure(&mut world).await;
        }
        let answer = (row.run)(&world, &document).await;
        let code = answer.code();
        // What is too long is not read, and so not decided on.
        let recorded = code == "too-large" || world.decisions(row.kind()).await.contains(&code);
        if code != row.code || !recorded || answer.status.is_success() {
            failed.push(format!("{} {code}, on record: {recorded}: {}", answer.status, row.line()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn table_of_attacks_is_what_is_tried() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/attacks.md");
    let document = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = document.lines().filter(|line| line.starts_with("| ") && line.ends_with("` |")).collect();
    let tried: Vec<String> = rows().iter().map(Row::line).collect();
    assert_eq!(lines, tried, "docs/attacks.md should have:\n{}", tried.join("\n"));
}

#[tokio::test]
async fn of_a_thousand_attestations_on_one_cookie_a_hundred_at_once_one_is_accepted() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let attestation = guest.attestation();
    // A thousand handshakes of TLS at once would try the client's patience and not the sessions.
    let posts = futures_util::stream::iter((0..1000).map(|_| guest.post(&attestation)));
    let answers: Vec<Answer> = posts.buffer_unordered(100).collect().await;
    let accepted = answers.iter().filter(|answer| answer.status == 200).count();
    let used = answers.iter().filter(|answer| answer.status == 401 && answer.code() == "nonce-used").count();
    assert_eq!((accepted, used), (1, 999));
    let jwe: Jwe = serde_json::from_slice(&guest.fetch(KEY).await.body).unwrap();
    assert_eq!(&**guest.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
    let mut decisions = world.decisions("attestation").await;
    decisions.sort();
    assert_eq!(decisions, ["", "nonce-used"]);
}

#[tokio::test]
async fn ten_thousand_half_open_sessions_end_neither_the_first_of_them_nor_an_accepted_one() {
    let (world, document) = World::ready().await;
    let [accepted, first] = [Guest::launch(&world, &document).await, Guest::launch(&world, &document).await];
    accepted.attest().await;
    // As many at once as the client keeps connections.
    for _ in 0..625 {
        let opened = (0..16).map(|_| world.kbs(Method::POST, "/v1/challenge", &[], vec![]));
        let opened = futures_util::future::join_all(opened).await;
        assert!(opened.iter().all(|answer| answer.status == 200));
    }
    first.attest().await;
    for guest in [&accepted, &first] {
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
    }
}

#[tokio::test]
async fn stolen_cookie_or_token_gives_nothing_that_can_be_opened() {
    let (world, document) = World::ready().await;
    let victim = Guest::launch(&world, &document).await;
    let bearer = format!("Bearer {}", victim.attest().await);
    let own = TeeKey::generate_p256().unwrap();
    for header in [("cookie", victim.cookie.as_str()), ("authorization", bearer.as_str())] {
        let answer = world.kbs(Method::GET, &format!("/kbs/v0/resource/{KEY}"), &[header], vec![]).await;
        let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(own.decrypt(&jwe).unwrap_err().code, strongroom_wire::Code::WrappedKeyInvalid);
        assert_eq!(&**victim.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
    }
}
