//! The hierarchy that test processes of one build folder share.

use super::{Authority, Hierarchy, crypto};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::RsaKeyPair;
use std::fs;
use std::path::{Path, PathBuf};
use strongroom_wire::{Refusal, Result};

pub(super) fn load_or_generate(product: &str) -> Result<Hierarchy> {
    let folder = build_folder().join(format!("devkit/hierarchy-{product}"));
    if let Ok(hierarchy) = load(product, &folder) {
        return Ok(hierarchy);
    }
    // Written beside and renamed, so that nobody reads half of it. Whoever is first wins; the others read the winner's.
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(|e| Refusal::io(parent.display(), &e))?;
    let fresh = tempfile::tempdir_in(parent).map_err(|e| Refusal::io(parent.display(), &e))?;
    save(&Hierarchy::generate(product)?, fresh.path())?;
    if fs::rename(fresh.path(), &folder).is_ok() {
        let _moved = fresh.keep();
    }
    load(product, &folder)
}

fn build_folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

fn save(hierarchy: &Hierarchy, folder: &Path) -> Result<()> {
    for (name, authority) in [("ark", &hierarchy.ark), ("ask", &hierarchy.ask), ("asvk", &hierarchy.asvk)] {
        let key = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&authority.key).map_err(crypto)?;
        write(&folder.join(format!("{name}.key")), key.as_ref())?;
        write(&folder.join(format!("{name}.der")), &authority.certificate)?;
    }
    Ok(())
}

fn load(product: &str, folder: &Path) -> Result<Hierarchy> {
    let authority = |file: &str, name: String| {
        let key = RsaKeyPair::from_pkcs8(&read(&folder.join(format!("{file}.key")))?).map_err(crypto)?;
        let certificate = read(&folder.join(format!("{file}.der")))?;
        Ok(Authority { key, name, certificate })
    };
    Ok(Hierarchy {
        ark: authority("ark", format!("ARK-{product}"))?,
        ask: authority("ask", format!("SEV-{product}"))?,
        asvk: authority("asvk", format!("SEV-VLEK-{product}"))?,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| Refusal::io(path.display(), &e))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| Refusal::io(path.display(), &e))
}
