use super::*;

#[test]
fn file_of_the_limit_accepted_and_an_endless_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for (length, code) in [(10, None), (11, Some(Code::TooLarge))] {
        std::fs::write(&path, vec![b'#'; length]).unwrap();
        assert_eq!(load(&path, 10).err().map(|refusal| refusal.code), code);
    }
    let text = format!("{MINIMAL}test-root = '/dev/zero'\n");
    assert_eq!(Config::load(Path::new("/dev/zero")).unwrap_err().code, Code::TooLarge);
    assert_eq!(Config::parse(text.as_bytes()).unwrap().roots().unwrap_err().code, Code::TooLarge);
}

const MINIMAL: &str = "listen = 'a:1'\nadmin-listen = 'a:2'\nstate = 's'\nmaster-key = 'm'\nadmin-token = 't'\n";

fn code(more: &str) -> Option<Code> {
    Config::parse(format!("{MINIMAL}{more}").as_bytes()).err().map(|refusal| refusal.code)
}

#[test]
fn minimal_configuration_accepted_and_unknown_keys_refused() {
    assert_eq!(code(""), None);
    assert_eq!(code("insecure = true"), Some(Code::UnknownField));
    assert_eq!(code("[[registry]]\nhost = 'r'\nskip-verify = true"), Some(Code::UnknownField));
    assert_eq!(Config::parse(b"listen = 'a:1'").unwrap_err().code, Code::ConfigurationInvalid);
}

#[test]
fn endorsements_come_from_nowhere_unless_said_and_never_over_plain_http_by_accident() {
    let config = |more: &str| Config::parse(format!("{MINIMAL}{more}").as_bytes()).unwrap();
    assert!(config("").fetcher().unwrap().is_none());
    assert!(config("[endorsements]").fetcher().unwrap().is_some());
    assert_eq!(config("[endorsements]").endorsements.unwrap().kds, KDS);
    assert_eq!(code("[endorsements]\nkds = 'http://mirror'"), Some(Code::ConfigurationInvalid));
    assert_eq!(code("[endorsements]\nkds = 'http://mirror'\nplain-http = true"), None);
    assert_eq!(code("[endorsements]\nkds = 'mirror'\nplain-http = true"), Some(Code::ConfigurationInvalid));
    assert_eq!(config("[endorsements]").endorsements.unwrap().pcs, PCS);
    assert_eq!(code("[endorsements]\npcs = 'http://pccs'"), Some(Code::ConfigurationInvalid));
    assert_eq!(code("[endorsements]\npcs = 'http://pccs'\nplain-http = true"), None);
    for (questions, want) in
        [(0, Some(Code::ConfigurationInvalid)), (1, None), (32, None), (33, Some(Code::ConfigurationInvalid))]
    {
        assert_eq!(code(&format!("[endorsements]\npeer-questions = {questions}")), want);
    }
    assert_eq!(code("[endorsements]\nroot = 'ark.pem'"), Some(Code::UnknownField));
}

#[test]
fn peer_has_one_connection_at_least_and_no_more_than_there_are() {
    let invalid = Some(Code::ConfigurationInvalid);
    for (most, want) in [(0, invalid), (1, None), (512, None), (513, invalid)] {
        assert_eq!(code(&format!("peer-connections = {most}")), want, "{most}");
    }
}

#[test]
fn one_session_may_be_accepted_at_a_time_at_least_and_a_million_at_most() {
    let invalid = Some(Code::ConfigurationInvalid);
    for (most, want) in [(0, invalid), (1, None), (1_048_576, None), (1_048_577, invalid)] {
        assert_eq!(code(&format!("sessions = {most}")), want, "{most}");
    }
}

#[test]
fn metrics_are_for_everybody_on_a_loopback_address_alone() {
    assert_eq!(code("metrics-listen = '127.0.0.1:9090'"), None);
    for wrong in ["'0.0.0.0:9090'", "'192.0.2.1:9090'", "'localhost:9090'"] {
        assert_eq!(code(&format!("metrics-listen = {wrong}")), Some(Code::ConfigurationInvalid), "{wrong}");
    }
}

