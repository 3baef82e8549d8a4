//! Step 2: the models' manifests are those of the document, signed by those whom it trusts, and promoted where it demands that.

use super::Measured;
use crate::config::Config;
use std::collections::BTreeMap;
use strongroom_artifact::ladder::TrustedModel;
use strongroom_registry_client::{
    Access, Credentials, Mirror, Password, Proxies, Reference, RegistryClient, verify_model,
};
use strongroom_wire::deployment::Registry;
use strongroom_wire::{Code, Refusal, Result};

/// The models of a measured document, none of which was opened and all of which are trusted.
#[derive(Debug)]
pub struct Pulled {
    pub(super) measured: Measured,
    pub(super) models: Vec<Named<TrustedModel>>,
}

/// A model on its way, under the name that requests use, and where its layers are.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) registry: RegistryClient,
    pub(crate) model: T,
}

impl Pulled {
    /// Fetches and verifies manifests, signatures and promotions.
    ///
    /// Whether a promotion has ended is judged by the host's clock, and what of promotions and demotions the registry hides is not
    /// known here. For a sealed model the verifier decides about both before it releases the key; for a plain one, for which no
    /// verifier is asked, that is all there is.
    ///
    /// # Errors
    /// `registry-not-allowed` the document does not list a model's registry; else as [`verify_model`].
    pub async fn pull(measured: Measured, config: &Config) -> Result<Self> {
        let settings = measured.deployment().settings();
        let mut registries = BTreeMap::new();
        let mut models = Vec::new();
        for model in &settings.models {
            let reference = Reference::parse(&model.reference)?;
            let host = reference.host();
            if !registries.contains_key(host) {
                let stated = listed(&settings.registries, host)?;
                registries.insert(host.to_owned(), connect(stated, config)?);
            }
            let registry = registries.get(host).ok_or_else(|| Refusal::new(Code::Internal, "registry"))?;
            let named = trust(&measured, &model.name, registry, &reference).await?;
            if reference.digest().is_none() && named.model.manifest().sealing().is_none() {
                // No verifier would be asked about what the registry has under the tag.
                let refusal = Refusal::new(Code::ModelUnsupported, format!("model `{}` by tag", model.name));
                return Err(refusal.got("plain").want("sealed, or a digest"));
            }
            models.push(named);
        }
        Ok(Self { measured, models })
    }

    /// One model, in place of what the document begins with.
    pub(crate) const fn of(measured: Measured, models: Vec<Named<TrustedModel>>) -> Self {
        Self { measured, models }
    }
}

/// The model that `reference` names, trusted as the document demands.
///
/// # Errors
/// As [`verify_model`]; `clock-behind`.
pub(crate) async fn trust(
    measured: &Measured,
    name: &str,
    registry: &RegistryClient,
    reference: &Reference,
) -> Result<Named<TrustedModel>> {
    let (trust, now) = (&measured.deployment().settings().trust, measured.clock().now()?);
    let trusted = verify_model(registry, reference, trust, now).await;
    let trusted = trusted.map_err(|refusal| refusal.within(format!("model `{name}`")))?;
    let promotion = trusted.promotion().map(|promotion| (promotion.environment(), promotion.sequence()));
    let (signers, manifest) = (trusted.signers(), trusted.manifest_digest());
    tracing::info!(model = name, %reference, %manifest, ?signers, ?promotion, "trusted");
    Ok(Named { name: name.to_owned(), registry: registry.clone(), model: trusted })
}

fn listed<'a>(registries: &'a [Registry], host: &str) -> Result<&'a Registry> {
    registries.iter().find(|registry| registry.host == host).ok_or_else(|| {
        let known = registries.iter().map(|registry| registry.host.as_str()).collect::<Vec<_>>().join(", ");
        Refusal::new(Code::RegistryNotAllowed, "registry").got(host).want(known)
    })
}

fn connect(registry: &Registry, config: &Config) -> Result<RegistryClient> {
    let mirrors = config.registry_mirror.iter().filter(|mirror| mirror.registry == registry.host).map(|mirror| {
        let host = mirror.mirror.split('/').next().unwrap_or_default();
        let access = Access { plain_http: mirror.plain_http, ca: mirror.ca.clone(), ..access(host, config)? };
        Mirror::new(&mirror.mirror, access)
    });
    let mirrors = mirrors.collect::<Result<_>>()?;
    let (plain_http, ca) = (registry.plain_http, registry.ca.clone());
    RegistryClient::new(&registry.host, Access { plain_http, ca, mirrors, ..access(&registry.host, config)? })
}

/// What the configuration says of `host`: as whom, and through what proxy.
fn access(host: &str, config: &Config) -> Result<Access> {
    let ours = config.registry_credentials.iter().find(|ours| ours.host == host);
    let credentials = ours.map(|ours| {
        let password = Password::new(core::mem::take(&mut *ours.password()?));
        Ok::<_, Refusal>(Credentials { username: ours.username.clone(), password })
    });
    let proxy = &config.proxy;
    let proxies = Proxies::new(proxy.http.as_deref(), proxy.https.as_deref(), &proxy.except)?;
    Ok(Access { credentials: credentials.transpose()?, proxies, ..Access::default() })
}

#[cfg(test)]
mod tests {
    use super::super::measured::tests::{measured, settings};
    use super::*;
    use strongroom_wire::digest::Sha256;

    #[tokio::test]
    async fn model_in_a_registry_that_the_document_does_not_list_refused_before_it_is_reached() {
        let config = Config::parse(b"listen=''\ndeployment='/d'\nonnxruntime='/o'").unwrap();
        let mut other = settings();
        other.registries[0].host = "localhost:2".into();
        let measured = measured(&other, |raw| Sha256::of(raw).0).await.unwrap();
        let refusal = Pulled::pull(measured, &config).await.unwrap_err();
        assert_eq!(refusal.code, Code::RegistryNotAllowed);
        assert_eq!((refusal.got.as_deref(), refusal.want.as_deref()), (Some("localhost:1"), Some("localhost:2")));
    }

    #[test]
    fn mirrors_and_proxies_of_the_configuration_used_and_what_is_none_refused() {
        let base = "listen=''\ndeployment='/d'\nonnxruntime='/o'\n";
        let connected = |more: &str| {
            let config = Config::parse(format!("{base}{more}").as_bytes()).unwrap();
            connect(&settings().registries[0], &config).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let mirror = |place: &str| format!("[[registry-mirror]]\nregistry='localhost:1'\nmirror='{place}'\n");
        assert_eq!(connected(&mirror("mirror.example/proxy")), Ok(()));
        assert_eq!(connected(&mirror("https://mirror.example")), Err(Code::ReferenceInvalid));
        assert_eq!(connected("[proxy]\nhttps='proxy.example:3128'\nexcept='10.0.0.0/8'\n"), Ok(()));
        assert_eq!(connected("[proxy]\nhttps='socks5://proxy.example'\n"), Err(Code::ConfigurationInvalid));
    }
}
