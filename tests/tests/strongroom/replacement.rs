//! Models that are replaced, unloaded and loaded again while they are asked: the real enclave and verifier, a registry, and clients that
//! pinned what was served before.

mod midway;
pub(crate) mod stage;

use crate::peers;
use crate::system::process::run;
use crate::system::world::API_KEY;
use crate::system::{strongroom, text};
use serde_json::json;
use stage::{Caller, Stage, replaceable, told};
use strongroom_wire::Code;
use strongroom_wire::deployment::Settings;

#[test]
fn model_replaced_under_load_without_a_request_that_failed_and_who_pinned_the_old_one_is_told() {
    let Some(stage) = Stage::start("MODEL_TINY", replaceable) else { return };
    let guest = stage.launch("").unwrap();
    let (address, caller) = (guest.address.clone(), Caller::of(&guest));
    let pinned = stage.world.client_policy(&stage.model, &stage.document);
    let signer = stage.world.client_policy_of_signer(&stage.document);
    let verify = |policy| {
        let (url, root) = (format!("https://{address}"), stage.world.path().join("ark.pem"));
        strongroom(&["verify", &url, "--policy", text(policy), "--root", text(&root), "--json"])
    };
    let before = verify(&pinned).ok().json();
    let (by_pin, by_signer) = (stage.proxy(&guest, &pinned), stage.proxy(&guest, &signer));
    assert_eq!((by_pin.embed().status, by_signer.embed().status), (200, 200));

    let next = stage.publish("v2", "release");
    stage.promote(&next);
    let load = stage.load(&guest, 4);
    load.until_answered(20);
    let changed = caller.change("load", &json!({"parameters": {"reference": next.reference}}));
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["version"], next.manifest.oci());
    load.until_answered(20);
    assert_eq!(load.end(), Vec::<u16>::new(), "every request was answered, before, during and after");
    assert_eq!(caller.served(), json!(next.manifest.oci()));

    // Whoever goes by the signer noticed nothing, and who pinned the digest is told on the very connection that was attested before.
    assert_eq!(by_signer.embed().status, 200);
    assert_eq!(by_pin.embed().refusal(), (412, Code::WorkloadChanged));
    let refused = by_pin.embed();
    assert_eq!(refused.refusal(), (502, Code::WorkloadChanged), "and again by evidence");
    for manifest in [next.manifest, stage.model.manifest] {
        assert!(refused.text().contains(&manifest.oci()), "found and wanted: {}", refused.text());
    }
    assert_eq!(verify(&pinned).refused(), Code::WorkloadChanged);
    let after = verify(&signer).ok().json();
    assert_eq!(after["models"][0]["manifest"], next.manifest.oci());
    assert_eq!((&after["workload"], &after["channel_key"]), (&changed.json()["workload"], &before["channel_key"]));
    assert_ne!(after["workload"], before["workload"]);

    // A lease was given for what is served now, and the change left one line.
    let leases = stage.log(&guest, "lease");
    assert!(leases.iter().any(|line| line["workload"] == changed.json()["workload"]), "{leases:?}");
    let lines = stage.log(&guest, "model changed");
    let line = &lines[0];
    let (from, to) = (json!(stage.model.manifest.oci()), json!(next.manifest.oci()));
    assert_eq!((lines.len(), &line["before"], &line["after"], &line["identity"]), (1, &from, &to, &json!("tests")));
}

#[test]
fn model_that_is_older_foreign_untrusted_or_not_promoted_refused_and_the_old_one_goes_on() {
    let Some(stage) = Stage::start("MODEL_TINY", replaceable) else { return };
    let next = stage.publish("v2", "release");
    stage.promote(&next);
    let guest = stage.launch("");
    assert_eq!(guest.err(), Some(Code::PromotionSuperseded), "the document's digest is not the newest any more");
    // Who promotes the first again says that it is.
    stage.promote(&stage.model);
    let (guest, last) = (stage.launch("").unwrap(), stage.publish("v3", "release"));
    let caller = Caller::of(&guest);
    let refused = |reference: &str| {
        let answer = caller.change("load", &json!({"parameters": {"reference": reference}}));
        assert_eq!((caller.served(), caller.embed()), (json!(stage.model.manifest.oci()), 200), "{reference}");
        told(&answer)
    };
    assert_eq!(refused(&next.reference), (409, Code::PromotionSuperseded), "a lower sequence");
    let elsewhere = next.reference.replace("/models/model@", "/models/other@");
    assert_eq!(refused(&elsewhere), (409, Code::RepositoryUntrusted));
    stage.keygen("mallory");
    assert_eq!(refused(&stage.publish("v4", "mallory").reference), (409, Code::SignerUntrusted));
    let unpromoted = stage.publish("v5", "release");
    assert_eq!(refused(&unpromoted.reference), (409, Code::PromotionMissing));
    stage.promote_silently(&unpromoted, "staging");
    assert_eq!(refused(&unpromoted.reference), (409, Code::PromotionMissing), "another environment's");
    // By the registry's word alone: the verifier was not told, so that it has no key for it.
    stage.promote_silently(&unpromoted, "production");
    assert_eq!(refused(&unpromoted.reference), (409, Code::KeyNotInDeployment));
    assert_eq!(stage.log(&guest, "model not changed").len(), 6);
    assert_eq!(stage.log(&guest, "model changed").len(), 0);

    stage.promote(&last);
    let changed = caller.change("load", &json!({"parameters": {"reference": last.reference}}));
    assert_eq!((changed.status, caller.served()), (200, json!(last.manifest.oci())), "{}", changed.text());
    assert_eq!(caller.embed(), 200);
    let back = caller.change("load", &json!({"parameters": {"reference": stage.model.reference}}));
    assert_eq!(told(&back), (409, Code::PromotionSuperseded), "and there is no way back");
}

