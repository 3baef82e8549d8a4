//! ONNX Runtime, loaded at run time out of sealed memory and only with the digest that the deployment document names.

use crate::memory::MemoryFile;
use aws_lc_rs::digest::{Context, SHA256};
use ort::environment::Environment;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use strongroom_registry_client::FileSink as _;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// How much of the library is read, hashed and copied at a time.
const CHUNK: usize = 1024 * 1024;

/// The runtime of this process. A process has one.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: Environment,
}

impl Runtime {
    /// Opens `library` once, copies it into memory while hashing it, and loads the copy.
    ///
    /// # Errors
    /// `runtime-mismatch` the digest is not `want`; `runtime-failed` it is no ONNX Runtime of a version that fits, or the
    /// process has one already; `io`, `too-large`.
    pub fn load(library: &Path, want: Sha256) -> Result<Self> {
        let failed = |e: std::io::Error| Refusal::io(library.display(), &e);
        let mut file = File::open(library).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len > limits::RUNTIME_LIBRARY {
            return Err(Refusal::too_large("runtime library", len, limits::RUNTIME_LIBRARY));
        }
        let copy = MemoryFile::create(len)?;
        let got = copy_hashed(&mut file, &copy).map_err(|refusal| refusal.within(library.display()))?;
        if got != want {
            return Err(Refusal::new(Code::RuntimeMismatch, "runtime library").got(got).want(want));
        }
        let copy = copy.seal()?;
        // A message of the loader's can only be about the library, which the operator has.
        let environment = ort::init_from(copy.path())
            .map_err(|e| Refusal::new(Code::RuntimeFailed, "loading the runtime library").because(e))?
            .with_name("strongroom")
            .with_telemetry(false)
            // What the runtime would log quotes shapes, indices and names of the model. Its errors come back as errors.
            .with_logger(Arc::new(|_level, _category, _id, _place, _message| {}))
            .build()
            .map_err(|e| Refusal::new(Code::RuntimeFailed, "starting the runtime").because(e))?;
        Ok(Self { environment })
    }

    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Copies all of `from`, and refuses to find more in it than `to` has room for.
fn copy_hashed(from: &mut File, to: &MemoryFile) -> Result<Sha256> {
    let mut hash = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0u64;
    loop {
        let n = from.read(&mut chunk).map_err(|e| Refusal::io("runtime library", &e))?;
        let read = chunk.get(..n).unwrap_or_default();
        if read.is_empty() {
            return Ok(Sha256::from_finished(&hash.finish()));
        }
        hash.update(read);
        to.write_at(offset, read)?;
        offset = offset.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::setup::setup;
    use std::sync::OnceLock;

    /// The one runtime of a test process.
    pub(crate) fn runtime() -> Option<Runtime> {
        static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
        RUNTIME
            .get_or_init(|| {
                let library = setup("ORT_LIB")?;
                let digest = Sha256::of(&std::fs::read(&library).unwrap());
                Some(Runtime::load(&library, digest).unwrap())
            })
            .clone()
    }

    #[test]
    fn library_with_the_digest_of_the_document_loaded_from_memory() {
        if runtime().is_some() {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            assert!(maps.contains("/memfd:strongroom"));
            assert!(!maps.contains("libonnxruntime"));
        }
    }

    #[test]
    fn library_with_another_digest_refused() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib.so");
        std::fs::write(&library, "not the approved one").unwrap();
        let refusal = Runtime::load(&library, Sha256::of(b"the approved one")).unwrap_err();
        assert_eq!(refusal.code, Code::RuntimeMismatch);
    }

    #[test]
    fn approved_library_that_is_none_refused() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib.so");
        std::fs::write(&library, "no shared object").unwrap();
        let refusal = Runtime::load(&library, Sha256::of(b"no shared object")).unwrap_err();
        assert_eq!(refusal.code, Code::RuntimeFailed);
    }
}
