//! Guests whose host gives them no certificates: the verifier asks AMD's service, once, and hands them what their clients
//! demand.

use crate::peers;
use crate::system::guest::{Guest, launch};
use crate::system::process::Finished;
use crate::system::world::{Published, World, measurement};
use crate::system::{strongroom, text};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_devkit::amd::{Vek, VekSpec};
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

/// A world with an approved model, and a processor whose host hands out no certificates.
struct Bare {
    // Before the world, in whose folder its socket is.
    hardware: Arc<PspServer>,
    world: World,
    model: Published,
    document: Vec<u8>,
    runtime: PathBuf,
}

impl Bare {
    fn start(vendors: bool) -> Option<Self> {
        let (runtime, folder) = (peers::find("ORT_LIB")?, peers::find("MODEL_TINY")?);
        let world = World::start_with(vendors);
        let model = world.publish(&folder, "model");
        let document = world.document(&model, Sha256::of(&fs::read(&runtime).unwrap()));
        world.approve(&model, &document);
        let vek = world.hierarchy.issue(VekSpec::default()).unwrap();
        if let Some(vendors) = &world.vendors {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            vendors.add_amd(&world.hierarchy, &vek, now - 1000..now + 100_000).unwrap();
        }
        let hardware = Arc::new(Self::processor(&world, &document, vek));
        Some(Self { hardware, world, model, document, runtime })
    }

    fn processor(world: &World, document: &[u8], vek: Vek) -> PspServer {
        let guest =
            ReportSpec { measurement: measurement(), host_data: Sha256::of(document).0, ..ReportSpec::default() };
        let processor = Psp::new(&world.hierarchy, vek, guest).unwrap().without_certificates();
        processor.serve(&world.path().join("processor.sock")).unwrap()
    }

    fn launch(&self) -> Result<Guest, Code> {
        launch(&self.world, Arc::clone(&self.hardware), &self.document, &self.runtime)
    }

    /// `strongroom verify` under the policy that the client would have anyway: a current revocation list is demanded.
    fn verify(&self, guest: &Guest) -> Finished {
        let policy = self.world.client_policy(&self.model, &self.document);
        assert!(!fs::read_to_string(&policy).unwrap().contains("revocation-list"));
        let (url, root) = (format!("https://{}", guest.address), self.world.path().join("ark.pem"));
        strongroom(&["verify", &url, "--policy", text(&policy), "--root", text(&root), "--json"])
    }
}

#[test]
fn guests_without_certificates_are_accepted_and_their_chip_is_asked_for_once() {
    let Some(bare) = Bare::start(true) else { return };
    for _ in 0..3 {
        let guest = bare.launch().unwrap();
        let verified = bare.verify(&guest).ok().json();
        assert_eq!(verified["verdict"], "accepted");
        let checks = verified["checks"].as_array().unwrap();
        let revocation = checks.iter().find(|check| check["name"] == "revocation").unwrap();
        assert!(revocation["got"].as_str().unwrap().contains("current list"), "{revocation}");
    }
    let asked = bare.world.vendors.as_ref().unwrap().asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[test]
fn guest_without_certificates_refused_by_a_verifier_that_asks_nobody() {
    let Some(bare) = Bare::start(false) else { return };
    assert_eq!(bare.launch().err(), Some(Code::EndorsementMissing));
}
