//! Google's Tink for Python, which opens the same streams.

use crate::figure::{self, Figure};
use crate::role::KEY;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use strongroom_artifact::DataKey;
use strongroom_artifact::seal::Sealer;
use tempfile::TempDir;

const MIB: usize = 256;
const PLACE: &[u8] = b"place";

/// `ours`, in MiB a second on one core, beside Tink's opening of a file into a file, less what it takes to open an empty one.
/// None, with the reason in the output, where no Python was named or it has no Tink.
pub(crate) fn opening(ours: f64) -> Option<Figure> {
    let Some(python) = figure::arguments().nth(2) else {
        println!("tink skipped: no Python of the peers was named, see `make peers`");
        return None;
    };
    let folder = TempDir::new().unwrap();
    let seal = |name: &str, mib: usize| {
        let mut sealer = Sealer::new(&DataKey::from_file_bytes(&KEY).unwrap(), PLACE, Vec::new()).unwrap();
        (0..mib).for_each(|_| sealer.write(&[0x5a; 1 << 20]).unwrap());
        std::fs::write(folder.path().join(name), sealer.finish().unwrap().out).unwrap();
    };
    seal("empty", 0);
    seal("sealed", MIB);
    let seconds = |name: &str| {
        let began = Instant::now();
        open(&python, &folder.path().join(name), &folder.path().join("opened")).then(|| began.elapsed().as_secs_f64())
    };
    let Some((start, whole)) = seconds("empty").zip(seconds("sealed")) else {
        println!("tink skipped: it does not open, for the reason above");
        return None;
    };
    Some(Figure::new("open-sealed-per-core-beside-python-tink", ours, "MiB/s", MIB as f64 / (whole - start)))
}

fn open(python: &str, sealed: &Path, opened: &Path) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/tink_stream.py");
    let _absent = std::fs::remove_file(opened);
    let mut command = Command::new(python);
    command.arg(script).args(["open", "--key", &hex::encode(KEY), "--aad-hex", &hex::encode(PLACE)]);
    command.args([sealed, opened]).status().is_ok_and(|status| status.success())
}
