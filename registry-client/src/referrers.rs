//! What refers to a manifest (distribution specification 1.1, "Listing Referrers" and "Pushing Manifests with Subject"):
//! the registry's list, or the index under the tag `sha256-<hex>` where the registry keeps none.

use crate::auth::Scope;
use crate::client::{Call, RegistryClient, resolve};
use crate::manifests::{INDEX_TYPE, MANIFEST_TYPE};
use crate::reference::Reference;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// A descriptor in a referrers list. The list is the registry's word: what is behind the digest says what it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// `sha256:<hex>`, or of another algorithm.
    pub digest: String,
    /// The manifest's length in bytes.
    pub size: u64,
    /// What kind of artifact the list says it is. Not to be filtered by: widespread tools write another kind into the
    /// fallback index than the manifest has.
    #[serde(default)]
    pub artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Referrer>,
}

/// What a manifest says that its descriptor in a referrers list repeats.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    artifact_type: Option<String>,
    config: Option<Config>,
    subject: Option<Subject>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: String,
}

impl RegistryClient {
    /// What refers to the manifest `subject` of the repository of `reference`, each digest once: what the registry lists, and
    /// what is in the fallback index, which a registry keeps from the time before it had a list. Absence (404, and no other
    /// answer) is an empty list.
    ///
    /// # Errors
    /// `registry-unauthorized`; `registry-failed` any other answer, which is never taken for absence, and a next page on another
    /// host; `too-large`; or what the connection failed with.
    pub async fn referrers(&self, reference: &Reference, subject: Sha256) -> Result<Vec<Referrer>> {
        let mut referrers = self.listed_referrers(reference, subject).await?;
        referrers.extend(self.indexed_referrers(reference, subject).await?);
        let mut seen = BTreeSet::new();
        referrers.retain(|referrer| seen.insert(referrer.digest.clone()));
        Ok(referrers)
    }

    /// The registry's list; empty where it has no such API.
    async fn listed_referrers(&self, reference: &Reference, subject: Sha256) -> Result<Vec<Referrer>> {
        self.serves(reference)?;
        let what = format!("referrers of `{}`", reference.pinned(subject));
        let mut found = Vec::new();
        let mut next = Some(self.url(&format!("{}/referrers/{}", reference.repository(), subject.oci()))?);
        let mut pages = 0;
        while let Some(uri) = next.take() {
            pages += 1;
            if pages > limits::REFERRER_PAGES {
                return Err(Refusal::too_large(what, "another page", format!("{} pages", limits::REFERRER_PAGES)));
            }
            let call = Call::new(Method::GET, uri.clone(), Scope::pull(reference.repository()))
                .header(header::ACCEPT, HeaderValue::from_static(INDEX_TYPE));
            let (head, bytes) = match self.fetch(&call, limits::MANIFEST, &what).await {
                // Only the first page can say that there is no list.
                Err(refusal) if refusal.code == Code::RegistryNotFound && pages == 1 => return Ok(Vec::new()),
                Err(refusal) if refusal.code == Code::RegistryNotFound => {
                    return Err(Refusal { code: Code::RegistryFailed, ..refusal });
                }
                other => other?,
            };
            next = next_page(&uri, &head.headers)?;
            if let Some(elsewhere) = next.as_ref().filter(|uri| !self.is_own(uri)) {
                let host = elsewhere.authority().map_or("none", http::uri::Authority::as_str);
                return Err(Refusal::new(Code::RegistryFailed, what)
                    .got(format!("next page on {host}"))
                    .want(self.host()));
            }
            let page: Index = document::parse_json(&bytes, &what, limits::MANIFEST, Code::RegistryFailed)?;
            found.extend(page.manifests);
        }
        Ok(found)
    }

    /// The fallback index ("Referrers Tag Schema"); empty where there is none.
    async fn indexed_referrers(&self, reference: &Reference, subject: Sha256) -> Result<Vec<Referrer>> {
        let Some(index) = self.fallback_index(reference, subject).await? else { return Ok(Vec::new()) };
        let what = format!("fallback index of `{}`", reference.pinned(subject));
        serde_json::from_value::<Index>(index)
            .map(|index| index.manifests)
            .map_err(|e| Refusal::new(Code::RegistryFailed, what).because(e))
    }

