//! Copies between a registry with the referrers API and one without, made by the tools of the field: what they take along, and
//! that a trust file whose rule is for the copy accepts it.

use super::place::Place;
use crate::peers;
use crate::system::process::Finished;
use crate::system::{strongroom, text};
use serde_json::Value;
use std::path::Path;
use strongroom_wire::Code;
use strongroom_wire::trust::SignatureForm::{self, Bundle, Sig};

/// What keeps `skopeo` from rewriting what it copies.
const WHOLE: [&str; 1] = ["--preserve-digests"];
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A sealed and signed model in one registry, and another registry.
struct Copying {
    from: Place,
    to: Place,
    /// `sha256:…` of the model's manifest.
    digest: String,
}

impl Copying {
    fn new(from: Place, to: Place) -> Self {
        let key = from.path("data.key");
        let pinned = from.push("v1", &["--seal", "--key-id", "models/tiny/v1", "--key-file", text(&key)]);
        let (_, digest) = pinned.split_once('@').unwrap();
        Self { from, to, digest: digest.to_owned() }
    }

    /// From the devkit's registry to docker-registry, and back.
    fn both_ways() -> Option<[Self; 2]> {
        let (to, from) = (Place::docker()?, Place::docker()?);
        Some([Self::new(Place::devkit(), to), Self::new(from, Place::devkit())])
    }

    /// The tag of the model that ends so: `.sig` for the signatures of cosign 2, nothing for the list of referrers.
    fn tag(&self, end: &str) -> String {
        format!("{}{end}", self.digest.replace(':', "-"))
    }

    fn oras(&self, oras: &Path, flags: &[&str], what: &str, tag: &str) {
        let (from, to) = (format!("{}/models/tiny{what}", self.from.address), self.to.reference(tag));
        let copy = ["cp", "--from-plain-http", "--to-plain-http", "--no-tty"];
        self.from.peer(oras, &[&copy[..], flags, &[&from, &to]].concat()).ok();
    }

