//! Trust files: who may sign which model.

use crate::files;
use clap::Args;
use std::path::{Path, PathBuf};
use strongroom_artifact::verify_signers;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Refusal, Result, limits};

/// By whom a model is to be trusted, and what for.
#[derive(Args)]
pub(crate) struct TrustArguments {
    /// Who may sign this model.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The release policy that the model must be promoted under, where the trust file demands a promotion: one that names
    /// another, or none, does not count.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl TrustArguments {
    /// The trust file, for a model of `repository` (`host[:port]/repo`).
    pub(crate) fn load(&self, repository: &str) -> Result<TrustFile> {
        let mut trust = load(&self.trust)?;
        if let Some(path) = &self.policy {
            demand(&mut trust, repository, Sha256::of(&files::read(path, limits::POLICY)?))?;
        }
        Ok(trust)
    }
}

/// As if `trust` said that the promotion must name `policy`.
fn demand(trust: &mut TrustFile, repository: &str, policy: Sha256) -> Result<()> {
    let Some(promotion) = &trust.rule_for(repository)?.promotion else {
        let refusal = Refusal::new(Code::Usage, "`--policy`").want("a trust file that demands promotions");
        return Err(refusal.got(format!("none are of `{repository}`")));
    };
    if let Some(other) = promotion.policy.filter(|said| *said != policy) {
        let refusal = Refusal::new(Code::PromotionPolicyMismatch, "policy that the trust file demands");
        return Err(refusal.got(other.oci()).want(policy.oci()));
    }
    let promotions = trust.rules.iter_mut().filter_map(|rule| rule.promotion.as_mut());
    promotions.for_each(|promotion| promotion.policy = Some(policy));
    Ok(())
}

/// Reads a trust file whose keys are all usable.
pub(crate) fn load(path: &Path) -> Result<TrustFile> {
    let within = |refusal: Refusal| refusal.within(format!("`{}`", path.display()));
    let trust = TrustFile::parse(&files::read(path, limits::POLICY)?).map_err(within)?;
    verify_signers(&trust).map_err(within)?;
    Ok(trust)
}
