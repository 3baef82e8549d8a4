//! `strongroom inventory sign|verify|show`: which machines are ours, for policies that name whoever keeps the list.

use crate::output;
use crate::signed::{Shown, Sign, Verify, heading, show, sign, verify};
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_wire::Result;
use strongroom_wire::inventory::{Inventory, Machine};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign an inventory of machines, or add a signature to one that others signed.
    ///
    /// FILE is the JSON document: `v` 1, `name`, `version` (which grows with every change), `issued` and `expires` in seconds
    /// since 1970, at most a leap year apart, and `machines`, each with `chip` (SNP), or `ppid` or `platform-instance` (TDX), in
    /// hex, where it stands (`zone`, which policies may ask about), and where it is not for good `from` and `until`. What is written is what --inventory takes.
    #[command(after_help = "Example:\n  strongroom inventory sign fleet.json --key keeper.key --out fleet.dsse")]
    Sign(Sign),
    /// Verify an inventory's signatures, dates and version.
    #[command(
        after_help = "Example:\n  strongroom inventory verify fleet.dsse --public-key keeper.pub --name fleet --state seen.json"
    )]
    Verify(Verify),
    /// Show what an inventory says. Verifies nothing.
    #[command(after_help = "Example:\n  strongroom inventory show fleet.dsse")]
    Show {
        /// The JSON document, or what was signed.
        file: PathBuf,
    },
}

pub(crate) fn run(command: &Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Sign(arguments) => sign::<Inventory>(arguments, json)?,
        Command::Verify(arguments) => verify::<Inventory>(arguments, json)?,
        Command::Show { file } => show::<Inventory>(file, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Shown for Inventory {
    const MEMBER: &'static str = "inventory";

    fn for_people(&self) -> String {
        let rows: Vec<_> = self.machines.iter().flat_map(rows).collect();
        heading(self) + &output::table(&["MACHINE", "ZONE", "ID", "FROM", "UNTIL", "VALUE"], &rows)
    }
}

/// A row for each of its ids.
fn rows(machine: &Machine) -> Vec<Vec<String>> {
    let from = if machine.from == 0 { "-".to_owned() } else { output::utc(machine.from) };
    let until = if machine.until == u64::MAX { "-".to_owned() } else { output::utc(machine.until) };
    let ids = [
        ("chip", machine.chip.map(hex::encode)),
        ("ppid", machine.ppid.map(hex::encode)),
        ("platform-instance", machine.platform_instance.map(hex::encode)),
    ];
    let row = |(id, value): (&str, Option<String>)| {
        let zone = machine.zone.clone().unwrap_or_else(|| "-".to_owned());
        Some(vec![machine.label.clone(), zone, id.to_owned(), from.clone(), until.clone(), value?])
    };
    ids.into_iter().filter_map(row).collect()
}
