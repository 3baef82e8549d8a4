//! Keys in the custody of a PKCS #11 token, SoftHSM's: one that is really there, goes, and comes back.

use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, World};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use http::Method;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use strongroom_attestation_verifier::{Clock, Config, Rewrap, Service, init_custody, make_master_key, rewrap};
use strongroom_pkcs11::KeyUri;
use strongroom_pkcs11::token::{load, open_session};
use strongroom_wire::Code;
use zeroize::Zeroizing;

/// A token in a folder of its own.
struct Token {
    folder: PathBuf,
    library: PathBuf,
}

impl Token {
    /// The token of this test, which runs once more in a process of its own: its library looks for its token where the environment
    /// says. `None` in the first of the two, which waits for the second, and where there is no SoftHSM.
    fn of(test: &str) -> Option<Self> {
        let softhsm = find("SOFTHSM")?;
        let library = softhsm.join("usr/lib/softhsm/libsofthsm2.so");
        if let Some(configuration) = std::env::var_os("SOFTHSM2_CONF") {
            let folder = Path::new(&configuration).parent().unwrap().to_owned();
            return Some(Self { folder, library });
        }
        let kept = tempfile::tempdir().unwrap();
        let folder = kept.path().to_owned();
        std::fs::create_dir(folder.join("tokens")).unwrap();
        let configuration = folder.join("softhsm2.conf");
        std::fs::write(&configuration, format!("directories.tokendir = {}/tokens\n", folder.display())).unwrap();
        let mut tool = Command::new(softhsm.join("usr/bin/softhsm2-util"));
        tool.args(["--init-token", "--free", "--label", "keys", "--pin", "1234", "--so-pin", "5678", "--module"]);
        succeeds(&tool.arg(&library).env("SOFTHSM2_CONF", &configuration).output().unwrap());
        let token = Self { folder, library };
        token.private("pin", "1234\n");
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", test, "--nocapture"]).env("SOFTHSM2_CONF", &configuration);
        succeeds(&again.output().unwrap());
        None
    }