#[test]
fn custodies_that_are_whole_and_told_apart_accepted_and_others_refused() {
    let invalid = Some(Code::ConfigurationInvalid);
    let (custody, url) = ("[[custody]]\nkind = ", "url = 'https://bao'\nkey = 'k'\n");
    let token = "uri = 'pkcs11:object=k?module-path=/p11.so'\n";
    let role = "role-id = 'r'\nsecret-id-file = 's'\n";
    for (text, want) in [
        (format!("{custody}'master-key'"), None),
        (format!("{custody}'pkcs11'\n{token}"), None),
        (format!("{custody}'transit'\n{url}token-file = 't'\n"), None),
        (format!("{custody}'transit'\n{url}{role}"), None),
        (format!("{custody}'pkcs11'\n{token}{custody}'master-key'"), None),
        (format!("{custody}'pkcs11'\n{token}{custody}'pkcs11'\n{token}"), invalid),
        (format!("{custody}'pkcs11'\nuri = 'pkcs11:object=k'\n"), invalid),
        (format!("{custody}'transit'\n{url}"), invalid),
        (format!("{custody}'transit'\n{url}{role}token-file = 't'\n"), invalid),
        (format!("{custody}'transit'\n{url}role-id = 'r'\n"), invalid),
        (format!("{custody}'transit'\n{}token-file = 't'\n", url.replace("https", "http")), invalid),
        (format!("{custody}'transit'\n{}token-file = 't'\n", url.replace("'k'", "'../k'")), invalid),
        (format!("{custody}'transit'\n{url}token-file = 't'\nmount = ''\n"), invalid),
        (format!("{custody}'transit'\n{url}token-file = 't'\nskip-verify = true\n"), Some(Code::UnknownField)),
        (format!("{custody}'pkcs11'\n{token}pin = '1'\n"), Some(Code::UnknownField)),
        (format!("{custody}'none'"), invalid),
    ] {
        assert_eq!(code(&text), want, "{text}");
    }
}

#[test]
fn user_without_password_refused() {
    assert_eq!(code("[[registry]]\nhost = 'r'\nusername = 'u'"), Some(Code::ConfigurationInvalid));
    assert_eq!(code("[[registry]]\nhost = 'r'\nusername = 'u'\npassword-file = 'p'"), None);
}

#[test]
fn password_of_the_database_is_in_a_private_file_or_nowhere() {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(matches!(Config::parse(MINIMAL.as_bytes()).unwrap().database().unwrap(), Database::Sqlite(_)));
    let invalid = Some(Code::ConfigurationInvalid);
    for (text, want) in [
        ("database = 'postgres://u@localhost/d'", None),
        ("database = 'postgres://u:p@localhost/d'", invalid),
        ("database = 'postgres://u@localhost/d'\ndatabase-file = 'f'", invalid),
        ("database = 'postgres://u@db.example/d'", invalid),
        ("database = 'postgres://u@db.example/d'\ndatabase-ca = 'ca.pem'", None),
        ("database-ca = 'ca.pem'", invalid),
        ("database-file = 'f'", None),
    ] {
        assert_eq!(code(text), want, "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    private_file::create(&path, b"postgres://u:secret@localhost/d\n").unwrap();
    let config = Config::parse(format!("{MINIMAL}database-file = '{}'", path.display()).as_bytes()).unwrap();
    let database = config.database().unwrap();
    assert!(database.has_password() && !format!("{database:?}").contains("secret"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(config.database().unwrap_err().code, Code::FileModeUnsafe);
}

#[test]
fn without_a_test_root_the_vendors_roots_are_trusted() {
    let config = Config::parse(MINIMAL.as_bytes()).unwrap();
    assert_eq!(config.roots().unwrap().realm(), strongroom_wire::Realm::Vendor);
}
