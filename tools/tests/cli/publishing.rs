//! What `model push` and `model reseal` do besides pushing and pulling: other keys, other signers, other repositories.

use crate::admin::Service;
use crate::registry::{Publisher, mode};
use crate::run::{Run, strongroom, text, write_secret};

fn reseal(publisher: &Publisher, more: &[&str]) -> Run {
    let (from, to) = (publisher.reference("embed:v1"), publisher.reference("embed:v2"));
    let [trust, key, sign] = ["trust.toml", "data.key", "release.key"].map(|name| publisher.path(name));
    let first = ["model", "reseal", &from, &to, "--trust", text(&trust), "--key-file", text(&key)];
    let second = ["--sign-key", text(&sign), "--plain-http", "--json"];
    strongroom(first.iter().chain(&second).chain(more))
}

#[test]
fn resealed_model_opens_with_its_new_key_alone_and_the_old_one_stays() {
    let publisher = Publisher::new();
    let [key, new] = ["data.key", "new.key"].map(|name| publisher.path(name));
    let seal = ["--seal", "--key-id", "models/embed/v1", "--key-file", text(&key)];
    let pushed = publisher.push("embed:v1", &seal).done().json();
    let done = reseal(&publisher, &["--key-id", "models/embed/v2", "--new-key-file", text(&new)]).done().json();
    assert_eq!((&done["resealed"], &done["key"]), (&pushed["manifest"], &"kbs:///models/embed/v2".into()));
    assert_eq!(mode(&new), 0o600);
    publisher.pull("embed:v2", "out", "trust.toml", &["--key-file", text(&key)]).refused(1, "key-commitment-mismatch");
    publisher.pull("embed:v2", "out", "trust.toml", &["--key-file", text(&new)]).done();
    publisher.assert_same("out");
    publisher.pull("embed:v1", "old", "trust.toml", &["--key-file", text(&key)]).done();
    // The same again makes the same.
    let again = reseal(&publisher, &["--key-id", "models/embed/v2", "--new-key-file", text(&new)]).done();
    assert!(again.stderr.contains("right to go on with what was interrupted"), "{}", again.stderr);
    let again = again.json();
    assert_eq!(again["manifest"], done["manifest"]);
}

#[test]
fn resealing_that_would_lose_a_key_or_keep_it_refused_and_an_untrusted_model_makes_none() {
    let publisher = Publisher::new();
    let [key, new] = ["data.key", "new.key"].map(|name| publisher.path(name));
    let seal = ["--seal", "--key-id", "models/embed/v1", "--key-file", text(&key)];
    publisher.push("embed:v1", &seal).done();
    reseal(&publisher, &["--key-id", "models/embed/v2"]).refused(2, "usage");
    reseal(&publisher, &["--key-id", "models/embed/v1", "--new-key-file", text(&new)]).refused(2, "key-exists");
    reseal(&publisher, &["--key-id", "models/embed/v2", "--new-key-file", text(&key)]).refused(2, "key-invalid");
    std::fs::remove_file(&new).unwrap();
    std::fs::copy(publisher.path("strangers.toml"), publisher.path("trust.toml")).unwrap();
    reseal(&publisher, &["--key-id", "models/embed/v2", "--new-key-file", text(&new)]).refused(1, "signer-untrusted");
    assert!(!new.exists());
    publisher.verify("embed:v2", "trust.toml").refused(3, "registry-not-found");
}

#[test]
fn new_key_of_a_resealed_model_reaches_the_verifier_under_an_id_that_is_free() {
    let (publisher, service) = (Publisher::new(), Service::start());
    let key = publisher.path("data.key");
    let seal = ["--seal", "--key-id", "models/embed/v1", "--key-file", text(&key)];
    publisher.push("embed:v1", &[&seal[..], &service.flags()].concat()).done();
    let to = |id: &'static str| reseal(&publisher, &[&["--key-id", id][..], &service.flags()].concat());
    let done = to("models/embed/v2").done().json();
    let keys = service.keys();
    assert_eq!(keys.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["models/embed/v1", "models/embed/v2"]);
    write_secret(&publisher.path("kept.key"), &keys[1].1);
    publisher.pull("embed:v2", "out", "trust.toml", &["--key-file", text(&publisher.path("kept.key"))]).done();
    // Another run draws another key, for which the id is taken: the tag stays where it was.
    to("models/embed/v2").refused(2, "key-exists");
    assert_eq!(publisher.verify("embed:v2", "trust.toml").done().json()["manifest"], done["manifest"]);
}