    fn private(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Names a key of it.
    fn uri(&self, object: &str) -> String {
        let (library, folder) = (self.library.display(), self.folder.display());
        format!("pkcs11:token=keys;object={object}?module-path={library}&pin-source=file:{folder}/pin")
    }

    /// Makes a key in it that is as one of custody's has to be, but for this.
    fn make(&self, object: &str, but: Attribute) {
        let uri = KeyUri::parse(&self.uri(object)).unwrap();
        let pin = Zeroizing::new(b"1234".to_vec());
        let session = open_session(&load(&uri.module).unwrap(), &uri, Some(&pin), true).unwrap();
        let sound = [
            Attribute::Label(object.as_bytes().to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen(32.into()),
        ];
        let kind = but.attribute_type();
        let mut template: Vec<_> = sound.into_iter().filter(|sound| sound.attribute_type() != kind).collect();
        template.push(but);
        session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
    }

    /// Custody by a key of it.
    fn custody(&self, object: &str) -> String {
        format!("[[custody]]\nkind = 'pkcs11'\nuri = '{}'\n", self.uri(object))
    }

    /// Has it gone, or come back.
    fn gone(&self, gone: bool) {
        let [here, away] = ["tokens", "away"].map(|name| self.folder.join(name));
        let (from, to) = if gone { (here, away) } else { (away, here) };
        std::fs::rename(from, to).unwrap();
    }
}

fn succeeds(output: &Output) {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The path in an environment variable, as `dev/setup/with-env` sets it.
fn find(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.exists());
    let demanded = std::env::var("STRONGROOM_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(path.is_some() || !demanded, "{variable} names nothing: run `make setup peers`");
    if path.is_none() {
        eprintln!("skipped: {variable} names nothing; `make setup peers` brings it");
    }
    path
}

async fn code(guest: &Guest<'_>) -> String {
    let answer = guest.fetch(KEY).await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

async fn attested<'a>(world: &'a World, document: &[u8]) -> Guest<'a> {
    let guest = Guest::launch(world, document).await;
    guest.attest().await;
    guest
}

async fn ready(world: &World) -> u16 {
    world.kbs(Method::GET, "/readyz", &[], vec![]).await.status.as_u16()
}

/// A call about [`KEY`]: what it answers of the key, or its code.
async fn call(world: &World, what: &str, member: &str) -> String {
    let answer = world.admin(Method::POST, &format!("keys/{KEY}/{what}"), vec![]).await;
    if answer.status == 200 { answer.json()[member].as_str().unwrap().to_owned() } else { answer.code() }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_into_a_token_s_custody_and_back_and_only_what_is_configured_opens_them() {
    let Some(token) =
        Token::of("token::keys_go_into_a_token_s_custody_and_back_and_only_what_is_configured_opens_them")
    else {
        return;
    };
    let (mut world, document) = World::ready().await;
    let custody = token.custody("kek");
    let config = Config::parse(format!("{}{custody}", world.config_text("master-key")).as_bytes()).unwrap();
    world.stop().await;
    let absent = Service::start(&config, Clock::system()).await.unwrap();
    drop(absent);
    init_custody(&config).unwrap();
    init_custody(&config).unwrap();

    // Stored under the master key, wrapped anew by the token, which every key that is stored from now on is wrapped by.
    world.start_with(&custody).await;
    let guest = attested(&world, &document).await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(call(&world, "rotate", "custody").await, "pkcs11:kek");
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let put = world.admin(Method::PUT, &format!("keys/{KEY}"), KEY_VALUE.to_vec()).await;
    assert_eq!(put.status, 200, "the same value is recognised");
    let put = world.admin(Method::PUT, &format!("keys/{KEY}"), vec![1; 32]).await;
    assert_eq!(put.code(), "key-exists");
    let put = world.admin(Method::PUT, "keys/a/b/new", vec![0xa5; 32]).await.json();
    assert_eq!(put["custody"], "pkcs11:kek");
    drop(guest);
    for file in std::fs::read_dir(world.folder.path().join("state")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| window == [0xa5; 16] || window == [0x5a; 16]));
    }

    // Under another master key the token's rows stay what they are.
    world.stop().await;
    let new = world.folder.path().join("new-master-key");
    make_master_key(&new, &token.uri("kek")).unwrap();
    assert!(matches!(rewrap(&config, &new, &Clock::system()).await.unwrap(), Rewrap::Done(_)));
    std::fs::rename(&new, world.folder.path().join("master-key")).unwrap();

    // Another key of the token opens nothing; without custody nothing does.
    for (other, refusal) in [(String::new(), "custody-unavailable"), (custody.clone(), "")] {
        world.start_with(&other).await;
        let guest = attested(&world, &document).await;
        assert_eq!(code(&guest).await, refusal);
        drop(guest);
        world.stop().await;
    }
    // Back to the master key.
    world.start_with(&format!("[[custody]]\nkind = 'master-key'\n{custody}")).await;
    assert_eq!(call(&world, "rotate", "custody").await, "master-key");
    world.stop().await;
    world.start_with("").await;
    let guest = attested(&world, &document).await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_goes_under_load_has_nothing_released_and_is_used_again_once_it_is_back() {
    let Some(token) =
        Token::of("token::token_that_goes_under_load_has_nothing_released_and_is_used_again_once_it_is_back")
    else {
        return;
    };
    let (mut world, document) = World::ready().await;
    let custody = token.custody("kek");
    init_custody(&Config::parse(format!("{}{custody}", world.config_text("master-key")).as_bytes()).unwrap()).unwrap();
    world.stop().await;
    world.start_with(&custody).await;
    assert_eq!(call(&world, "rotate", "custody").await, "pkcs11:kek");
    let guests = futures_util::future::join_all((0..16).map(|_| attested(&world, &document))).await;
    let load = async |guests: &[Guest<'_>]| futures_util::future::join_all(guests.iter().map(code)).await;
    assert_eq!(load(&guests).await, [""; 16]);
    assert_eq!(ready(&world).await, 200);

    // In the middle of it.
    let (during, ()) = tokio::join!(load(&guests), async { token.gone(true) });
    assert!(during.iter().all(|code| ["", "custody-unavailable"].contains(&code.as_str())), "{during:?}");
    assert_eq!(load(&guests).await, ["custody-unavailable"; 16]);
    assert_eq!(ready(&world).await, 503);
    assert_eq!(call(&world, "rotate", "custody").await, "custody-unavailable");
    assert_eq!(call(&world, "disable", "state").await, "disabled", "what needs no value goes on");
    assert_eq!(call(&world, "enable", "state").await, "enabled");

    token.gone(false);
    assert_eq!(load(&guests).await, [""; 16]);
    assert_eq!(ready(&world).await, 200);
    // Each answer has its entry, and no other was released.
    let decisions = world.decisions("release").await;
    let granted = 32 + during.iter().filter(|code| code.is_empty()).count();
    assert_eq!(decisions.iter().filter(|code| code.is_empty()).count(), granted);
    assert_eq!(decisions.len(), 64);
    assert_eq!(world.admin(Method::GET, &format!("keys/{KEY}"), vec![]).await.json()["releases"], granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_could_leave_its_token_is_no_custody_and_a_wrong_pin_none_either() {
    let Some(token) = Token::of("token::key_that_could_leave_its_token_is_no_custody_and_a_wrong_pin_none_either")
    else {
        return;
    };
    let mut world = World::start().await;
    world.stop().await;
    let config = |object: &str| {
        let text = format!("{}{}", world.config_text("master-key"), token.custody(object));
        Config::parse(text.as_bytes()).unwrap()
    };
    for (object, attribute, want) in [
        ("kek", Attribute::Encrypt(true), None),
        ("loose", Attribute::Extractable(true), Some(Code::KeyInvalid)),
        ("open", Attribute::Sensitive(false), Some(Code::KeyInvalid)),
        ("short", Attribute::ValueLen(16.into()), Some(Code::KeyInvalid)),
    ] {
        token.make(object, attribute);
        assert_eq!(init_custody(&config(object)).err().map(|refusal| refusal.code), want, "{object}");
        let started = Service::start(&config(object), Clock::system()).await;
        assert_eq!(started.err().map(|refusal| refusal.code), want, "{object}");
    }
    token.private("pin", "4321\n");
    assert_eq!(init_custody(&config("kek")).unwrap_err().code, Code::KeyInvalid);
    assert_eq!(Service::start(&config("kek"), Clock::system()).await.err().map(|e| e.code), Some(Code::KeyInvalid));
}
