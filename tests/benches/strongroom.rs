//! `make bench`: one line a figure, `name value unit limit ratio`, and the same as JSON in the file named as first argument.
//!
//! A limit is what the crypto backend does alone, or another verifier with the same evidence, measured in the same run and
//! in turns with the figure, so that a machine that slows down slows both. The second argument is the folder of the other
//! verifiers' programs (`tests/peers/bench`); each one that is not there is named, and no ratio printed for it.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions, clippy::indexing_slicing)]

mod audit;
mod cases;
mod figure;
mod peers;
mod policies;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair, UnparsedPublicKey,
};
use cases::{NOW, Snp, Tdx};
use figure::Figure;
use peers::Peer;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Many short turns: a machine that is slower for a second is so for all who take them.
const ROUNDS: usize = 41;

fn main() {
    let peers = figure::arguments().nth(1).map(PathBuf::from);
    let mut figures = snp(peers.as_deref());
    figures.extend(quotes(peers.as_deref()));
    figures.extend(policies::decisions());
    figures.extend(audit::figures());
    figure::publish(&figures);
}

/// Runs the work for at least a twentieth of a second: how often a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut times = 0_u32;
    while began.elapsed() < Duration::from_millis(50) {
        work();
        times += 1;
    }
    f64::from(times) / began.elapsed().as_secs_f64()
}

/// The medians of rates, measured in turns.
fn in_turns<const N: usize>(mut turns: [&mut dyn FnMut() -> f64; N]) -> [f64; N] {
    let mut rates = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        rates.iter_mut().zip(&mut turns).for_each(|(rates, turn)| rates.push(turn()));
    }
    rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    })
}

/// The work beside what bounds it.
fn beside(mut work: impl FnMut(), mut limit: impl FnMut()) -> (f64, f64) {
    let [value, limit] = in_turns([&mut || rate(&mut work), &mut || rate(&mut limit)]);
    (value, limit)
}

/// The work beside each peer: one figure a peer, by which the ratio says how many times as fast ours is.
fn beside_peers(name: &str, unit: &'static str, mut work: impl FnMut(), peers: Vec<Peer>) -> Vec<Figure> {
    let figure = |mut peer: Peer| {
        let [value, limit] = in_turns([&mut || rate(&mut work), &mut || peer.turn().unwrap()]);
        Figure::new(format!("{name}-beside-{}", peer.name), value, unit, limit)
    };
    peers.into_iter().map(figure).collect()
}

/// One raw verification of a signature over `message` by the crypto backend.
fn raw_verify(
    signing: &'static EcdsaSigningAlgorithm,
    verification: &'static EcdsaVerificationAlgorithm,
    message: &[u8],
) -> impl Fn() {
    let pair = EcdsaKeyPair::generate(signing).unwrap();
    let signature = pair.sign(&SystemRandom::new(), message).unwrap();
    let key = UnparsedPublicKey::new(verification, pair.public_key().as_ref().to_vec());
    move || key.verify(black_box(message), signature.as_ref()).unwrap()
}

/// A report verified from its bytes, and with its chain kept, against one raw ECDSA P-384 verification and both backends of
/// `sev`.
fn snp(peers: Option<&Path>) -> Vec<Figure> {
    let case = Snp::new();
    let one_verify = raw_verify(&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1, &case.report[..0x2a0]);
    let (value, limit) = beside(|| case.verify_from_scratch(), &one_verify);
    let mut figures = vec![Figure::new("snp-verify-from-scratch", value, "reports/s", limit)];
    let (value, limit) = beside(|| case.verify_with_chain_kept(), &one_verify);
    figures.push(Figure::new("snp-verify-chain-kept", value, "reports/s", limit));
    let files = [&case.report[..], &case.ark, &case.ask, &case.vcek];
    let peers = ["sev-openssl", "sev-nossl"].into_iter().filter_map(|name| Peer::start(peers, name, &files)).collect();
    figures.extend(beside_peers("snp-verify-from-scratch", "reports/s", || case.verify_from_scratch(), peers));
    figures
}

/// A quote verified with its platform and collateral kept, and from its bytes, against two raw ECDSA P-256 verifications and
/// `dcap-qvl`.
fn quotes(peers: Option<&Path>) -> Vec<Figure> {
    let case = Tdx::new();
    let one = raw_verify(&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1, &case.quote[..632]);
    let two_verifies = || {
        one();
        one();
    };
    let (value, limit) = beside(|| case.verify_from_scratch(), two_verifies);
    let mut figures = vec![Figure::new("tdx-verify-from-scratch", value, "quotes/s", limit)];
    let (value, limit) = beside(|| case.verify_with_collateral_kept(), two_verifies);
    figures.push(Figure::new("tdx-verify-collateral-kept", value, "quotes/s", limit));
    let now = NOW.to_string();
    let files = [&case.quote[..], &case.collateral, &case.root, now.as_bytes()];
    let peers = Peer::start(peers, "dcap-qvl", &files).into_iter().collect();
    figures.extend(beside_peers("tdx-verify-from-scratch", "quotes/s", || case.verify_from_scratch(), peers));
    figures
}
