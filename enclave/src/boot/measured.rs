//! Step 1: the deployment document is the one that the hardware names.

use crate::attester::{self, Attester, OwnEvidence};
use crate::clock::Clock;
use crate::config::{Config, read_limited};
use aws_lc_rs::rand;
use std::path::Path;
use std::sync::Arc;
use strongroom_wire::binding::{Purpose, report_data, workload_digest};
use strongroom_wire::deployment::{self, Deployment};
use strongroom_wire::{Code, Refusal, Result, limits};

/// A deployment document whose digest is this guest's HOST_DATA or MRCONFIGID, and the attester that it names. What it proves lasts as long as
/// the guest.
#[derive(Debug, Clone)]
pub struct Measured {
    deployment: Deployment,
    attester: Arc<dyn Attester>,
    own: OwnEvidence,
    clock: Clock,
}

impl Measured {
    /// Reads the document that `config` points to and compares it with the field in a report of this guest's own.
    ///
    /// # Errors
    /// `deployment-missing` there is no document, or the hardware names none; `deployment-mismatch` it names another; else
    /// as [`Deployment::parse`], [`attester::of_deployment`] and [`OwnEvidence::fetch`].
    pub async fn measure(config: &Config, channel_key: &[u8]) -> Result<Self> {
        let raw = load(&config.deployment)?;
        Self::compare(&raw, |kind| attester::of_deployment(kind, config), channel_key).await
    }

    async fn compare(
        raw: &[u8],
        attester: impl FnOnce(deployment::Attester) -> Result<Arc<dyn Attester>>,
        channel_key: &[u8],
    ) -> Result<Self> {
        let deployment = Deployment::parse(raw)?;
        let attester = attester(deployment.settings().attester)?;
        // Nobody else learns this nonce, so the report serves no other purpose, and the answer to another question is told
        // from the one to ours. Nothing is served yet: the workload is the document without a model.
        let mut nonce = [0; 32];
        rand::fill(&mut nonce).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
        let bound = report_data(Purpose::ClientChannel, &nonce, channel_key, &workload_digest(raw, &[])?);
        let own = OwnEvidence::fetch(Arc::clone(&attester), bound).await?;
        let (field, named) = own.host_field();
        if named.iter().all(|byte| *byte == 0) {
            return Err(Refusal::new(Code::DeploymentMissing, field).got("zero").want(deployment.digest()));
        }
        // All of its bytes: those behind the digest are zero.
        let mut digest = deployment.digest().0.to_vec();
        digest.resize(named.len(), 0);
        if named != digest {
            return Err(Refusal::new(Code::DeploymentMismatch, "deployment document")
                .got(deployment.digest())
                .want(format!("{}, as {field} says", hex::encode(named))));
        }
        tracing::info!(deployment = %deployment.digest(), root = %deployment.settings().root, "measured");
        Ok(Self { deployment, attester, own, clock: Clock::default() })
    }

    /// The document.
    pub const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The evidence that was compared with it, over a nonce that nobody knows.
    pub const fn evidence(&self) -> &OwnEvidence {
        &self.own
    }

    /// What time it is, for all that follows.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The attester that it names.
    pub fn attester(&self) -> Arc<dyn Attester> {
        Arc::clone(&self.attester)
    }
}

