//! What `oras` pushed, imported; then sealed and signed like any other model.

use super::place::{FILES, Place};
use crate::peers;
use crate::system::{strongroom, text};
use strongroom_wire::Code;

fn files_that_oras_pushed_are_imported_sealed_and_verified(place: &Place) {
    let Some(oras) = peers::find("ORAS") else { return };
    let reference = place.reference("foreign");
    let names: Vec<String> = FILES.iter().map(|(name, _)| format!("model/{name}")).collect();
    let named = names.iter().map(String::as_str);
    let push: Vec<&str> = ["push", "--plain-http", &reference].into_iter().chain(named).collect();
    place.peer(&oras, &push).ok();
    let import = |reference: &str, out: &str| {
        let out = place.path(out);
        strongroom(&["model", "import", text(&out), "--from", reference, "--plain-http", "--json"])
    };
    let imported = import(&reference, "imported").ok().json();
    assert_eq!(imported["files"].as_array().unwrap().len(), FILES.len());
    assert_eq!(imported["signed"], false);
    place.assert_model_at("imported/model");
    import(imported["from"].as_str().unwrap(), "pinned").ok();

    // Nothing of it was trusted, and all of it is once it was signed.
    let tagged = place.reference("sealed");
    let (directory, key, data) = (place.path("imported/model"), place.path("release.key"), place.path("imported.key"));
    let push = ["model", "push", text(&directory), &tagged, "--sign-key", text(&key), "--plain-http", "--seal"];
    strongroom(&[&push[..], &["--key-id", "models/imported/v1", "--key-file", text(&data)]].concat()).ok();
    place.verify(&tagged, "release").ok();
    place.pull(&tagged, "pulled", &["--key-file", text(&data)]).ok();
    place.assert_model_at("pulled");

    // A directory of its own `oras` compresses.
    let reference = place.reference("compressed");
    place.peer(&oras, &["push", "--plain-http", &reference, "model"]).ok();
    assert_eq!(import(&reference, "none").refused(), Code::ModelUnsupported);
    assert!(!place.path("none").exists());
}

#[test]
fn files_that_oras_pushed_to_the_devkit_s_registry_are_imported() {
    files_that_oras_pushed_are_imported_sealed_and_verified(&Place::devkit());
}

#[test]
fn files_that_oras_pushed_to_docker_registry_are_imported() {
    let Some(place) = Place::docker() else { return };
    files_that_oras_pushed_are_imported_sealed_and_verified(&place);
}
