//! `strongroom measure tdx`.

use super::reference_values::Destination;
use super::{Boot, Inputs};
use crate::output;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use strongroom_appraisal::{Hex, TdxGuest};
use strongroom_measurement::Firmware;
use strongroom_measurement::tdx::{InitrdArgument, KernelForm, Launch, Measurements, PageOrder, Register, measure};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

#[derive(Args)]
pub(crate) struct Tdx {
    /// The firmware: a whole OVMF image with TDVF metadata, variables included (-bios).
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    #[command(flatten)]
    boot: Boot,
    /// The guest's memory (-m). RTMR1 depends on it where there is an initrd and the kernel is `patched`.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// How many vCPUs (-smp). RTMR0 alone depends on it, which is not computed.
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// How the firmware gets the kernel, and so what it measures into RTMR1, which is unknown without it. `as-given`: as the
    /// file has it, with any firmware under QEMU 10.2 or newer, and with edk2-stable202505 or newer under QEMU 10.0 and 10.1.
    /// `patched`: with the setup header as QEMU fills it in, with older firmware under QEMU up to 10.1, and with any under
    /// QEMU before 10.0.
    #[arg(long, value_name = "FORM", requires = "kernel")]
    kernel_form: Option<Form>,
    /// Where the firmware puts the `initrd=initrd` that it adds to the command line, and so what RTMR2 has, which is unknown
    /// without it where there is an initrd. `first`: before --append, as edk2-stable202508 and newer. `last`: after it, as older
    /// firmware.
    #[arg(long, value_name = "PLACE", requires = "initrd")]
    initrd_argument: Option<Place>,
    /// The order in which the host adds and measures the firmware's pages. `page`: each by itself, as Linux does from 6.16 on.
    /// `section`: all of a section are added before they are measured, as some kernels did before.
    #[arg(long, value_name = "ORDER", default_value = "page")]
    page_order: Order,
    #[command(flatten)]
    destination: Destination,
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    Patched,
    AsGiven,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    First,
    Last,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Page,
    Section,
}

#[derive(Serialize)]
struct Answer<'a> {
    mrtd: Hex<48>,
    /// `rtmr0` to `rtmr3`; one that is not known is null, and `unknown` says why.
    #[serde(flatten)]
    registers: BTreeMap<&'static str, Option<Hex<48>>>,
    unknown: BTreeMap<&'static str, &'static str>,
    inputs: &'a BTreeMap<String, Sha256>,
    reference_values: Option<&'a Path>,
}

pub(super) fn run(arguments: &Tdx, as_json: bool) -> Result<()> {
    let inputs = Inputs::read("firmware", &arguments.firmware, &arguments.boot)?;
    let firmware = Firmware::parse(&inputs.firmware)?;
    let measured = measure(&firmware, &launch(arguments)?, inputs.boot()?.as_ref())?;
    let Measurements { mrtd, rtmr0, rtmr1, rtmr2, rtmr3 } = measured;
    let mrtd = Hex(mrtd);
    let known = |register: &Register| register.known().copied().map(Hex);
    arguments.destination.add_tdx(|label| TdxGuest {
        label,
        mrtd,
        rtmr0: known(&rtmr0),
        rtmr1: known(&rtmr1),
        rtmr2: known(&rtmr2),
        rtmr3: known(&rtmr3),
        deployment: None,
        inputs: inputs.digests.clone(),
    })?;
    let registers = [("rtmr0", rtmr0), ("rtmr1", rtmr1), ("rtmr2", rtmr2), ("rtmr3", rtmr3)];
    if as_json {
        return output::json(&Answer {
            mrtd,
            registers: registers.iter().map(|(name, register)| (*name, known(register))).collect(),
            unknown: registers.iter().filter_map(|(name, register)| Some((*name, why_unknown(register)?))).collect(),
            inputs: &inputs.digests,
            reference_values: arguments.destination.path(),
        });
    }
    let mut rows = vec![vec!["mrtd".to_owned(), mrtd.to_string()]];
    rows.extend(registers.iter().map(|(name, register)| vec![(*name).to_owned(), for_people(register)]));
    rows.extend(inputs.digests.iter().map(|(name, digest)| vec![name.clone(), digest.oci()]));
    output::line(&output::table(&["WHAT", "VALUE"], &rows))
}

fn launch(arguments: &Tdx) -> Result<Launch> {
    let memory = arguments.memory.map(bytes).transpose()?;
    Ok(Launch {
        page_order: match arguments.page_order {
            Order::Page => PageOrder::PageByPage,
            Order::Section => PageOrder::SectionBySection,
        },
        kernel_form: arguments.kernel_form.map(|form| match form {
            Form::Patched => KernelForm::Patched { memory },
            Form::AsGiven => KernelForm::AsGiven,
        }),
        initrd_argument: arguments.initrd_argument.map(|place| match place {
            Place::First => InitrdArgument::First,
            Place::Last => InitrdArgument::Last,
        }),
    })
}

fn bytes(mebibytes: u64) -> Result<u64> {
    let bytes = mebibytes.checked_mul(1024 * 1024);
    bytes.ok_or_else(|| {
        Refusal::new(Code::Usage, "--memory").got(mebibytes).want("mebibytes of memory that a guest may have")
    })
}

const fn why_unknown(register: &Register) -> Option<&'static str> {
    match register {
        Register::Known(_) => None,
        Register::Unknown(because) => Some(because),
    }
}

fn for_people(register: &Register) -> String {
    match register {
        Register::Known(value) => Hex(*value).to_string(),
        Register::Unknown(because) => format!("unknown: {because}"),
    }
}
