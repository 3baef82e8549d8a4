//! Decisions as events of the Open Cybersecurity Schema Framework, version 1.3.0: class 6003, API Activity, whose `api` is what was
//! asked of the verifier, whose `status` is the outcome, and whose `unmapped` is everything that it was decided on.

use serde_json::{Map, Value, json};
use strongroom_wire::audit::Entry;

const CLASS: u64 = 6003;

/// What an entry is as an event.
pub(super) fn event(entry: &Entry) -> Value {
    let (activity, name, operation) = activity(entry);
    let refused = !entry.code.is_empty();
    let mut event = json!({
        "activity_id": activity,
        "activity_name": name,
        "actor": actor(entry),
        "api": { "operation": operation, "service": { "name": "strongroom-verifier" } },
        "category_name": "Application Activity",
        "category_uid": 6,
        "class_name": "API Activity",
        "class_uid": CLASS,
        "metadata": {
            "product": { "name": "Strongroom", "vendor_name": "Strongroom", "feature": { "name": "audit log" } },
            "sequence": entry.seq,
            "uid": entry.seq.to_string(),
            "version": "1.3.0",
        },
        "resources": [{ "name": entry.subject, "type": entry.kind }],
        // Low: a refusal is the verifier at work.
        "severity_id": if refused { 2 } else { 1 },
        "src_endpoint": source(entry),
        "status_id": if refused { 2 } else { 1 },
        // Milliseconds.
        "time": entry.time.saturating_mul(1000),
        "type_uid": CLASS.saturating_mul(100).saturating_add(activity),
        "unmapped": entry.detail,
    });
    if let (true, Value::Object(members)) = (refused, &mut event) {
        members.insert("status_code".to_owned(), json!(entry.code));
    }
    event
}

/// Identifier, name and operation. 1 Create, 2 Read, 3 Update, 99 Other.
fn activity(entry: &Entry) -> (u64, &'static str, String) {
    let method = entry.subject.split(' ').next().unwrap_or_default();
    match (entry.kind.as_str(), method) {
        ("release", _) => (2, "Read", "release a key".to_owned()),
        ("admin", "GET") => (2, "Read", entry.subject.clone()),
        ("admin", "POST") => (1, "Create", entry.subject.clone()),
        ("admin", "PUT") => (3, "Update", entry.subject.clone()),
        ("attestation", _) => (99, "Attest", "appraise evidence".to_owned()),
        ("lease", _) => (99, "Lease", "give a lease".to_owned()),
        ("identity", _) => (1, "Create", "issue an identity".to_owned()),
        _ => (99, "Other", entry.kind.clone()),
    }
}

/// A guest by what its hardware vouched for, or a person by what they came in by; who showed nothing is nobody.
fn actor(entry: &Entry) -> Value {
    match (entry.kind.as_str(), text(entry, "deployment")) {
        ("release" | "identity", Some(deployment)) => json!({ "app_name": "guest", "app_uid": deployment }),
        ("attestation" | "lease", _) => json!({ "app_name": "guest", "app_uid": entry.subject }),
        ("admin", _) => match entry.detail.get("administrator") {
            Some(person) => json!({
                "user": { "name": person["name"], "type_id": 2 },
                "session": { "is_remote": true, "credential_uid": person["by"] },
            }),
            None => json!({ "user": { "name": "unknown", "type_id": 0 } }),
        },
        _ => json!({ "app_name": "strongroom-verifier" }),
    }
}

/// Where it came from: an address, or the chip or key that stands for a guest.
fn source(entry: &Entry) -> Value {
    let members = [("ip", "peer"), ("uid", "key")].into_iter();
    let members = members.filter_map(|(name, from)| Some((name.to_owned(), json!(text(entry, from)?))));
    let mut source: Map<String, Value> = members.collect();
    if source.is_empty() {
        source.insert("name".to_owned(), json!("unknown"));
    }
    Value::Object(source)
}

fn text<'a>(entry: &'a Entry, member: &str) -> Option<&'a str> {
    entry.detail.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::audit::VERSION;

    /// What the schema's class demands: the base event's required attributes and the class' own, by their types, and of objects at
    /// least one member of those that the schema lists for it.
    fn assert_valid(event: &Value) {
        for number in ["activity_id", "category_uid", "class_uid", "severity_id", "time", "type_uid"] {
            assert!(event[number].is_u64(), "{number}: {event}");
        }
        assert_eq!((&event["category_uid"], &event["class_uid"]), (&json!(6), &json!(6003)));
        let activity = event["activity_id"].as_u64().unwrap();
        assert!([0, 1, 2, 3, 4, 99].contains(&activity));
        assert_eq!(event["type_uid"], json!(600_300 + activity));
        assert!(activity != 99 || event["activity_name"].is_string(), "another activity has a name");
        assert!((0..=6).contains(&event["severity_id"].as_u64().unwrap()));
        assert!(event["metadata"]["version"].is_string() && event["metadata"]["product"]["vendor_name"].is_string());
        assert!(event["api"]["operation"].is_string());
        let any = |object: &str, members: &[&str]| {
            assert!(members.iter().any(|member| !event[object][member].is_null()), "{object}: {event}");
        };
        any("actor", &["process", "user", "invoked_by", "session", "app_name", "app_uid", "idp"]);
        any("src_endpoint", &["ip", "uid", "name", "hostname", "svc_name", "instance_uid", "interface_uid"]);
    }

    fn entry(kind: &str, subject: &str, code: &str, detail: Value) -> Entry {
        let text = |text: &str| text.to_owned();
        Entry { v: VERSION, seq: 7, time: 9, kind: text(kind), subject: text(subject), code: text(code), detail }
    }

    #[test]
    fn person_is_named_and_who_showed_nothing_is_not() {
        let actor = |detail| event(&entry("admin", "PUT /admin/v1/keys/a/b/c", "", detail))["actor"].clone();
        let named = actor(json!({ "administrator": { "name": "alice", "by": "token" } }));
        assert_eq!((&named["user"]["name"], &named["session"]["credential_uid"]), (&json!("alice"), &json!("token")));
        assert_eq!(actor(json!({ "peer": "127.0.0.1" }))["user"], json!({ "name": "unknown", "type_id": 0 }));
    }

    #[test]
    fn every_kind_of_entry_has_what_the_class_demands() {
        let guest = json!({ "key": "thumbprint", "deployment": "sha256:00" });
        let peer =
            json!({ "peer": "127.0.0.1", "call": {}, "administrator": { "name": "alice", "by": "certificate" } });
        for (kind, subject, detail, activity) in [
            ("log", "strongroom-verifier/0", json!({}), 99),
            ("attestation", "sha256:00", guest.clone(), 99),
            ("attestation", "-", json!({}), 99),
            ("lease", "sha256:00", guest.clone(), 99),
            ("release", "a/b/c", guest, 2),
            ("admin", "GET /admin/v1/keys", peer.clone(), 2),
            ("admin", "PUT /admin/v1/keys/a/b/c", peer.clone(), 3),
            ("admin", "POST /admin/v1/promotions", peer, 1),
            ("admin", "rewrap under another master key", json!({}), 99),
            ("from-the-future", "x", json!(null), 99),
        ] {
            for (code, status) in [("", 1), ("no-policy", 2)] {
                let event = event(&entry(kind, subject, code, detail.clone()));
                assert_valid(&event);
                assert_eq!((&event["activity_id"], &event["status_id"]), (&json!(activity), &json!(status)), "{kind}");
                assert_eq!(event.get("status_code").is_some(), status == 2);
                assert_eq!((&event["time"], &event["unmapped"]), (&json!(9000), &detail));
            }
        }
    }
}
