//! Two keys of one library, SoftHSM's, that is started anew.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failed test panics, a skipped one says so")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use strongroom_pkcs11::{KeyUri, WrappingKey};
use strongroom_wire::Code;
use zeroize::Zeroizing;

const TEST: &str = "key_of_a_library_that_another_key_started_anew_wraps_by_itself_and_by_no_other";

/// The folder of a token and its library. The test runs once more in a process of its own, where the library finds its token by the
/// environment; `None` in the first, and where there is no SoftHSM.
fn token() -> Option<(PathBuf, PathBuf)> {
    let Some(softhsm) = std::env::var_os("SOFTHSM").map(PathBuf::from) else {
        assert!(std::env::var_os("STRONGROOM_REQUIRE_PEERS").is_none(), "SOFTHSM names nothing");
        eprintln!("skipped: SOFTHSM names nothing; `make setup peers` brings it");
        return None;
    };
    let library = softhsm.join("usr/lib/softhsm/libsofthsm2.so");
    if let Some(configuration) = std::env::var_os("SOFTHSM2_CONF") {
        return Some((Path::new(&configuration).parent().unwrap().to_owned(), library));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("tokens")).unwrap();
    let configuration = folder.path().join("softhsm2.conf");
    std::fs::write(&configuration, format!("directories.tokendir = {}/tokens\n", folder.path().display())).unwrap();
    let mut tool = Command::new(softhsm.join("usr/bin/softhsm2-util"));
    tool.args(["--init-token", "--free", "--label", "keys", "--pin", "1234", "--so-pin", "5678", "--module"]);
    assert!(tool.arg(&library).env("SOFTHSM2_CONF", &configuration).status().unwrap().success());
    let mut again = Command::new(std::env::current_exe().unwrap());
    let again = again.args(["--exact", TEST, "--nocapture"]).env("SOFTHSM2_CONF", &configuration).status().unwrap();
    assert!(again.success());
    None
}

#[test]
fn key_of_a_library_that_another_key_started_anew_wraps_by_itself_and_by_no_other() {
    let Some((folder, library)) = token() else { return };
    let key = |object: &str| {
        let uri = format!("pkcs11:token=keys;object={object}?module-path={}", library.display());
        let pin = || Ok(Some(Zeroizing::new(b"1234".to_vec())));
        WrappingKey::new(KeyUri::parse(&uri).unwrap(), Box::new(pin)).unwrap()
    };
    let (one, other) = (key("one"), key("other"));
    one.generate().unwrap();
    other.generate().unwrap();
    let gone_and_back = |user: &WrappingKey| {
        std::fs::rename(folder.join("tokens"), folder.join("away")).unwrap();
        assert!(user.seal(b"", b"value").is_err());
        std::fs::rename(folder.join("away"), folder.join("tokens")).unwrap();
        user.seal(b"", b"value").unwrap();
    };
    // It starts the library anew, and has the first numbers.
    gone_and_back(&one);
    other.seal(b"", b"value").unwrap();
    // So does the other, whose numbers are then those that the first had.
    gone_and_back(&other);
    let sealed = one.seal(b"", b"value").unwrap();
    assert_eq!(key("one").open(b"", &sealed).unwrap().as_slice(), b"value");
    assert!(other.open(b"", &sealed).is_err());

    // A PIN that the token refused is not tried again until it is another. Nobody is logged in any more.
    drop((one, other));
    let pin = Arc::new(Mutex::new("4321"));
    let told = Arc::clone(&pin);
    let uri = format!("pkcs11:token=keys;object=one?module-path={}", library.display());
    let told = move || Ok(Some(Zeroizing::new(told.lock().unwrap().as_bytes().to_vec())));
    let wrong = WrappingKey::new(KeyUri::parse(&uri).unwrap(), Box::new(told)).unwrap();
    let refused = || wrong.seal(b"", b"value").unwrap_err();
    assert_eq!((refused().code, refused().got.is_some()), (Code::KeyInvalid, true));
    *pin.lock().unwrap() = "54321";
    assert!(refused().got.is_none() && refused().got.is_some());
    *pin.lock().unwrap() = "1234";
    wrong.seal(b"", b"value").unwrap();
}