fn load(path: &Path) -> Result<Vec<u8>> {
    if !path.exists() {
        return Err(Refusal::new(Code::DeploymentMissing, format!("`{}`", path.display())).got("no such file"));
    }
    read_limited(path, limits::DEPLOYMENT)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::attester::ConfigfsTsm;
    use crate::attester::configfs_tsm::tests::{Played, TDX};
    use crate::attester::tests::Unsigned;
    use strongroom_wire::Root;
    use strongroom_wire::deployment::{Model, Registry, Runtime, Settings, Verifier};
    use strongroom_wire::digest::Sha256;
    use strongroom_wire::trust::{Rule, Signer, TrustFile};

    /// A document of the test realm with a model `m` in a registry `r:1`.
    pub(crate) fn settings() -> Settings {
        Settings {
            version: 1,
            root: Root::Test(Sha256([1; 32])),
            attester: deployment::Attester::Socket,
            max_unleased: None,
            verifier: Verifier {
                url: "https://127.0.0.1:1".into(),
                pin: Sha256([2; 32]),
                token_key: String::new(),
                log_key: None,
            },
            runtime: Runtime { onnxruntime: Sha256([3; 32]) },
            registries: vec![Registry { host: "localhost:1".into(), plain_http: true, ca: None }],
            models: vec![Model {
                name: "m".into(),
                reference: format!("localhost:1/m@{}", Sha256([4; 32]).oci()),
                replaceable: false,
            }],
            trust: TrustFile::new(vec![Rule::new("localhost:1/*", vec![Signer::with_key("s", "")])]),
            principals: Vec::new(),
            access: Default::default(),
        }
    }

    pub(crate) async fn measured(settings: &Settings, host_data: impl FnOnce(&[u8]) -> [u8; 32]) -> Result<Measured> {
        let raw = Deployment::render(settings).unwrap();
        let processor = Unsigned { host_data: host_data(&raw), ..Unsigned::default() };
        Measured::compare(&raw, |_| Ok(Arc::new(processor)), b"key").await
    }

    #[tokio::test]
    async fn document_that_the_hardware_names_accepted() {
        let settings = settings();
        let measured = measured(&settings, |raw| Sha256::of(raw).0).await.unwrap();
        assert_eq!(measured.deployment().settings(), &settings);
    }

    #[tokio::test]
    async fn document_of_which_one_byte_is_another_refused() {
        let one_more_byte = |raw: &[u8]| Sha256::of(&[raw, b"\n"].concat()).0;
        let refusal = measured(&settings(), one_more_byte).await;
        assert_eq!(refusal.unwrap_err().code, Code::DeploymentMismatch);
    }

    /// A TDX guest whose TDREPORT and whose quote name these documents.
    async fn measured_on_tdx(tdreport: [u8; 48], quote: [u8; 48]) -> Result<Measured> {
        let raw = Deployment::render(&settings()).unwrap();
        let root = tempfile::tempdir().unwrap();
        let played = Played { mrconfigid: tdreport, of_the_quote: quote, ..TDX };
        let attester = ConfigfsTsm::open(root.path(), played).unwrap();
        Measured::compare(&raw, |_| Ok(Arc::new(attester)), b"key").await
    }

    fn mrconfigid(last: u8) -> [u8; 48] {
        let mut id = [0; 48];
        id[..32].copy_from_slice(&Sha256::of(&Deployment::render(&settings()).unwrap()).0);
        id[47] = last;
        id
    }

    #[tokio::test]
    async fn quote_with_a_forged_mrconfigid_neither_makes_nor_mends_what_tdreport_names() {
        measured_on_tdx(mrconfigid(0), mrconfigid(0)).await.unwrap();
        // The host's quote names the document; the processor another one.
        let forged = measured_on_tdx([9; 48], mrconfigid(0)).await;
        assert_eq!(forged.unwrap_err().code, Code::DeploymentMismatch);
        // And the other way round: who reads the quote sees to that.
        measured_on_tdx(mrconfigid(0), [9; 48]).await.unwrap();
    }

    #[tokio::test]
    async fn mrconfigid_that_is_more_than_the_digest_and_zeros_or_nothing_refused() {
        let more = measured_on_tdx(mrconfigid(1), mrconfigid(1)).await;
        assert_eq!(more.unwrap_err().code, Code::DeploymentMismatch);
        let none = measured_on_tdx([0; 48], mrconfigid(0)).await;
        assert_eq!(none.unwrap_err().code, Code::DeploymentMissing);
    }

    #[tokio::test]
    async fn hardware_that_names_no_document_refused() {
        let refusal = measured(&settings(), |_| [0; 32]).await.unwrap_err();
        assert_eq!(refusal.code, Code::DeploymentMissing);
    }

    #[tokio::test]
    async fn document_that_is_not_there_or_empty_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deployment.toml");
        let config = format!("listen = ''\nonnxruntime = '/o'\ndeployment = '{}'", path.display());
        let config = Config::parse(config.as_bytes()).unwrap();
        assert_eq!(Measured::measure(&config, b"key").await.unwrap_err().code, Code::DeploymentMissing);
        std::fs::write(&path, "").unwrap();
        assert_eq!(Measured::measure(&config, b"key").await.unwrap_err().code, Code::DeploymentMissing);
    }

    #[tokio::test]
    async fn socket_attester_without_a_socket_refused_and_of_a_vendor_s_realm_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deployment.toml");
        let config = format!("listen = ''\nonnxruntime = '/o'\ndeployment = '{}'", path.display());
        let config = Config::parse(config.as_bytes()).unwrap();
        std::fs::write(&path, Deployment::render(&settings()).unwrap()).unwrap();
        assert_eq!(Measured::measure(&config, b"key").await.unwrap_err().code, Code::ConfigurationInvalid);
        let vendor = Settings { root: Root::Amd, ..settings() };
        std::fs::write(&path, Deployment::render(&vendor).unwrap()).unwrap();
        assert_eq!(Measured::measure(&config, b"key").await.unwrap_err().code, Code::RealmMismatch);
    }
}
