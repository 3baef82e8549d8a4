//! How far the boot is, for `/readyz` and the log.

use core::fmt;
use std::time::Instant;
use tokio::sync::watch;

/// The stages of [`crate::boot`], in their order. Each is the one being worked on; `Serving` lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Reading the deployment document and comparing it with the hardware's field.
    Measuring,
    /// Fetching manifests and signatures, and verifying them.
    Pulling,
    /// Attesting to the verifier and receiving keys.
    Attesting,
    /// Opening the models into memory.
    Opening,
    /// Loading them into the runtime.
    Loading,
    /// Answering requests.
    Serving,
    /// No longer whole, or without a lease: what was begun goes on to its end, and then the process ends.
    Failed,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measuring => "measuring",
            Self::Pulling => "pulling",
            Self::Attesting => "attesting",
            Self::Opening => "opening",
            Self::Loading => "loading",
            Self::Serving => "serving",
            Self::Failed => "failed",
        })
    }
}

/// Where the boot says how far it is.
#[derive(Debug)]
pub struct Progress {
    stage: watch::Sender<Stage>,
    entered: Instant,
}

impl Progress {
    /// At [`Stage::Measuring`], and a watch on what follows.
    pub fn start() -> (Self, watch::Receiver<Stage>) {
        let (stage, watched) = watch::channel(Stage::Measuring);
        (Self { stage, entered: Instant::now() }, watched)
    }

    /// Leaves the current stage for `next`, and logs how long it took.
    pub fn enter(&mut self, next: Stage) {
        let done = self.stage.send_replace(next);
        let elapsed = u64::try_from(self.entered.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(%done, milliseconds = elapsed, %next, "boot");
        self.entered = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_see_the_stage_that_was_entered_last() {
        let (mut progress, stage) = Progress::start();
        assert_eq!(*stage.borrow(), Stage::Measuring);
        progress.enter(Stage::Pulling);
        progress.enter(Stage::Attesting);
        assert_eq!(stage.borrow().to_string(), "attesting");
    }
}