#[test]
fn files_that_another_repository_has_are_mounted_and_not_sent() {
    let publisher = Publisher::new();
    publisher.push("embed:v1", &["--no-seal"]).done();
    let (model, key) = (publisher.path("model"), publisher.path("release.key"));
    for (name, more, want) in [("one", &[][..], "sent"), ("two", &["--mount-from", "models/embed"], "there")] {
        let reference = publisher.reference(name);
        let push = ["model", "push", text(&model), &reference, "--sign-key", text(&key), "--plain-http", "--no-seal"];
        let done = strongroom(push.iter().chain(more)).done();
        assert!(done.stderr.contains(&format!("{want} onnx/model.onnx")), "{}", done.stderr);
        publisher.pull(name, &format!("out-{name}"), "trust.toml", &[]).done();
    }
    publisher.push("embed:v2", &["--seal", "--key-id", "a/b/c", "--mount-from", "models/embed"]).refused(2, "usage");
}

#[test]
fn model_that_an_identity_signs_wants_a_key_for_the_statement_over_sealed_files_and_a_token_for_each_signature() {
    let publisher = Publisher::new();
    let (model, reference) = (publisher.path("model"), publisher.reference("embed:v1"));
    let [token, key] = ["token", "release.key"].map(|name| publisher.path(name));
    write_secret(&token, "token");
    let push = |token: &str, more: &[&str]| {
        // Nobody listens there.
        let services = ["--fulcio", "http://127.0.0.1:1", "--rekor", "http://127.0.0.1:1", "--plain-http"];
        let first = ["model", "push", text(&model), &reference, "--keyless", "--identity-token-file", token];
        strongroom(first.iter().chain(&services).chain(more))
    };
    let data_key = publisher.path("data.key");
    let seal = ["--seal", "--key-id", "a/b/c", "--key-file", text(&data_key)];
    push(text(&token), &seal).refused(2, "usage");
    push("-", &["--no-seal"]).refused(2, "usage");
    assert!(publisher.registry.requests().all().is_empty());
    for more in [&[&seal[..], &["--oms-key", text(&key)]].concat()[..], &["--no-seal"]] {
        assert_ne!(push(text(&token), more).code, 2, "as far as the services");
    }
    publisher.verify("embed:v1", "trust.toml").refused(3, "registry-not-found");
}

#[test]
fn model_promoted_under_the_policy_that_is_asked_for_accepted_and_under_another_or_none_refused() {
    let publisher = Publisher::new();
    let pushed = publisher.push("embed:v1", &["--no-seal"]).done().json();
    let [trust, release, other] = ["trust.toml", "release.toml", "other.toml"].map(|name| publisher.path(name));
    for (path, text) in [(&release, "one"), (&other, "another")] {
        std::fs::write(path, text).unwrap();
    }
    let verify = |more: &[&str]| {
        let reference = publisher.reference("embed:v1");
        let first = ["model", "verify", &reference, "--trust", text(&trust), "--plain-http", "--json"];
        strongroom(first.iter().chain(more))
    };
    verify(&[]).done();
    verify(&["--policy", text(&release)]).refused(2, "usage");

    let signed = std::fs::read_to_string(&trust).unwrap();
    let promoter = std::fs::read_to_string(publisher.path("stranger.pub")).unwrap();
    let demand = |more: &str| {
        let promoter = format!("[[rule.promotion.promoter]]\nname = \"p\"\nkey = \"\"\"{promoter}\"\"\"\n");
        let demand = format!("{signed}[rule.promotion]\nenvironment = \"production\"\n{more}{promoter}");
        std::fs::write(&trust, demand).unwrap();
    };
    demand("");
    let promote = |more: &[&str]| {
        let reference = publisher.reference(&format!("embed@{}", pushed["manifest"].as_str().unwrap()));
        let key = publisher.path("stranger.key");
        let first = ["model", "promote", &reference, "--to", "production", "--sign-key", text(&key), "--plain-http"];
        strongroom(first.iter().chain(more)).done();
    };
    promote(&["--policy", text(&release)]);
    verify(&[]).done();
    let verified = verify(&["--policy", text(&release)]).done().json();
    assert_eq!(verified["promotion"]["policy"], strongroom_wire::digest::Sha256::of(b"one").to_string());
    verify(&["--policy", text(&other)]).refused(1, "promotion-policy-mismatch");
    publisher
        .pull("embed:v1", "out", "trust.toml", &["--policy", text(&other)])
        .refused(1, "promotion-policy-mismatch");
    publisher.pull("embed:v1", "out", "trust.toml", &["--policy", text(&release)]).done();
    // The trust file has a word in it too.
    demand(&format!("policy = \"{}\"\n", strongroom_wire::digest::Sha256::of(b"another")));
    verify(&["--policy", text(&release)]).refused(1, "promotion-policy-mismatch");
    demand("");
    promote(&[]);
    verify(&[]).done();
    verify(&["--policy", text(&release)]).refused(1, "promotion-policy-mismatch");
}
