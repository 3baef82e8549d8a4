//! `strongroom model promote`: a promoter says that a model is for an environment.

use super::promoter::Promoter;
use crate::{evidence, files};
use clap::Args;
use std::path::PathBuf;
use strongroom_artifact::promotion::Action;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::Environment;
use strongroom_wire::{Result, limits};

const DAY: u64 = 24 * 60 * 60;

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model promote registry.example/models/embed@sha256:… --to production \\\n    \
    --sign-key operations.key --policy release.toml --verifier https://verifier.example:8444 --verifier-pin $PIN \\\n    \
    --admin-token-file admin.token\n\n\
    A trust file demands it with [rule.promotion]. Of several promoters each runs this once, and joins the first one's sequence."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    promoter: Promoter,
    /// The environment: letters a to z, digits, `-` and `.`.
    #[arg(long, value_name = "ENV", value_parser = Environment::parse)]
    to: Environment,
    /// The release policy that it is promoted under: a verifier counts it under no other.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Days for which it holds.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=30))]
    expires: u64,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let policy = arguments.policy.as_deref().map(|path| files::read(path, limits::POLICY)).transpose()?;
    let expires = evidence::now().saturating_add(arguments.expires.saturating_mul(DAY));
    let policy = policy.as_deref().map(Sha256::of);
    arguments.promoter.say(&arguments.to, Action::Promote { expires, policy }, json)
}
