use crate::client::{Fixture, OCI_INDEX, image, referrer};
use http::StatusCode;
use serde_json::{Value, json};
use strongroom_wire::digest::Sha256;

/// Follows `Link` from `path` on; the value of `key` on each page.
async fn pages(fixture: &Fixture, path: &str, key: &str) -> Vec<Value> {
    let (mut next, mut pages) = (Some(path.to_owned()), Vec::new());
    while let Some(path) = next {
        let reply = fixture.get(&path).await;
        assert_eq!(reply.status, StatusCode::OK);
        pages.push(reply.json()[key].clone());
        next = reply
            .header("link")
            .map(|link| link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned());
        assert!(pages.len() < 10, "the list does not end");
    }
    pages
}

async fn with_signatures(page: usize) -> (Fixture, Sha256) {
    let fixture = Fixture::with(|config| config.limits.page = page).await;
    for blob in [b"{}".as_slice(), b"layer", b"signature"] {
        fixture.push_blob("a/b", blob).await;
    }
    let subject = fixture.push_manifest("a/b", Some("v1"), &image(b"layer")).await;
    for artifact_type in ["application/x+json", "application/y+json"] {
        fixture.push_manifest("a/b", None, &referrer(subject, artifact_type)).await;
    }
    (fixture, subject)
}

#[tokio::test]
async fn tags_and_repositories_are_listed_in_order_and_in_pages() {
    let fixture = Fixture::with(|config| config.limits.page = 2).await;
    for repository in ["b", "a/c", "a"] {
        fixture.push_blob(repository, b"{}").await;
        fixture.push_blob(repository, b"layer").await;
    }
    for tag in ["v2", "v1", "latest"] {
        fixture.push_manifest("a", Some(tag), &image(b"layer")).await;
    }
    assert_eq!(pages(&fixture, "/v2/a/tags/list", "tags").await, [json!(["latest", "v1"]), json!(["v2"])]);
    let single = [json!(["latest"]), json!(["v1"]), json!(["v2"])];
    assert_eq!(pages(&fixture, "/v2/a/tags/list?n=1", "tags").await, single);
    assert_eq!(pages(&fixture, "/v2/a/tags/list?last=v1", "tags").await, [json!(["v2"])]);
    assert_eq!(pages(&fixture, "/v2/a/tags/list?n=0", "tags").await, [json!([])]);
    assert_eq!(pages(&fixture, "/v2/_catalog", "repositories").await, [json!(["a", "a/c"]), json!(["b"])]);
}

#[tokio::test]
async fn tags_of_an_unknown_repository_or_of_no_number_refused() {
    let fixture = Fixture::start().await;
    fixture.get("/v2/a/tags/list").await.assert_error(404, "NAME_UNKNOWN");
    fixture.push_blob("a", b"x").await;
    assert_eq!(fixture.get("/v2/a/tags/list").await.json(), json!({"name": "a", "tags": []}));
    fixture.get("/v2/a/tags/list?n=-1").await.assert_error(400, "UNSUPPORTED");
}

#[tokio::test]
async fn referrers_are_listed_with_their_type_and_annotations() {
    let (fixture, subject) = with_signatures(100).await;
    let reply = fixture.get(&format!("/v2/a/b/referrers/{}", subject.oci())).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, Some(OCI_INDEX)));
    assert_eq!(reply.header("oci-filters-applied"), None);
    let index = reply.json();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2);
    for manifest in manifests {
        assert_eq!(manifest["annotations"]["of"], manifest["artifactType"]);
        let digest = manifest["digest"].as_str().unwrap();
        let pulled = fixture.get(&format!("/v2/a/b/manifests/{digest}")).await;
        assert_eq!(Some(pulled.body.len()), manifest["size"].as_u64().map(|size| usize::try_from(size).unwrap()));
    }
}

#[tokio::test]
async fn referrers_of_one_type_are_filtered_and_the_filter_is_named() {
    let (fixture, subject) = with_signatures(100).await;
    let path = format!("/v2/a/b/referrers/{}?artifactType=application%2Fx%2Bjson", subject.oci());
    let reply = fixture.get(&path).await;
    assert_eq!(reply.header("oci-filters-applied"), Some("artifactType"));
    let manifests = reply.json()["manifests"].clone();
    assert_eq!(manifests.as_array().unwrap().len(), 1);
    assert_eq!(manifests[0]["artifactType"], "application/x+json");
}

#[tokio::test]
async fn referrers_come_in_pages_that_keep_the_filter() {
    let (fixture, subject) = with_signatures(1).await;
    let path = format!("/v2/a/b/referrers/{}", subject.oci());
    assert_eq!(pages(&fixture, &path, "manifests").await.len(), 2);
    fixture.push_blob("a/b", b"signature").await;
    let mut second = referrer(subject, "application/x+json");
    second["annotations"]["n"] = json!("2");
    fixture.push_manifest("a/b", None, &second).await;
    let filtered = pages(&fixture, &format!("{path}?artifactType=application%2Fx%2Bjson"), "manifests").await;
    assert_eq!(filtered.len(), 2);
    assert!(filtered.iter().all(|page| page[0]["artifactType"] == "application/x+json"));
}

#[tokio::test]
async fn referrers_of_anything_unknown_are_none_and_of_no_digest_refused() {
    let fixture = Fixture::start().await;
    let reply = fixture.get(&format!("/v2/nobody/referrers/{}", Sha256::of(b"x").oci())).await;
    assert_eq!((reply.status, &reply.json()["manifests"]), (StatusCode::OK, &json!([])));
    fixture.get("/v2/nobody/referrers/latest").await.assert_error(400, "DIGEST_INVALID");
}

#[tokio::test]
async fn deleted_referrer_is_no_longer_listed() {
    let (fixture, subject) = with_signatures(100).await;
    let path = format!("/v2/a/b/referrers/{}", subject.oci());
    let digest = fixture.get(&path).await.json()["manifests"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(fixture.delete(&format!("/v2/a/b/manifests/{digest}")).await.status, StatusCode::ACCEPTED);
    let left = fixture.get(&path).await.json()["manifests"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_ne!(left[0]["digest"], digest);
}

#[tokio::test]
async fn registry_without_the_referrers_api_answers_as_docker_registry_does() {
    let fixture = Fixture::with(|config| config.referrers_api = false).await;
    let reply = fixture.get(&format!("/v2/a/referrers/{}", Sha256::of(b"x").oci())).await;
    assert_eq!((reply.status, reply.body.as_ref()), (StatusCode::NOT_FOUND, b"404 page not found\n".as_slice()));
}
