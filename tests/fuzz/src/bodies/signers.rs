//! Who signs by an identity or under an authority: trusted roots, files of certificates, and bundles with a certificate. A changed
//! bundle is never taken for more than what was signed.

use super::super::mutation::Script;
use super::models::payload;
use std::sync::LazyLock;
use strongroom_artifact::TrustedRoot;
use strongroom_artifact::oms::{self, Certificates};

const ROOT: &str = include_str!("../../../../artifact/tests/keyless/trusted_root.json");
const GOOD: &[u8] = include_bytes!("../../../../artifact/tests/keyless/good.json");
const STAMPED: &[u8] = include_bytes!("../../../../artifact/tests/keyless/stamped.json");
/// A year in which no certificate of an input is looked for.
const NOW: u64 = 1_800_000_000;

static TRUSTED: LazyLock<TrustedRoot> = LazyLock::new(|| TrustedRoot::parse(ROOT).unwrap());

pub fn run(input: &[u8]) {
    super::choose(input, &[trusted_root, changed_root, bundle, changed_bundle, certificates, certified]);
}

/// The trusted root whose authorities signed the bundles.
pub fn sound_root() -> Vec<u8> {
    ROOT.as_bytes().to_vec()
}

/// A bundle of the root's, by inclusion and by timestamp.
pub fn sound_bundles() -> [Vec<u8>; 2] {
    [GOOD.to_vec(), STAMPED.to_vec()]
}

fn trusted_root(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    // Under whichever root: what it says of a bundle is an answer.
    if let Ok(root) = TrustedRoot::parse(text) {
        let _ = root.verify_made(GOOD);
    }
}

fn changed_root(input: &[u8]) {
    let mut changed = [sound_root()];
    Script::new(input).change(&mut changed, &[ROOT.as_bytes()]);
    let [changed] = changed;
    trusted_root(&changed);
}

fn bundle(input: &[u8]) {
    if TRUSTED.verify_made(input).is_ok() {
        let sound = sound_bundles().map(|sound| payload(&sound));
        assert!(sound.contains(&payload(input)), "a statement of nobody's");
    }
}

fn changed_bundle(input: &[u8]) {
    let mut script = Script::new(input);
    let sound = sound_bundles();
    let mut changed = [sound[usize::from(script.byte() % 2)].clone()];
    script.change(&mut changed, &[&sound[0], &sound[1]]);
    let [changed] = changed;
    bundle(&changed);
}

fn certificates(input: &[u8]) {
    if let Ok(read) = Certificates::from_pem(input) {
        assert!(oms::verify_statement_certified(GOOD, &read, NOW).is_err(), "a certificate that lived for minutes");
    }
}

/// A bundle of a chain under authorities that certified nobody.
fn certified(input: &[u8]) {
    static AUTHORITIES: LazyLock<Certificates> =
        LazyLock::new(|| Certificates::from_pem(include_bytes!("../../fixtures/authority.pem")).unwrap());
    assert!(oms::verify_statement_certified(input, &AUTHORITIES, NOW).is_err(), "certified by nobody");
}
