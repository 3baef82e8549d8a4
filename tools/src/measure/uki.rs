//! `strongroom measure uki`.

use crate::{files, output};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use strongroom_appraisal::Hex;
use strongroom_measurement::uki::{Measurements, measure};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Result, limits};

#[derive(Args)]
pub(crate) struct Uki {
    /// The image, as `make image` writes it (`strongroom.efi`).
    #[arg(long, value_name = "FILE")]
    uki: PathBuf,
}

pub(super) fn run(arguments: &Uki, as_json: bool) -> Result<()> {
    let image = files::read(&arguments.uki, limits::GUEST_KERNEL)?;
    let Measurements { authenticode, pcrs } = measure(&image)?;
    let digest = Sha256::of(&image);
    if as_json {
        let pcrs: BTreeMap<String, Hex<32>> =
            pcrs.iter().map(|(number, value)| (number.to_string(), Hex(value.0))).collect();
        return output::json(&json!({ "authenticode": authenticode, "pcr": pcrs, "inputs": { "uki": digest } }));
    }
    let mut rows = vec![vec!["authenticode".to_owned(), authenticode.to_string()]];
    rows.extend(pcrs.iter().map(|(number, value)| vec![format!("pcr {number}"), value.to_string()]));
    rows.push(vec!["uki".to_owned(), digest.oci()]);
    output::line(&output::table(&["WHAT", "VALUE"], &rows))
}