    async fn fallback_index(&self, reference: &Reference, subject: Sha256) -> Result<Option<Value>> {
        let tagged = reference.tagged(&fallback_tag(subject));
        match self.manifest(&tagged).await {
            Ok(fetched) => serde_json::from_slice(&fetched.bytes)
                .map(Some)
                .map_err(|e| Refusal::new(Code::RegistryFailed, format!("fallback index `{tagged}`")).because(e)),
            Err(refusal) if refusal.code == Code::RegistryNotFound => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Pushes an image manifest that has a subject, by its digest, and sees to it that it is found: where the registry does
    /// not say that it recorded the subject, in the fallback index.
    ///
    /// # Errors
    /// `malformed` the manifest has no subject; `registry-unauthorized`, `registry-failed` (also: others kept replacing the
    /// index); or what the connection failed with.
    pub async fn push_referrer(&self, reference: &Reference, manifest: Vec<u8>) -> Result<Sha256> {
        let described: Described = document::parse_json(&manifest, "referrer", limits::MANIFEST, Code::Malformed)?;
        let subject = described.subject.as_ref().ok_or_else(|| Refusal::malformed("referrer", "no subject"))?;
        let subject = Sha256::from_oci(&subject.digest)?;
        let (digest, size) = (Sha256::of(&manifest), manifest.len());
        let pushed = self.push_manifest(&reference.pinned(digest), MANIFEST_TYPE, manifest).await?;
        if pushed.recorded_subject == Some(subject) {
            return Ok(digest);
        }
        let artifact_type = described.artifact_type.or(described.config.map(|config| config.media_type));
        let artifact_type =
            artifact_type.ok_or_else(|| Refusal::malformed("referrer", "no artifactType and no config"))?;
        let descriptor = json!({
            "mediaType": MANIFEST_TYPE, "digest": digest.oci(), "size": size,
            "artifactType": artifact_type, "annotations": described.annotations,
        });
        self.add_to_index(reference, subject, descriptor).await?;
        Ok(digest)
    }

    /// Reads, extends and writes the fallback index until ours is in it: a tag has no compare-and-swap, so somebody who
    /// writes at the same time may have replaced it.
    async fn add_to_index(&self, reference: &Reference, subject: Sha256, descriptor: Value) -> Result<()> {
        let tagged = reference.tagged(&fallback_tag(subject));
        let what = format!("fallback index `{tagged}`");
        for attempt in 1..=self.patience().attempts.max(1) {
            let index = self.fallback_index(reference, subject).await?;
            let Some(index) = extended(index, &descriptor).map_err(|refusal| refusal.within(&what))? else {
                return Ok(());
            };
            if attempt > 1 {
                self.wait(attempt - 1, None).await;
            }
            self.push_manifest(&tagged, INDEX_TYPE, index).await?;
        }
        match self.fallback_index(reference, subject).await?.map(|index| extended(Some(index), &descriptor)) {
            Some(Ok(None)) => Ok(()),
            _ => Err(Refusal::new(Code::RegistryFailed, what).got("replaced each time").want("an index that stays")),
        }
    }
}

/// The fallback tag of `subject` ("Referrers Tag Schema").
fn fallback_tag(subject: Sha256) -> String {
    format!("sha256-{subject}")
}

/// The index with `descriptor` in it; `None` if it is there already. All else stays as it was.
fn extended(index: Option<Value>, descriptor: &Value) -> Result<Option<Vec<u8>>> {
    let empty = || json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []});
    let mut index = index.unwrap_or_else(empty);
    let other = || Refusal::new(Code::RegistryFailed, "tag").got("another document").want("an image index");
    let manifests = index.get_mut("manifests").and_then(Value::as_array_mut).ok_or_else(other)?;
    let ours = descriptor.get("digest");
    if manifests.iter().any(|entry| entry.get("digest") == ours) {
        return Ok(None);
    }
    manifests.push(descriptor.clone());
    serde_json::to_vec(&index).map(Some).map_err(|e| Refusal::new(Code::Internal, "image index").because(e))
}

/// The URL of `Link: <…>; rel="next"` (RFC 8288).
fn next_page(base: &Uri, headers: &HeaderMap) -> Result<Option<Uri>> {
    let links = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|value| value.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = |p: &str| matches!(p.trim(), "rel=\"next\"" | "rel=next");
        parameters.split(';').any(is_next).then_some(target)
    });
    next.map(|target| resolve(base, target)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_extended_once_and_otherwise_kept() {
        let ours = json!({"digest": "sha256:ours", "size": 1});
        let theirs = json!({"manifests": [{"digest": "sha256:theirs", "x": 1}], "annotations": {"k": "v"}});
        let bytes = extended(Some(theirs), &ours).unwrap().unwrap();
        let index: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(index["manifests"], json!([{"digest": "sha256:theirs", "x": 1}, ours]));
        assert_eq!(index["annotations"], json!({"k": "v"}));
        assert_eq!(extended(Some(index), &ours).unwrap(), None);
    }

    #[test]
    fn document_that_is_no_index_not_overwritten() {
        let refusal = extended(Some(json!({"layers": []})), &json!({"digest": "d"})).unwrap_err();
        assert_eq!(refusal.code, Code::RegistryFailed);
    }

    #[test]
    fn next_page_found_among_links() {
        let base = Uri::from_static("https://r.example/v2/a/referrers/x");
        let headers = |text| HeaderMap::from_iter([(header::LINK, HeaderValue::from_static(text))]);
        let next = next_page(&base, &headers(r#"</first>; rel="first", </v2/a/referrers/x?n=2>; rel="next""#)).unwrap();
        assert_eq!(next.unwrap().to_string(), "https://r.example/v2/a/referrers/x?n=2");
        assert_eq!(next_page(&base, &headers("</first>; rel=\"first\"")).unwrap(), None);
        assert_eq!(next_page(&base, &headers("<x>; rel=next")).unwrap_err().code, Code::RegistryFailed);
    }
}
