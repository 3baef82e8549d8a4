//! What is tried, row by row.

use super::Row;
use crate::enclave::Enclave;
use crate::guest::Guest;
use crate::revocations::put;
use crate::world::{Answer, KEY, START, World};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use core::pin::Pin;
use http::Method;
use serde_json::{Value, json};
use strongroom_devkit::amd::{Vek, VekSpec};
use strongroom_devkit::report::ReportSpec;
use strongroom_jose::{TeeKey, TokenSigner};
use strongroom_wire::bytes::{from_base64, to_base64, to_base64url};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::EvidenceAnswer;
use strongroom_wire::kbs::{CertificateEntry, SnpEvidence, TeePubKey};
use strongroom_wire::limits;
use strongroom_wire::snp::Tcb;

const ASK_SERIAL: u32 = 0x01_00_01;

/// A JWT with that header, signed by that key over whatever claims an accepted guest's token has.
fn forged(token: &str, header: &Value, sign: impl FnOnce(&str) -> String) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let input = format!("{}.{payload}", to_base64url(header.to_string().as_bytes()));
    let signature = sign(&input);
    format!("{input}.{signature}")
}

async fn bearer(world: &World, token: &str) -> Answer {
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    world.kbs(Method::GET, &format!("/kbs/v0/resource/{KEY}"), &headers, vec![]).await
}

/// The claims of an accepted guest's token under the signature of a key that that header is made of.
async fn signed_by_a_stranger(world: &World, document: &[u8], header: impl FnOnce(&TokenSigner) -> Value) -> Answer {
    let token = Guest::launch(world, document).await.attest().await;
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let stranger = TokenSigner::from_pkcs8(pair.to_pkcs8v1().unwrap().as_ref()).unwrap();
    let sign = |input: &str| to_base64url(pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap().as_ref());
    bearer(world, &forged(&token, &header(&stranger), sign)).await
}

fn hmac(world: &World, input: &str) -> String {
    let secret = from_base64(&world.identity.token_key, "token key").unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    to_base64url(aws_lc_rs::hmac::sign(&key, input.as_bytes()).as_ref())
}

async fn changed(world: &World, document: &[u8], change: impl FnOnce(&mut Guest<'_>)) -> Answer {
    let mut guest = Guest::launch(world, document).await;
    change(&mut guest);
    guest.post(&guest.attestation()).await
}

/// Posts the attestation of a sound guest after something was changed about it.
async fn tampered(world: &World, document: &[u8], change: impl FnOnce(&mut Value)) -> Answer {
    let guest = Guest::launch(world, document).await;
    let mut attestation = guest.attestation();
    change(&mut attestation);
    guest.post(&attestation).await
}

/// A sound guest on a chip whose key and list are these.
async fn endorsed(world: &World, document: &[u8], vek: &Vek, revoked: &[u32]) -> Answer {
    let guest = Guest::launch(world, document).await;
    let report = ReportSpec { report_data: guest.bound(), ..guest.report.clone() }.report(vek).unwrap();
    let list = world.hierarchy.ark.crl(revoked, START - 10..START + 1000).unwrap();
    let ask = world.hierarchy.ask.certificate().to_vec();
    let chain = [("VCEK", vek.certificate.clone()), ("ASK", ask), ("CRL", list)];
    let chain = chain.map(|(kind, data)| CertificateEntry { cert_type: kind.into(), data });
    let evidence = SnpEvidence::from_report(&report, Some(chain.to_vec())).unwrap();
    guest.post(&guest.attestation_with(json!(evidence))).await
}

/// An accepted guest asks for a resource of that name.
async fn named(world: &World, document: &[u8], name: &str) -> Answer {
    let guest = Guest::launch(world, document).await;
    guest.attest().await;
    guest.fetch(name).await
}

macro_rules! attempt {
    ($world:ident, $document:ident => $run:expr) => {{
        fn run<'a>($world: &'a World, $document: &'a [u8]) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
            Box::pin($run)
        }
        run
    }};
}

pub(super) use attempt;