    fn skopeo(&self, skopeo: &Path, flags: &[&str], what: &str, tag: &str) {
        let from = format!("docker://{}/models/tiny{what}", self.from.address);
        let to = format!("docker://{}", self.to.reference(tag));
        let copy = ["--insecure-policy", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"];
        self.from.peer(skopeo, &[&copy[..], flags, &[&from, &to]].concat()).ok();
    }

    /// Our judgement of the copy, for a trust file that is for it and for signatures in this form alone.
    fn verify(&self, form: SignatureForm) -> Finished {
        let trust = self.from.trust_at(&self.to.address, "release", &[form]);
        let copy = format!("{}/models/tiny@{}", self.to.address, self.digest);
        strongroom(&["model", "verify", &copy, "--trust", text(&trust), "--plain-http", "--json"])
    }

    /// That the copy opens to the very files.
    fn assert_opens(&self) {
        let trust = self.from.trust_at(&self.to.address, "release", &[Bundle, Sig]);
        let (copy, [key, out]) = (self.to.reference("v1"), ["data.key", "opened"].map(|name| self.from.path(name)));
        let pull = ["model", "pull", &copy, text(&out), "--trust", text(&trust), "--key-file", text(&key)];
        strongroom(&[&pull[..], &["--plain-http"]].concat()).ok();
        self.from.assert_model_at("opened");
    }

    fn assert_same_manifest(&self) {
        assert_eq!(self.to.manifest("v1"), self.from.manifest(&self.digest));
    }

    /// That cosign accepts the copy.
    fn assert_cosign(&self, peer: &str) {
        let Some(cosign) = peers::find(peer) else { return };
        let copy = format!("{}/models/tiny@{}", self.to.address, self.digest);
        let flags = ["verify", "--key", "release.pub", "--insecure-ignore-tlog", "--allow-http-registry", &copy];
        self.from.peer(&cosign, &flags).ok();
    }
}

/// The types of what `oras` finds to refer to the model.
fn discovered(oras: &Path, place: &Place, digest: &str) -> Vec<String> {
    let model = format!("{}/models/tiny@{digest}", place.address);
    let found = place.peer(oras, &["discover", "--plain-http", "--format", "json", &model]).ok().json();
    let all = found["referrers"].as_array().unwrap().iter();
    all.map(|referrer| referrer["artifactType"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn oras_copies_a_model_with_the_signatures_that_refer_to_it() {
    let (Some(oras), Some(both)) = (peers::find("ORAS"), Copying::both_ways()) else { return };
    for copying in both {
        let what = format!("@{}", copying.digest);
        copying.oras(&oras, &[], &what, "v1");
        copying.assert_same_manifest();
        assert_eq!(discovered(&oras, &copying.from, &copying.digest), [BUNDLE]);
        assert_eq!(discovered(&oras, &copying.to, &copying.digest), Vec::<String>::new());
        assert_eq!(copying.verify(Bundle).refused(), Code::ModelUnsigned);

        copying.oras(&oras, &["--recursive"], &what, "v1");
        copying.assert_same_manifest();
        assert_eq!(discovered(&oras, &copying.to, &copying.digest), [BUNDLE]);
        copying.verify(Bundle).ok();
        copying.assert_opens();
        copying.assert_cosign("COSIGN3");
        // A rule is for a place, and the copy is at another.
        let trust = copying.from.trust("release");
        let copy = copying.to.reference("v1");
        let elsewhere = strongroom(&["model", "verify", &copy, "--trust", text(&trust), "--plain-http", "--json"]);
        assert_eq!(elsewhere.refused(), Code::RepositoryUntrusted);
    }
}

#[test]
fn signature_under_the_old_tag_counts_for_a_copy_whose_name_it_does_not_have() {
    let (Some(oras), Some(both)) = (peers::find("ORAS"), Copying::both_ways()) else { return };
    for copying in both {
        let (what, tag) = (format!("@{}", copying.digest), copying.tag(".sig"));
        copying.oras(&oras, &[], &what, "v1");
        assert_eq!(copying.verify(Sig).refused(), Code::ModelUnsigned);
        copying.oras(&oras, &[], &format!(":{tag}"), &tag);
        // What was signed names the registry where it was signed; cosign looks at the digest, and so do we.
        let image: Value = serde_json::from_slice(&copying.to.manifest(&tag)).unwrap();
        let payload = copying.to.fetch(&format!("blobs/{}", image["layers"][0]["digest"].as_str().unwrap()));
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let named = &payload["critical"]["identity"]["docker-reference"];
        assert_eq!(*named, format!("{}/models/tiny", copying.from.address));
        copying.verify(Sig).ok();
        assert_eq!(copying.verify(Bundle).refused(), Code::SignatureFormRefused);
        copying.assert_cosign("COSIGN2");
    }
}

#[test]
fn skopeo_copies_a_model_whole_and_its_signatures_by_their_tags() {
    let (Some(skopeo), Some(both)) = (peers::find("SKOPEO"), Copying::both_ways()) else { return };
    for copying in both {
        copying.skopeo(&skopeo, &WHOLE, &format!("@{}", copying.digest), "v1");
        copying.assert_same_manifest();
        // It knows no referrers.
        assert_eq!(copying.verify(Bundle).refused(), Code::ModelUnsigned);
        let old = copying.tag(".sig");
        copying.skopeo(&skopeo, &WHOLE, &format!(":{old}"), &old);
        assert_eq!(copying.to.manifest(&old), copying.from.manifest(&old));
        copying.verify(Sig).ok();
        copying.assert_opens();
    }
}

#[test]
fn skopeo_rewrites_a_list_of_referrers_as_it_copies_it_and_the_signatures_in_it_still_count() {
    let (Some(skopeo), Some(from)) = (peers::find("SKOPEO"), Place::docker()) else { return };
    let copying = Copying::new(from, Place::devkit());
    copying.skopeo(&skopeo, &WHOLE, &format!("@{}", copying.digest), "v1");
    assert_eq!(copying.verify(Bundle).refused(), Code::ModelUnsigned);
    // It writes an index anew from the members that it knows. Nothing depends on the index' own digest.
    let list = copying.tag("");
    copying.skopeo(&skopeo, &[], &format!(":{list}"), &list);
    assert!(copying.to.manifest(&list) != copying.from.manifest(&list));
    copying.verify(Bundle).ok();
}
