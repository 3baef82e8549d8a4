//! The deployment document, as the host hands it over. Nobody vouches for it here: the enclave compares its digest with the
//! hardware's field.

use crate::cloud::Cloud;
use crate::metadata;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};

/// QEMU's `-fw_cfg name=opt/org.strongroom/deployment,file=…`.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.strongroom/deployment/raw";
/// The first virtio disk: the document from its first byte to the first NUL.
const DISK: &str = "/dev/vda";
/// Where the enclave's configuration looks for it.
const TO: &str = "/run/deployment.toml";

/// Puts the document where the enclave reads it, and says where it was: with the cloud, where the command line names one, and nowhere else.
///
/// # Errors
/// `deployment-missing` it is in neither place, or the cloud has none; `network`; `too-large`; `io`.
pub fn deliver(cloud: Option<Cloud>) -> Result<String> {
    let (from, document) = chosen(cloud, metadata::document, [Path::new(FW_CFG), Path::new(DISK)])?;
    fs::write(TO, &document).map_err(|e| Refusal::io(TO, &e))?;
    Ok(format!("{} bytes from {from}", document.len()))
}

/// A cloud that is named has it, and where none is, one of the places.
fn chosen(
    cloud: Option<Cloud>,
    ask: impl FnOnce(Cloud) -> Result<Vec<u8>>,
    places: [&Path; 2],
) -> Result<(String, Vec<u8>)> {
    match cloud {
        Some(cloud) => Ok((format!("the metadata service of {}", cloud.name()), bounded(ask(cloud)?)?)),
        None => read(places).map(|(from, document)| (from.display().to_string(), document)),
    }
}

/// The first place that is there has it.
fn read(places: [&Path; 2]) -> Result<(&Path, Vec<u8>)> {
    let Some(place) = places.into_iter().find(|place| place.exists()) else {
        return Err(Refusal::new(Code::DeploymentMissing, "deployment document")
            .got("neither fw_cfg `opt/org.strongroom/deployment` nor a virtio disk")
            .want("one of them"));
    };
    let most = u64::try_from(limits::DEPLOYMENT).unwrap_or(u64::MAX).saturating_add(1);
    let mut document = Vec::new();
    let file = File::open(place).map_err(|e| Refusal::io(place.display(), &e))?;
    file.take(most).read_to_end(&mut document).map_err(|e| Refusal::io(place.display(), &e))?;
    // What a disk has after it; the document is text.
    document.truncate(document.iter().position(|byte| *byte == 0).unwrap_or(document.len()));
    Ok((place, bounded(document)?))
}

fn bounded(document: Vec<u8>) -> Result<Vec<u8>> {
    if document.len() > limits::DEPLOYMENT {
        let got = format!("more than {}", limits::DEPLOYMENT);
        return Err(Refusal::too_large("deployment document", got, limits::DEPLOYMENT));
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_place_is_read_and_without_any_the_document_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["raw", "vda"].map(|name| folder.path().join(name));
        let places = || [first.as_path(), second.as_path()];
        assert_eq!(read(places()).unwrap_err().code, Code::DeploymentMissing);
        fs::write(&second, b"version = 1\n\0\0rest of the disk").unwrap();
        assert_eq!(read(places()).unwrap(), (second.as_path(), b"version = 1\n".to_vec()));
        fs::write(&first, b"version = 2\n").unwrap();
        assert_eq!(read(places()).unwrap(), (first.as_path(), b"version = 2\n".to_vec()));
    }

    #[test]
    fn cloud_is_asked_where_it_is_named_and_nowhere_else_and_then_nothing_else_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("raw");
        fs::write(&place, b"of the host").unwrap();
        let of = |cloud, answer: Result<&[u8]>| {
            let asked = |_| answer.map(<[u8]>::to_vec);
            chosen(cloud, asked, [&place, &place]).map(|(_, document)| document).map_err(|refusal| refusal.code)
        };
        assert_eq!(of(Some(Cloud::Aws), Ok(b"of the cloud")), Ok(b"of the cloud".to_vec()));
        let missing = || Refusal::new(Code::DeploymentMissing, "metadata service");
        assert_eq!(of(Some(Cloud::Aws), Err(missing())), Err(Code::DeploymentMissing));
        assert_eq!(of(None, Ok(b"of the cloud")), Ok(b"of the host".to_vec()));
    }

    #[test]
    fn document_at_its_limit_accepted_and_one_byte_more_refused() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("raw");
        let of = |length: usize| {
            fs::write(&place, vec![b'#'; length]).unwrap();
            read([&place, &place]).map(|(_, document)| document.len()).map_err(|refusal| refusal.code)
        };
        assert_eq!(of(limits::DEPLOYMENT), Ok(limits::DEPLOYMENT));
        assert_eq!(of(limits::DEPLOYMENT + 1), Err(Code::TooLarge));
    }
}
