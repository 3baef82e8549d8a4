//! A security processor played by another process behind a Unix socket ([`strongroom_wire::attester`]). Nobody but a test
//! root signs for it, and deployment documents name it with a test root only.

use super::Attester;
use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use strongroom_wire::attester::{LONGEST_ANSWER, Quote};
use strongroom_wire::{Code, Refusal, Result};

/// The longest silence: a real processor answers in milliseconds, a loaded test machine in seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The processor behind a socket.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// The processor behind the socket at `path`; nothing is connected yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn exchange(&self, report_data: &[u8; 64]) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(report_data)?;
        let mut answer = Vec::new();
        let most = u64::try_from(LONGEST_ANSWER).unwrap_or(u64::MAX).saturating_add(1);
        stream.take(most).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

impl Attester for Socket {
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
        let answer = self.exchange(report_data).map_err(|error| {
            Refusal::new(Code::AttesterFailed, format!("attester socket `{}`", self.path.display())).because(error)
        })?;
        if answer.len() > LONGEST_ANSWER {
            let got = format!("more than {LONGEST_ANSWER}");
            return Err(Refusal::too_large("attester answer", got, LONGEST_ANSWER));
        }
        Quote::parse(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Answers one connection with `answer`, after the 64 bytes, and gives these back.
    fn processor(answer: Vec<u8>) -> (tempfile::TempDir, Socket, thread::JoinHandle<[u8; 64]>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("psp");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut report_data = [0; 64];
            stream.read_exact(&mut report_data).unwrap();
            // A caller that has read enough may be gone before all is written.
            drop(stream.write_all(&answer));
            report_data
        });
        (folder, Socket::new(&path), asked)
    }

    #[test]
    fn report_data_goes_in_and_evidence_comes_back() {
        let quote = Quote { evidence: vec![1, 2, 3], certificates: vec![4] };
        let (_folder, socket, asked) = processor(quote.encode().unwrap());
        assert_eq!(socket.quote(&[7; 64]).unwrap(), quote);
        assert_eq!(asked.join().unwrap(), [7; 64]);
    }

    #[test]
    fn answer_that_is_cut_refused() {
        let mut answer = Quote { evidence: vec![1, 2, 3], certificates: vec![4] }.encode().unwrap();
        answer.pop();
        let (_folder, socket, _asked) = processor(answer);
        assert_eq!(socket.quote(&[7; 64]).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn answer_over_the_limit_refused() {
        let (_folder, socket, _asked) = processor(vec![0; LONGEST_ANSWER + 1]);
        assert_eq!(socket.quote(&[7; 64]).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn socket_that_nobody_listens_on_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = Socket::new(&folder.path().join("none")).quote(&[7; 64]).unwrap_err();
        assert_eq!(refusal.code, Code::AttesterFailed);
    }
}