pub(super) fn rows() -> Vec<Row> {
    let row = |part, attempt, at, code, run| Row { part, attempt, at, code, run };
    vec![
        row(
            "token",
            "signed by another key",
            "resource",
            "token-invalid",
            attempt!(world, document => {
                signed_by_a_stranger(world, document, |_| json!({"alg": "ES256", "typ": "JWT"}))
            }),
        ),
        row(
            "token",
            "signed by a key that its own header brings (`jwk`)",
            "resource",
            "token-invalid",
            attempt!(world, document => {
                signed_by_a_stranger(world, document, |stranger| json!({"alg": "ES256", "jwk": stranger.jwk()}))
            }),
        ),
        row(
            "token",
            "`alg` is `none`, without a signature",
            "resource",
            "token-invalid",
            attempt!(world, document => async move {
                let token = Guest::launch(world, document).await.attest().await;
                bearer(world, &forged(&token, &json!({"alg": "none"}), |_| String::new())).await
            }),
        ),
        row(
            "token",
            "`alg` is `HS256`, the verifier's public key being the secret",
            "resource",
            "token-invalid",
            attempt!(world, document => async move {
                let token = Guest::launch(world, document).await.attest().await;
                bearer(world, &forged(&token, &json!({"alg": "HS256"}), |input| hmac(world, input))).await
            }),
        ),
        row(
            "token",
            "an accepted guest's, after it ended",
            "resource",
            "token-invalid",
            attempt!(world, document => async move {
                let token = Guest::launch(world, document).await.attest().await;
                world.pass(300);
                bearer(world, &token).await
            }),
        ),
        row(
            "session",
            "a cookie that was invented",
            "resource",
            "session-unknown",
            attempt!(world, document => async move {
                let mut guest = Guest::launch(world, document).await;
                guest.cookie = format!("kbs-session-id={}", "0".repeat(32));
                guest.fetch(KEY).await
            }),
        ),
        row(
            "session",
            "the cookie of a session in which nothing was accepted",
            "resource",
            "session-unknown",
            attempt!(world, document => async move {
                Guest::launch(world, document).await.fetch(KEY).await
            }),
        ),
        row(
            "nonce",
            "a second time, by the guest that used it",
            "attest",
            "nonce-used",
            attempt!(world, document => async move {
                let guest = Guest::launch(world, document).await;
                guest.attest().await;
                guest.post(&guest.attestation()).await
            }),
        ),
        row(
            "nonce",
            "of another session",
            "attest",
            "nonce-mismatch",
            attempt!(world, document => async move {
                let other = Guest::launch(world, document).await;
                changed(world, document, |guest| guest.nonce = other.nonce).await
            }),
        ),
        row(
            "evidence",
            "an accepted guest's, replayed in a session of one's own",
            "attest",
            "report-data-mismatch",
            attempt!(world, document => async move {
                let victim = Guest::launch(world, document).await;
                let shown = victim.attestation();
                victim.post(&shown).await;
                tampered(world, document, |own| own["tee-evidence"] = shown["tee-evidence"].clone()).await
            }),
        ),
        row(
            "evidence",
            "a guest's, with one's own key beside it",
            "attest",
            "report-data-mismatch",
            attempt!(world, document => async move {
                let own = TeeKey::generate_p256().unwrap();
                tampered(world, document, |shown| shown["runtime-data"]["tee-pubkey"] = json!(own.public())).await
            }),
        ),
        row(
            "evidence",
            "a guest's of another document, with the approved one beside it",
            "attest",
            "deployment-not-approved",
            attempt!(world, document => async move {
                changed(world, document, |guest| guest.report.host_data[0] ^= 1).await
            }),
        ),
        row(
            "evidence",
            "a guest's of the approved document, with another one beside it",
            "attest",
            "deployment-mismatch",
            attempt!(world, document => async move {
                changed(world, document, |guest| guest.document.extend_from_slice(b"# mine\n")).await
            }),
        ),
        row(
            "evidence",
            "a guest's with other software",
            "attest",
            "measurement-not-approved",
            attempt!(world, document => async move {
                changed(world, document, |guest| guest.report.measurement[0] ^= 1).await
            }),
        ),
        row(
            "evidence",
            "a guest's that may be debugged",
            "attest",
            "debug-enabled",
            attempt!(world, document => async move {
                changed(world, document, |guest| guest.report.policy |= 1 << 19).await
            }),
        ),
        row(
            "evidence",
            "changed after it was signed",
            "attest",
            "evidence-signature-invalid",
            attempt!(world, document => async move {
                tampered(world, document, |shown| {
                    shown["tee-evidence"]["primary_evidence"]["attestation_report"]["guest_svn"] = json!(7);
                }).await
            }),
        ),
        row(
            "endorsement",
            "one that has ended",
            "attest",
            "certificate-expired",
            attempt!(world, document => async move {
                let over = VekSpec { validity: START - 20..START - 10, ..VekSpec::default() };
                endorsed(world, document, &world.hierarchy.issue(over).unwrap(), &[]).await
            }),
        ),
        row(
            "endorsement",
            "one whose authority was revoked",
            "attest",
            "certificate-revoked",
            attempt!(world, document => {
                endorsed(world, document, &world.vek, &[ASK_SERIAL])
            }),
        ),
        row(
            "TCB",
            "an older one than the policy's floor, genuinely endorsed",
            "attest",
            "tcb-too-old",
            attempt!(world, document => async move {
                let spec = VekSpec::default();
                let old = VekSpec { tcb: Tcb { snp: 7, ..spec.tcb }, ..spec };
                endorsed(world, document, &world.hierarchy.issue(old).unwrap(), &[]).await
            }),
        ),
        row(
            "key",
            "a point that is not on its curve",
            "attest",
            "key-invalid",
            attempt!(world, document => async move {
                tampered(world, document, |shown| {
                    let zero = to_base64url(&[1; 32]);
                    let key = TeePubKey::Ec { crv: "P-256".into(), alg: "ECDH-ES+A256KW".into(), x: zero.clone(), y: zero };
                    shown["runtime-data"]["tee-pubkey"] = json!(key);
                }).await
            }),
        ),
        row(
            "key",
            "RSA with exponent 1",
            "attest",
            "key-invalid",
            attempt!(world, document => async move {
                tampered(world, document, |shown| {
                    let key = TeePubKey::Rsa { alg: "RSA-OAEP-256".into(), n: to_base64url(&[0xff; 256]), e: "AQ".into() };
                    shown["runtime-data"]["tee-pubkey"] = json!(key);
                }).await
            }),
        ),
        row(
            "lease",
            "evidence that an enclave showed for a lease, for one of one's own",
            "lease",
            "report-data-mismatch",
            attempt!(world, document => async move {
                let victim = Enclave::launch(world, document);
                let shown = victim.bound(victim.question().await);
                let mut own = victim.question().await;
                own.evidence = EvidenceAnswer { nonce: own.evidence.nonce, ..shown.evidence };
                victim.post(&own).await
            }),
        ),
        row(
            "lease",
            "an enclave's evidence, with one's own key beside it",
            "lease",
            "report-data-mismatch",
            attempt!(world, document => async move {
                let victim = Enclave::launch(world, document);
                let mut shown = victim.bound(victim.question().await);
                shown.evidence.channel_key = to_base64(TokenSigner::generate().unwrap().spki_der());
                victim.post(&shown).await
            }),
        ),
        row(
            "lease",
            "evidence that an enclave gives its clients, for a nonce of the verifier's",
            "lease",
            "report-data-mismatch",
            attempt!(world, document => async move {
                let victim = Enclave::launch(world, document);
                let question = victim.question().await;
                let key = victim.key.spki_der();
                let asked = question.evidence.expected_report_data(&question.evidence.nonce.0, key).unwrap();
                victim.post(&victim.bound_to(question, asked)).await
            }),
        ),
        row(
            "lease",
            "for other models than those of the document",
            "lease",
            "workload-mismatch",
            attempt!(world, document => async move {
                let mut enclave = Enclave::launch(world, document);
                enclave.workload.models[0].manifest = Sha256([9; 32]);
                enclave.ask().await
            }),
        ),
        row(
            "revocation",
            "a key in a session that was accepted before its chip was revoked",
            "resource",
            "revoked",
            attempt!(world, document => async move {
                let guest = Guest::launch(world, document).await;
                guest.attest().await;
                put(world, "revoked", "chip", &world.chip()).await;
                guest.fetch(KEY).await
            }),
        ),
        row(
            "revocation",
            "a lease, with a chip that is in quarantine",
            "lease",
            "quarantined",
            attempt!(world, document => async move {
                let enclave = Enclave::launch(world, document);
                put(world, "quarantined", "chip", &world.chip()).await;
                enclave.ask().await
            }),
        ),
        row(
            "name",
            "`../../policies/a`",
            "resource",
            "malformed",
            attempt!(world, document => named(world, document, "../../policies/a")),
        ),
        row(
            "name",
            "`models/..%2f..%2fetc/passwd`",
            "resource",
            "malformed",
            attempt!(world, document => named(world, document, "models/..%2f..%2fetc/passwd")),
        ),
        row(
            "name",
            "of a key that no model of the document is sealed with",
            "resource",
            "key-unknown",
            attempt!(world, document => named(world, document, "other/key/v1")),
        ),
        row(
            "body",
            "longer than any attestation",
            "attest",
            "too-large",
            attempt!(world, document => async move {
                let guest = Guest::launch(world, document).await;
                let headers = [("cookie", guest.cookie.as_str())];
                world.kbs(Method::POST, "/kbs/v0/attest", &headers, vec![b' '; limits::KBS_BODY + 1]).await
            }),
        ),
    ]
}
