use super::*;

const NOW: u64 = 1_790_000_000;

fn decide(cedar: &str, call: &Call<'_>) -> core::result::Result<Vec<String>, Code> {
    // What is asked is what the schema says.
    call.asked(Some(SCHEMA.as_ref().unwrap())).unwrap();
    let policies = CallPolicies::parse(cedar.as_bytes()).unwrap();
    policies.decide(call).map(|allowed| allowed.by().to_vec()).map_err(|refusal| refusal.code)
}

static NONE: BTreeMap<String, String> = BTreeMap::new();

fn call(kind: IdentityKind, name: &str) -> Call<'_> {
    Call {
        kind,
        name,
        groups: &[],
        claims: &NONE,
        certificate: false,
        action: CallAction::Embed,
        model: "search/embed",
        manifest: Sha256([7; 32]),
        now: NOW,
    }
}

fn permit(scope: &str, condition: &str) -> String {
    format!(r#"@id("p") permit ({scope}) when {{ {condition} }};"#)
}

const ANY: &str = "principal, action, resource";

fn permitted() -> core::result::Result<Vec<String>, Code> {
    Ok(vec!["p".into()])
}

#[test]
fn nothing_is_permitted_that_no_policy_permits() {
    let call = call(IdentityKind::ApiKey, "app");
    assert_eq!(decide("", &call), Err(Code::AuthorizationEmpty));
    assert_eq!(decide(&permit(ANY, "false"), &call), Err(Code::PolicyDenied));
    assert_eq!(decide(&permit(ANY, "true"), &call), permitted());
    let forbid = permit(ANY, "true") + r#"@id("f") forbid (principal, action, resource);"#;
    assert_eq!(decide(&forbid, &call), Err(Code::PolicyDenied));
}

#[test]
fn document_without_policies_means_its_bearer_keys_and_nobody_else() {
    for action in [CallAction::ListModels, CallAction::Embed, CallAction::Infer, CallAction::Generate] {
        let key = Call { action, ..call(IdentityKind::ApiKey, "app") };
        assert_eq!(decide(PRINCIPALS, &key), Ok(vec!["principals".into()]));
        let manage = Call { action: CallAction::ManageModel, ..key };
        assert_eq!(decide(PRINCIPALS, &manage), Err(Code::PolicyDenied));
        for (kind, name) in [(IdentityKind::Workload, "spiffe://a.test/app"), (IdentityKind::Subject, "https://i#app")]
        {
            assert_eq!(decide(PRINCIPALS, &Call { kind, name, ..key }), Err(Code::PolicyDenied));
        }
    }
}

#[test]
fn name_of_one_kind_is_no_name_of_another() {
    let key = r#"principal == Strongroom::ApiKey::"a", action, resource"#;
    assert_eq!(decide(&permit(key, "true"), &call(IdentityKind::ApiKey, "a")), permitted());
    assert_eq!(decide(&permit(key, "true"), &call(IdentityKind::ApiKey, "b")), Err(Code::PolicyDenied));
    assert_eq!(decide(&permit(key, "true"), &call(IdentityKind::Workload, "a")), Err(Code::PolicyDenied));
    assert_eq!(decide(&permit(key, "true"), &call(IdentityKind::Subject, "a")), Err(Code::PolicyDenied));
}

#[test]
fn workload_is_in_the_folders_above_its_name() {
    let within =
        |folder: &str| permit(&format!(r#"principal in Strongroom::Folder::"{folder}", action, resource"#), "true");
    let call = call(IdentityKind::Workload, "spiffe://a.test/search/indexer");
    assert_eq!(decide(&within("spiffe://a.test"), &call), permitted());
    assert_eq!(decide(&within("spiffe://a.test/search"), &call), permitted());
    for other in ["spiffe://a.test/sea", "spiffe://b.test", "search"] {
        assert_eq!(decide(&within(other), &call), Err(Code::PolicyDenied), "{other}");
    }
}

#[test]
fn groups_are_those_of_their_issuer_and_claims_those_that_were_read() {
    let (groups, claims) = (["ops".to_owned()], BTreeMap::from([("azp".to_owned(), "client".to_owned())]));
    let call = Call { groups: &groups, claims: &claims, ..call(IdentityKind::Subject, "https://i#s") };
    let group = |name: &str| permit(&format!(r#"principal in Strongroom::Group::"{name}", action, resource"#), "true");
    assert_eq!(decide(&group("https://i#ops"), &call), permitted());
    assert_eq!(decide(&group("https://j#ops"), &call), Err(Code::PolicyDenied));
    assert_eq!(decide(&group("https://i#dev"), &call), Err(Code::PolicyDenied));
    let subject = "principal is Strongroom::Subject, action, resource";
    for (condition, holds) in [
        (r#"principal.issuer == "https://i""#, true),
        (r#"principal.hasTag("azp") && principal.getTag("azp") == "client""#, true),
        (r#"principal.hasTag("azp") && principal.getTag("azp") == "other""#, false),
        (r#"principal.hasTag("scope")"#, false),
    ] {
        let decided = decide(&permit(subject, condition), &call);
        assert_eq!(decided.is_ok(), holds, "{condition}");
    }
}

#[test]
fn action_model_time_and_certificate_decide() {
    let key = call(IdentityKind::ApiKey, "app");
    for (scope, condition) in [
        (r#"principal, action == Strongroom::Action::"Embed", resource"#, "true"),
        (r#"principal, action, resource == Strongroom::Model::"search/embed""#, "true"),
        (r#"principal, action, resource in Strongroom::Folder::"search""#, "true"),
        (ANY, r#"resource.manifest like "sha256:0707*""#),
        (ANY, r#"context.now < datetime("2026-09-21T14:13:21Z")"#),
        (ANY, "!context.certificate"),
    ] {
        assert_eq!(decide(&permit(scope, condition), &key), permitted(), "{scope} {condition}");
        let (action, model, manifest) = (CallAction::Generate, "embed", Sha256([8; 32]));
        let other = Call { action, model, manifest, now: NOW + 1, certificate: true, ..key };
        assert_eq!(decide(&permit(scope, condition), &other), Err(Code::PolicyDenied), "{scope} {condition}");
    }
}

#[test]
fn folder_above_both_caller_and_model_is_one() {
    let name = "spiffe://a.test/search/app";
    let call = Call { model: "spiffe://a.test/search/embed", ..call(IdentityKind::Workload, name) };
    let both = r#"principal in Strongroom::Folder::"spiffe://a.test", action, resource in Strongroom::Folder::"spiffe://a.test""#;
    assert_eq!(decide(&permit(both, "true"), &call), permitted());
}

#[test]
fn policies_about_keys_of_a_verifier_refused() {
    let code = |cedar: &str| CallPolicies::parse(cedar.as_bytes()).err().map(|refusal| refusal.code);
    assert_eq!(code(PRINCIPALS), None);
    for wrong in [
        r#"@id("p") permit (principal, action == Strongroom::Action::"ReleaseKey", resource);"#,
        r#"@id("p") permit (principal, action, resource) when { principal.platform == "snp" };"#,
        "permit (principal, action, resource);",
    ] {
        assert_eq!(code(wrong), Some(Code::PolicyInvalid), "{wrong}");
    }
}