#[test]
fn model_that_the_document_fixes_or_that_has_no_room_stays_and_a_caller_who_may_not_manage_it_is_refused() {
    let fixed = |settings: &mut Settings| {
        replaceable(settings);
        settings.models[0].replaceable = false;
    };
    let unmanaged = |settings: &mut Settings| settings.models[0].replaceable = true;
    for (change, more, want) in [
        (&fixed as &dyn Fn(&mut Settings), "", (409, Code::ModelFixed)),
        (&replaceable, "model-memory = 0\n", (503, Code::MemoryShort)),
        (&unmanaged, "", (403, Code::PolicyDenied)),
    ] {
        let Some(stage) = Stage::start("MODEL_TINY", change) else { return };
        let (guest, next) = (stage.launch(more).unwrap(), stage.publish("v2", "release"));
        let caller = Caller::of(&guest);
        stage.promote(&next);
        let asked = json!({"parameters": {"reference": next.reference}});
        assert_eq!(told(&caller.change("load", &asked)), want);
        assert_eq!((caller.served(), caller.embed()), (json!(stage.model.manifest.oci()), 200));
    }
}

#[test]
fn model_that_is_unloaded_gives_its_memory_back_and_is_loaded_again_by_the_tag_that_the_document_names() {
    let by_tag = |settings: &mut Settings| {
        replaceable(settings);
        let (repository, _) = settings.models[0].repository_and_digest().unwrap();
        settings.models[0].reference = format!("{repository}:v1");
    };
    let Some(stage) = Stage::start("MODEL_MINILM", by_tag) else { return };
    let guest = stage.launch("").unwrap();
    let caller = Caller::of(&guest);
    assert_eq!(caller.embed(), 200);
    let (full, least) = (stage.resident(&guest), 40 << 20);
    let unloaded = caller.change("unload", &json!({"parameters": {"unload_dependents": false}}));
    assert_eq!((unloaded.status, &unloaded.json()["version"]), (200, &json!(null)), "{}", unloaded.text());
    assert_eq!(caller.embed(), 404);
    assert_eq!(caller.index()[0]["state"], "UNAVAILABLE");
    stage.until_resident(&guest, full - least);
    assert_eq!(told(&caller.change("unload", &json!({}))), (404, Code::ModelUnknown));

    let loaded = caller.change("load", &json!({}));
    assert_eq!((loaded.status, &loaded.json()["version"]), (200, &json!(stage.model.manifest.oci())));
    assert_eq!((caller.embed(), &caller.index()[0]["state"]), (200, &json!("READY")));

    // The same by the protocol's own client, behind the proxy of one who takes whatever the release key signed.
    let Some(mut client) = peers::script("triton_repository.py") else { return };
    let proxy = stage.proxy(&guest, &stage.world.client_policy_of_signer(&stage.document));
    let found = run(client.args([proxy.address(), API_KEY, "model"])).ok().json();
    let entry = |state: &str, reason: &str| {
        let version = stage.model.manifest.oci();
        json!([{"name": "model", "version": version, "state": state, "reason": reason}])
    };
    let (ready, gone) = (entry("READY", ""), entry("UNAVAILABLE", "unloaded"));
    assert_eq!(found["before"], json!([ready, true]));
    assert_eq!(found["unloaded"], json!([gone, false]));
    assert_eq!(found["loaded"], found["before"]);
    assert!(found["refused"].as_str().unwrap().starts_with("request-invalid"), "{found}");
}
