//! A decision by Cedar policies.

use crate::figure::Figure;
use std::hint::black_box;
use std::time::{Duration, Instant};
use strongroom_policy::{Action, Key, Model, Policies, Promotion, Question, Snp, Verdict, Workload};

/// Policies of one set.
const POLICIES: usize = 100;
/// Decisions that are timed.
const DECISIONS: usize = 20_000;
/// What the slowest but one in a hundred may take, in microseconds.
const BUDGET: f64 = 100.0;

/// Teams of eight policies each: two permits and a forbid for the team's folder, and rules about labels that hold for all.
fn text() -> String {
    let policy = |n: usize| {
        let (team, of) = (n / 8, n % 8);
        let folder =
            format!("action == Strongroom::Action::\"ReleaseKey\", resource in Strongroom::Folder::\"team{team}\"");
        match of {
            0 => format!("@id(\"p{n}\") permit (principal, {folder});"),
            1 => format!(
                "@id(\"p{n}\") permit (principal, {folder}) when {{ context.model.signers.contains(\"signer{n}\") && \
                 principal has snp && principal.snp.tcb.microcode >= {n} }};"
            ),
            2 => format!(
                "@id(\"p{n}\") forbid (principal, {folder}) when {{ principal has snp && principal.snp.debug }};"
            ),
            _ => format!(
                "@id(\"p{n}\") forbid (principal, action, resource is Strongroom::Key) when {{ \
                 resource.labels.contains(\"label{n}\") && !(principal has zone && principal.zone == \"zone{of}\") }};"
            ),
        }
    };
    (0..POLICIES).map(|n| policy(n) + "\n").collect()
}

fn question(team: usize) -> Question {
    let snp =
        Snp { product: "Milan".into(), debug: false, vmpl: 0, fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
    let hex = |byte: &str, bytes: usize| byte.repeat(bytes);
    Question {
        workload: Workload {
            id: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".into(),
            platform: "snp".into(),
            root: "amd".into(),
            measurement: hex("4d", 48),
            deployment: hex("d0", 32),
            machine: Some(hex("c1", 64)),
            zone: Some("zone5".into()),
            snp: Some(snp),
            tdx: None,
        },
        action: Action::ReleaseKey {
            key: Key {
                id: format!("team{team}/model/v1"),
                owner: Some(format!("team{team}")),
                labels: ["label5", "gold", "eu"].map(String::from).into(),
            },
            model: Model {
                repository: "registry.example/models/embed".into(),
                manifest: format!("sha256:{}", hex("0f", 32)),
                signers: ["release".to_owned()].into(),
                promotion: Some(Promotion { environment: "production".into(), sequence: 7, expires: 1_800_000_900 }),
            },
        },
        now: 1_800_000_000,
    }
}

/// The ninety-ninth percentile of one decision among [`POLICIES`], and the median beside it.
pub(crate) fn decisions() -> Vec<Figure> {
    let policies = Policies::parse(text().as_bytes()).unwrap();
    let questions: Vec<_> = (0..POLICIES / 8).map(question).collect();
    let time = |n: usize| {
        let question = &questions[n % questions.len()];
        let began = Instant::now();
        let decision = black_box(policies.ask(black_box(question)).unwrap());
        let took = began.elapsed();
        assert_eq!(decision.verdict, Verdict::Permit);
        took
    };
    (0..DECISIONS / 10).map(time).for_each(|_| ());
    let mut times: Vec<Duration> = (0..DECISIONS).map(time).collect();
    times.sort();
    let at = |part: usize| times[DECISIONS * part / 100].as_secs_f64() * 1e6;
    [("median", at(50)), ("p99", at(99))]
        .map(|(name, value)| Figure::new(format!("policy-decision-of-{POLICIES}-{name}"), value, "us", BUDGET))
        .into()
}
