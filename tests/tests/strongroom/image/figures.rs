//! How long a boot takes and how large the image is, as figures of `make bench` where that asks for them.

#[path = "../../../benches/figure.rs"]
#[expect(dead_code, clippy::print_stdout, reason = "benches print theirs too")]
mod figure;

use figure::Figure;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The file that the figures are written to. Absent: nobody asks.
const ASKED: &str = "BOOT_FIGURES";

/// Of a machine without acceleration, which is slower than any other: what is compared is the parts, and one commit with another. When the
/// first process said its first line, the enclave was started, and the model was served, by the host's clock: that of such a machine
/// is not true to a tenth.
pub(super) fn publish(image: &Path, [first, begins, ready]: [Duration; 3]) {
    let Some(path) = std::env::var_os(ASKED) else { return };
    let [first, begins, ready] = [first, begins, ready].map(|at| at.as_secs_f64());
    let mib = |name: &str| fs::metadata(image.join(name)).unwrap().len() as f64 / f64::from(1 << 20);
    let count = fs::read_to_string(image.join("files.txt")).unwrap().lines().count();
    let figures = [
        Figure::new("image: archive", mib("initramfs.cpio"), "MiB", None),
        Figure::new("image: kernel", mib("vmlinuz"), "MiB", None),
        Figure::new("image: entries of the archive", count as f64, "entries", None),
        Figure::new("boot, emulated: QEMU, firmware and kernel", first, "s", None),
        Figure::new("boot, emulated: first process, to the enclave", begins - first, "s", None),
        Figure::new("boot, emulated: enclave, to a model served", ready - begins, "s", None),
        Figure::new("boot, emulated: all of it", ready, "s", None),
    ];
    figure::write(&figures, Path::new(&path));
}
