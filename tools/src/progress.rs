//! How far a transfer is: a bar a file on a terminal, a line a file elsewhere, nothing beside a JSON document.

use crate::output;
use core::sync::atomic::{AtomicU64, Ordering};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::Arc;

const BAR: &str = "{bar:24} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>13}  {msg}";

/// Shows transfers on stderr.
pub(crate) enum Progress {
    /// Shows nothing.
    Quiet,
    /// One line for each transfer that ended.
    Lines,
    /// One bar for each transfer under way.
    Bars(MultiProgress),
}

/// One transfer. Any thread may report to it.
#[derive(Clone)]
pub(crate) struct Transfer(Arc<State>);

struct State {
    label: String,
    size: u64,
    done: AtomicU64,
    shown: Shown,
}

enum Shown {
    Nothing,
    Line,
    Bar(ProgressBar),
}

impl Progress {
    /// What suits stderr; nothing where `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Bars(MultiProgress::new()),
            (false, false) => Self::Lines,
        }
    }

    /// A transfer of `size` bytes is about to start.
    pub(crate) fn start(&self, label: String, size: u64) -> Transfer {
        let shown = match self {
            Self::Quiet => Shown::Nothing,
            Self::Lines => Shown::Line,
            Self::Bars(bars) => {
                let bar = ProgressBar::new(size).with_message(label.clone());
                // A test reads the template; were it wrong, a bar of the default style is one too.
                let bar = match ProgressStyle::with_template(BAR) {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                };
                Shown::Bar(bars.add(bar))
            }
        };
        let transfer = Transfer(Arc::new(State { label, size, done: AtomicU64::new(0), shown }));
        transfer.advance(0);
        transfer
    }

    /// Says that `count` bytes of something are done, which has no transfer of its own.
    pub(crate) fn note(&self, label: &str, count: u64) {
        let line = format!("{:>12}  {label}", output::bytes(count));
        match self {
            Self::Quiet => {}
            Self::Lines => output::note(&line),
            // Above the bars. What cannot be shown is not worth failing for.
            Self::Bars(bars) => drop(bars.println(line)),
        }
    }
}

impl Transfer {
    /// `count` more bytes are done. The last ones end the transfer.
    pub(crate) fn advance(&self, count: u64) {
        let state = &*self.0;
        let before = state.done.fetch_add(count, Ordering::Relaxed);
        let ended = before.saturating_add(count) >= state.size && (before < state.size || state.size == 0);
        match &state.shown {
            Shown::Nothing => {}
            Shown::Line if ended => output::note(&format!("{:>12}  {}", output::bytes(state.size), state.label)),
            Shown::Line => {}
            Shown::Bar(bar) if ended => bar.finish(),
            Shown::Bar(bar) if before < state.size => bar.inc(count),
            Shown::Bar(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(size: u64, steps: &[u64]) -> (u64, bool) {
        let bars = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let transfer = Progress::Bars(bars).start("file".to_owned(), size);
        steps.iter().for_each(|step| transfer.advance(*step));
        match &transfer.0.shown {
            Shown::Bar(bar) => (bar.position(), bar.is_finished()),
            _ => (0, false),
        }
    }

    #[test]
    fn bar_ends_with_the_last_byte_and_not_before() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert_eq!(position(10, &[4, 5]), (9, false));
        assert_eq!(position(10, &[4, 6]), (10, true));
        // A statement that comes on top of the listed files does not undo it.
        assert_eq!(position(10, &[10, 3]), (10, true));
        assert_eq!(position(0, &[]), (0, true));
    }
}
