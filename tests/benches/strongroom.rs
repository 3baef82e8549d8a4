//! `make bench`: one line a figure, `name value unit limit ratio`, and the same as JSON in the file named as argument.
//!
//! A limit is what the crypto backend does alone, measured in the same run and interleaved with the figure, so that a
//! machine that slows down slows both.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::as_conversions, clippy::indexing_slicing)]

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde_json::json;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, appraise, authenticate, tdx};
use strongroom_artifact::DataKey;
use strongroom_artifact::seal::{OpenStream, Sealer};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::intel;
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;

const ROUNDS: usize = 7;
const NOW: u64 = 1_800_000_000;

struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    limit: f64,
}

fn main() {
    let mut figures = snp();
    figures.extend(quotes());
    figures.extend(opening());
    for figure in &figures {
        let Figure { name, value, unit, limit } = figure;
        println!("{name} {value:.1} {unit} {limit:.1} {:.3}", value / limit);
    }
    let rows: Vec<_> = figures
        .iter()
        .map(|f| json!({ "name": f.name, "value": f.value, "unit": f.unit, "limit": f.limit, "ratio": f.value / f.limit }))
        .collect();
    // `cargo bench` adds flags of its own before and after.
    if let Some(path) = std::env::args().skip(1).find(|argument| !argument.starts_with('-')) {
        std::fs::write(path, serde_json::to_vec_pretty(&rows).unwrap()).unwrap();
    }
}

/// Runs the work for at least a quarter of a second: how often a second.
fn rate(mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut times = 0_u32;
    while began.elapsed() < Duration::from_millis(250) {
        work();
        times += 1;
    }
    f64::from(times) / began.elapsed().as_secs_f64()
}

/// The medians of two rates, measured in turns.
fn beside(mut figure: impl FnMut(), mut limit: impl FnMut()) -> (f64, f64) {
    let mut rates: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(rate(&mut figure));
        rates[1].push(rate(&mut limit));
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    };
    (median(&mut rates[0]), median(&mut rates[1]))
}

/// A report verified from its bytes, chain and all, against one raw ECDSA P-384 verification.
fn snp() -> Vec<Figure> {
    let hierarchy = Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let evidence = ReportSpec::default().sign(&vek).unwrap();
    let table = hierarchy.certificate_table(&vek).unwrap().encode().unwrap();
    let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
    let policy = Policy::platform_defaults();
    let raw = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let signature = raw.sign(&aws_lc_rs::rand::SystemRandom::new(), &evidence[..0x2a0]).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, raw.public_key().as_ref().to_vec());
    let verify = || {
        let mut endorsements = Endorsements::new();
        endorsements.add(&table).unwrap();
        let authentic = authenticate(&evidence, &endorsements, &roots, NOW).unwrap();
        black_box(appraise(&authentic, &policy, &Expected::UNBOUND));
    };
    let one_verify = || key.verify(black_box(&evidence[..0x2a0]), signature.as_ref()).unwrap();
    let (value, limit) = beside(verify, one_verify);
    let scratch = Figure { name: "snp-verify-from-scratch", value, unit: "reports/s", limit };
    let mut endorsements = Endorsements::new();
    endorsements.add(&table).unwrap();
    let kept = Arc::clone(authenticate(&evidence, &endorsements, &roots, NOW).unwrap().endorsement_key());
    let cached = || {
        let authentic = kept.authenticate(&evidence, NOW).unwrap();
        black_box(appraise(&authentic, &policy, &Expected::UNBOUND));
    };
    let (value, limit) = beside(cached, one_verify);
    vec![scratch, Figure { name: "snp-verify-chain-kept", value, unit: "reports/s", limit }]
}

/// A quote verified with its platform and collateral kept, and from its bytes, against two raw ECDSA P-256 verifications.
fn quotes() -> Vec<Figure> {
    let hierarchy = intel::Hierarchy::generate().unwrap();
    let pck = hierarchy.issue(intel::PckSpec::default()).unwrap();
    let evidence = QuoteSpec::default().sign(&pck).unwrap();
    let collateral = hierarchy.collateral(&intel::CollateralSpec::default()).unwrap();
    let roots = Roots::test(hierarchy.root.certificate()).unwrap();
    let policy = Policy::platform_defaults();
    let raw = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let signature = raw.sign(&aws_lc_rs::rand::SystemRandom::new(), &evidence[..632]).unwrap();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, raw.public_key().as_ref().to_vec());
    let two_verifies = || {
        for _ in 0..2 {
            key.verify(black_box(&evidence[..632]), signature.as_ref()).unwrap();
        }
    };
    let scratch = || {
        let mut endorsements = Endorsements::new();
        endorsements.add(&collateral).unwrap();
        let authentic = tdx::authenticate(&evidence, &endorsements, &roots, NOW).unwrap();
        black_box(tdx::appraise(&authentic, &policy, &Expected::UNBOUND));
    };
    let mut endorsements = Endorsements::new();
    endorsements.add(&collateral).unwrap();
    let kept = Arc::clone(tdx::authenticate(&evidence, &endorsements, &roots, NOW).unwrap().platform());
    let cached = || {
        let authentic = kept.authenticate(&evidence, NOW).unwrap();
        black_box(tdx::appraise(&authentic, &policy, &Expected::UNBOUND));
    };
    let (value, limit) = beside(scratch, two_verifies);
    let scratch = Figure { name: "tdx-verify-from-scratch", value, unit: "quotes/s", limit };
    let (value, limit) = beside(cached, two_verifies);
    vec![scratch, Figure { name: "tdx-verify-collateral-kept", value, unit: "quotes/s", limit }]
}

/// A sealed stream hashed and opened on one core, against the slower of SHA-256 and AES-256-GCM.
fn opening() -> Vec<Figure> {
    const LEN: usize = 64 << 20;
    const MIB: f64 = (LEN >> 20) as f64;
    let key = DataKey::generate().unwrap();
    let mut sealer = Sealer::new(&key, b"bench", Vec::with_capacity(LEN + (1 << 20))).unwrap();
    sealer.write(&vec![0x5a; LEN]).unwrap();
    let stream = sealer.finish().unwrap().out;
    let open = || {
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut opener = OpenStream::new(&key, b"bench", stream.len() as u64).unwrap();
        let mut opened = 0;
        for chunk in stream.chunks(256 << 10) {
            hash.update(chunk);
            opener
                .push(chunk, &mut |plain| {
                    opened += black_box(plain).len();
                    Ok(())
                })
                .unwrap();
        }
        opener.finish().unwrap();
        assert_eq!(opened, LEN);
        black_box(hash.finish());
    };
    let (value, hashing) = beside(open, || {
        black_box(digest::digest(&digest::SHA256, &stream));
    });
    let gcm = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap());
    let mut segment = vec![0; 1 << 20];
    let encryption = rate(|| {
        for _ in 0..LEN >> 20 {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            let _ = black_box(gcm.seal_in_place_separate_tag(nonce, Aad::empty(), &mut segment).unwrap());
        }
    });
    let limit = hashing.min(encryption);
    vec![Figure { name: "open-sealed-one-core", value: value * MIB, unit: "MiB/s", limit: limit * MIB }]
}
