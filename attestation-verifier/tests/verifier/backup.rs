//! `--backup`: a copy that is made while the service runs, and goes on elsewhere with the master key.

use crate::binary;
use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, World};
use futures_util::future::{join, join_all};
use http::Method;
use std::os::unix::fs::PermissionsExt as _;
use strongroom_attestation_verifier::backup;
use strongroom_wire::Code;

#[tokio::test(flavor = "multi_thread")]
async fn copy_that_was_made_under_load_goes_on_on_another_machine_with_the_master_key() {
    let (mut world, document) = World::ready().await;
    world.pass(1);
    let changed = world.admin(Method::POST, "token-key", vec![]).await.json();
    world.identity.token_key = changed["token_key"].as_str().unwrap().to_owned();
    let cookie = {
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        guest.cookie
    };
    let copy = world.folder.path().join("copy");
    let puts = join_all((0..100).map(async |n| world.put_key(&format!("a/b/{n}"), b"value").await));
    let config = world.config_with("master-key");
    join(puts, async { backup(&config, &copy).await.unwrap() }).await;
    for entry in std::fs::read_dir(&copy).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.path());
    }
    assert_eq!(backup(&config, &copy).await.unwrap_err().code, Code::Io, "never over another");

    // The other machine: nothing of this one is there but the copy and the master key.
    world.stop().await;
    let state = world.folder.path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&copy, &state).unwrap();
    let master = world.folder.path().join("master-key");
    std::fs::rename(&master, world.folder.path().join("kept")).unwrap();
    assert_eq!(world.second().await.unwrap_err().code, Code::KeyMissing);
    std::fs::rename(world.folder.path().join("kept"), &master).unwrap();
    world.start_again().await;
    let path = format!("/kbs/v0/resource/{KEY}");
    assert_eq!(world.kbs(Method::GET, &path, &[("cookie", &cookie)], vec![]).await.status, 200);
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    // What is on record is in force, and nothing else.
    let rows = world.audit().await;
    let recorded = rows.iter().filter(|row| row["subject"].as_str().unwrap().starts_with("PUT /admin/v1/keys/a/b/"));
    let keys = world.admin(Method::GET, "keys", vec![]).await.json();
    assert_eq!(recorded.count() + 1, keys.as_array().unwrap().len());
}

#[test]
fn backup_without_a_store_refused_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = binary::config(folder.path(), "");
    let copy = folder.path().join("copy");
    let refused = binary::run(&file, &["--backup", copy.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(!copy.exists() && !folder.path().join("state").exists());
    assert_eq!(binary::run(&file, &["--identity"]).status.code(), Some(0));
    assert_eq!(binary::run(&file, &["--backup", copy.to_str().unwrap()]).status.code(), Some(0));
    assert!(copy.join("verifier.sqlite").exists() && copy.join("tls-key.pem").exists());
    let shared = binary::config(folder.path(), "database = 'postgres://u@localhost/d'\n");
    let refused = binary::run(&shared, &["--backup", folder.path().join("other").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
