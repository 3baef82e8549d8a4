//! A security processor for guests that have none: it was told at launch what the guest's measurement and HOST_DATA are,
//! and signs reports about it behind a Unix socket ([`strongroom_wire::attester`]). The guest chooses report data alone.

use crate::amd::{Hierarchy, Vek};
use crate::report::ReportSpec;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use strongroom_wire::attester::Quote;
use strongroom_wire::{Refusal, Result};

/// One guest's security processor.
pub struct Psp {
    vek: Vek,
    certificates: Vec<u8>,
    guest: ReportSpec,
}

/// A [`Psp`] that answers on a socket until it is dropped.
pub struct PspServer {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Psp {
    /// The processor of a guest launched as `guest` says, on the chip of `vek`.
    pub fn new(hierarchy: &Hierarchy, vek: Vek, guest: ReportSpec) -> Result<Self> {
        let certificates = hierarchy.certificate_table(&vek)?.encode()?;
        Ok(Self { vek, certificates, guest })
    }

    /// The same of a host that hands its guests no certificates.
    #[must_use]
    pub fn without_certificates(self) -> Self {
        Self { certificates: Vec::new(), ..self }
    }

    /// A report with this report data.
    pub fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
        let spec = ReportSpec { report_data: *report_data, ..self.guest.clone() };
        Ok(Quote { evidence: spec.sign(&self.vek)?, certificates: self.certificates.clone() })
    }

    /// Answers at `path` in a thread of its own.
    pub fn serve(self, path: &Path) -> Result<PspServer> {
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(io)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A guest that breaks off or sends less than 64 bytes gets no answer; the next one does.
                let _ = stream.map_err(Into::into).and_then(|stream| self.answer(stream));
            }
        });
        Ok(PspServer { path: path.to_owned(), stop, thread: Some(thread) })
    }

    fn answer(&self, mut stream: UnixStream) -> core::result::Result<(), Box<dyn std::error::Error>> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut report_data = [0; 64];
        stream.read_exact(&mut report_data)?;
        stream.write_all(&self.quote(&report_data)?.encode()?)?;
        Ok(())
    }
}

impl PspServer {
    /// Where it answers.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PspServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // A last connection wakes the listener. Where its folder is gone nobody can reach it any more, and it is left alone.
        if UnixStream::connect(&self.path).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}
