//! Another master key: what is released stays the same, and a kill leaves the store under one key or the other.

use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, World};
use http::Method;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strongroom_attestation_verifier::{Clock, Config, Rewrap, Service, rewrap};
use strongroom_wire::Code;

#[tokio::test]
async fn guest_gets_the_same_key_after_a_rewrap_and_the_old_master_key_opens_nothing() {
    let (mut world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);

    let new = world.folder.path().join("new-master-key");
    let running = rewrap(&world.config_with("master-key"), &new, &Clock::system()).await;
    assert_eq!(running.unwrap_err().code, Code::ConfigurationInvalid, "a service runs");
    assert!(!new.exists());
    world.stop().await;
    let config = world.config_with("master-key");
    let done = rewrap(&config, &new, &Clock::system()).await.unwrap();
    assert!(matches!(done, Rewrap::Done(_)));
    assert_eq!(rewrap(&config, &new, &Clock::system()).await.unwrap(), Rewrap::Unchanged);
    let copy = world.folder.path().join("copy");
    std::fs::copy(&new, &copy).unwrap();
    for same in [&new, &copy] {
        let refused = rewrap(&world.config_with("new-master-key"), same, &Clock::system()).await;
        assert_eq!(refused.unwrap_err().code, Code::KeyInvalid, "the key that it is under");
    }
    let absent = rewrap(&world.config_with("absent"), &world.folder.path().join("absent"), &Clock::system()).await;
    assert_eq!(absent.unwrap_err().code, Code::KeyInvalid);
    assert!(!world.folder.path().join("absent").exists(), "no key is made where the store's own should be");
    let refused = Service::start(&config, Clock::system()).await;
    assert_eq!(refused.err().map(|refusal| refusal.code), Some(Code::KeyInvalid));
    let stranger = world.folder.path().join("neither");
    let neither = rewrap(&config, &stranger, &Clock::system()).await;
    assert_eq!(neither.unwrap_err().code, Code::KeyInvalid, "under neither of the two");

    std::fs::rename(&new, world.folder.path().join("master-key")).unwrap();
    world.start_again().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["subject"] == "rewrap under another master key").unwrap();
    let Rewrap::Done(seq) = done else { unreachable!() };
    assert_eq!(row["seq"], seq);
}

#[tokio::test]
async fn rewrap_without_a_store_refused_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::binary::config(folder.path(), "");
    let new = folder.path().join("new");
    let refused = rewrap(&Config::load(&config).unwrap(), &new, &Clock::system()).await;
    assert_eq!(refused.unwrap_err().code, Code::ConfigurationInvalid);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn start_rewrap(config: &Path, new: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"));
    command.arg("--config").arg(config).arg("--rewrap").arg(new);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Whether the store opens with this master key; where it does not, it says that the key is not its own.
async fn opens(world: &World, master_key: &str) -> bool {
    match Service::start(&world.config_with(master_key), Clock::system()).await {
        Ok(_) => true,
        Err(refusal) => {
            assert!([Code::KeyInvalid, Code::KeyMissing].contains(&refusal.code), "{refusal}");
            false
        }
    }
}

#[tokio::test]
async fn rewrap_killed_at_any_time_leaves_exactly_one_key_and_goes_on_when_run_again() {
    const KILLS: u32 = 12;
    let (mut world, document) = World::ready().await;
    for n in 0..150_u8 {
        world.put_key(&format!("many/keys/{n}"), &[n; 32]).await;
    }
    world.stop().await;
    let folder = world.folder.path().to_owned();
    let mut current = "master-key".to_owned();
    let (mut before, mut after) = (0, 0);
    // One that nobody kills says how long it takes.
    let mut took = Duration::ZERO;
    for kill in 0..=KILLS {
        let new = format!("master-{kill}");
        let config = folder.join("rewrap.toml");
        std::fs::write(&config, world.config_text(&current)).unwrap();
        let begun = Instant::now();
        let mut child = start_rewrap(&config, &folder.join(&new));
        if kill > 0 {
            std::thread::sleep(took * kill / KILLS);
            child.kill().unwrap();
        }
        let status = child.wait().unwrap();
        if kill == 0 {
            assert_eq!(status.code(), Some(0));
            took = begun.elapsed();
        }
        let (old_opens, new_opens) = (opens(&world, &current).await, opens(&world, &new).await);
        assert!(old_opens != new_opens, "kill {kill}: with the old key {old_opens}, with the new {new_opens}");
        *if new_opens { &mut after } else { &mut before } += 1;
        // Again, to its end, whatever was left.
        assert_eq!(start_rewrap(&config, &folder.join(&new)).wait().unwrap().code(), Some(0), "kill {kill}");
        current = new;
    }
    eprintln!("killed before the commit: {before}, after it or not at all: {after}");
    std::fs::rename(folder.join(&current), folder.join("master-key")).unwrap();
    world.start_again().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let listed = world.admin(Method::GET, "keys", vec![]).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 151);
}
