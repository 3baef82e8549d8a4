//! `strongroom model demote`: one promoter takes a model out of an environment.

use super::promoter::Promoter;
use clap::Args;
use strongroom_artifact::promotion::Action;
use strongroom_wire::Result;
use strongroom_wire::trust::Environment;

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom model demote registry.example/models/embed@sha256:… --from production \\\n    \
    --reason 'leaks its training data' --sign-key operations.key --verifier https://verifier.example:8444 \\\n    \
    --verifier-pin $PIN --admin-token-file admin.token\n\n\
    One promoter is enough, and it has no end: the model comes back when it is promoted again. Tell the verifier: a registry \
    can hide it."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    promoter: Promoter,
    /// The environment.
    #[arg(long, value_name = "ENV", value_parser = Environment::parse)]
    from: Environment,
    /// Why: one line of at most 500 characters, which everybody can read who can read the registry.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    arguments.promoter.say(&arguments.from, Action::Demote { reason: arguments.reason.clone() }, json)
}
