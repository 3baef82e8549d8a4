use super::*;
use crate::sample::{AREA, METADATA, RESET, SEV, Sample, words};
use proptest::prelude::*;

const CPU: u32 = 0x00a0_0f11;
const MEMORY: [u32; 3] = [0x80_0000, 0x2000, 1];
const SECRETS: [u32; 3] = [0x80_d000, 0x1000, 2];
const CPUID: [u32; 3] = [0x80_e000, 0x1000, 3];
const CALLING_AREA: [u32; 3] = [0x80_f000, 0x1000, 4];
const HASHES: [u32; 3] = [0x81_0000, 0x1000, 0x10];
const SECTIONS: [[u32; 3]; 5] = [MEMORY, CPUID, SECRETS, CALLING_AREA, HASHES];

/// A firmware with these sections, and a place for hashes.
fn sample(sections: &[[u32; 3]]) -> Sample {
    let count = u32::try_from(sections.len()).unwrap();
    let header = words(&[u32::from_le_bytes(*b"ASEV"), 16 + 12 * count, 1, count]);
    let metadata = [header, words(&sections.concat())].concat();
    let mut sample = Sample { pages: 2, metadata, entries: vec![] };
    sample.entries = vec![(RESET, words(&[0x0080_b004])), (AREA, words(&[0x81_0c00, 0x400])), (SEV, sample.offset())];
    sample
}

fn machine() -> Machine {
    Machine { vmm: Vmm::Qemu { cpu: CpuSignature::parse("EPYC-Milan").unwrap() }, vcpus: 2, guest_features: 1 }
}

fn boot() -> DirectBoot<'static> {
    DirectBoot::new(b"kernel", Some(b"initrd"), "console=ttyS0").unwrap()
}

fn measured(image: &[u8], machine: &Machine, boot: Option<&DirectBoot<'_>>) -> Result<String> {
    Ok(hex::encode(measure(&Firmware::parse(image)?, machine, boot)?))
}

fn code(sample: &Sample, boot: Option<&DirectBoot<'_>>) -> Code {
    measured(&sample.image(), &machine(), boot).unwrap_err().code
}

#[test]
fn measurements_are_those_of_sev_snp_measure_0_0_13() {
    let image = sample(&SECTIONS).image();
    let (boot, qemu) = (boot(), machine());
    let with = |vmm| Machine { vmm, ..qemu };
    for (machine, boot, want) in [
        (
            qemu,
            None,
            "0123ffa46ddcbc57e189e35ccad37956c9d70d11dace47dc901ee5df6437f12bd1fd10eed69cbc39f39a59008aba65f2",
        ),
        (
            qemu,
            Some(&boot),
            "a01af0a085348571f02b1ff3806072863f69c8e7034de4b495e734e358d958ecf87802b31dd220f55905a24fb5f81e71",
        ),
        (
            with(Vmm::Ec2),
            None,
            "38b4adfe5dee9e9d490a4365238010d3a9c232e8527e9cba5ff513778f8d13a1a672fffe6a51586796aa3db0f31f071c",
        ),
        (
            with(Vmm::Gce),
            None,
            "f9cdf1c66b64f56cb7907eca7c46105f373785dae67e474370eb4bd7b2c77436a63ebd89dba3f96416212ffc28f02d53",
        ),
    ] {
        assert_eq!(measured(&image, &machine, boot).unwrap(), want);
    }
}

#[test]
fn every_input_counts() {
    let (image, machine) = (sample(&SECTIONS).image(), machine());
    let boots = [
        None,
        Some(DirectBoot::new(b"kernel", None, "").unwrap()),
        Some(DirectBoot::new(b"kernel", None, "quiet").unwrap()),
        Some(DirectBoot::new(b"kernel", Some(b"initrd"), "").unwrap()),
        Some(DirectBoot::new(b"kerneL", None, "").unwrap()),
    ];
    let mut all: Vec<_> = boots.iter().map(|boot| measured(&image, &machine, boot.as_ref()).unwrap()).collect();
    let other_cpu = Vmm::Qemu { cpu: CpuSignature::parse("EPYC-Genoa").unwrap() };
    for machine in [
        Machine { vcpus: 3, ..machine },
        Machine { guest_features: 0x21, ..machine },
        Machine { vmm: other_cpu, ..machine },
        Machine { vmm: Vmm::Ec2, ..machine },
        Machine { vmm: Vmm::Gce, ..machine },
    ] {
        all.push(measured(&image, &machine, None).unwrap());
    }
    let mut changed = image.clone();
    changed[0] ^= 1;
    all.push(measured(&changed, &machine, None).unwrap());
    let mut reordered = SECTIONS;
    reordered.swap(0, 1);
    all.push(measured(&sample(&reordered).image(), &machine, None).unwrap());
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn initrd_that_is_empty_is_none_and_so_is_an_empty_command_line() {
    let image = sample(&SECTIONS).image();
    let of = |boot: DirectBoot<'_>| measured(&image, &machine(), Some(&boot)).unwrap();
    let [absent, empty] =
        [None, Some(b"".as_slice())].map(|initrd| of(DirectBoot::new(b"kernel", initrd, "").unwrap()));
    assert_eq!(absent, empty);
}

#[test]
fn firmware_without_what_snp_needs_is_not_measurable() {
    let valid = sample(&SECTIONS);
    measured(&valid.image(), &machine(), None).unwrap();
    for guid in [SEV, RESET] {
        let mut without = sample(&SECTIONS);
        without.entries.retain(|(known, _)| *known != guid);
        assert_eq!(code(&without, None), Code::FirmwareNotMeasurable);
    }
}

#[test]
fn kernel_is_measured_where_its_hashes_have_a_place_and_refused_where_not() {
    let boot = boot();
    measured(&sample(&SECTIONS).image(), &machine(), Some(&boot)).unwrap();
    let without_section = sample(&SECTIONS[..4]);
    let mut without_entry = sample(&SECTIONS);
    without_entry.entries.retain(|(guid, _)| *guid != AREA);
    let mut of_zero = sample(&SECTIONS);
    of_zero.entries[1].1 = words(&[0, 0]);
    for firmware in [without_section, without_entry, of_zero] {
        assert_eq!(code(&firmware, Some(&boot)), Code::KernelNotMeasurable);
        measured(&firmware.image(), &machine(), None).unwrap();
    }
}

#[test]
fn place_for_hashes_that_is_not_in_the_measured_page_refused() {
    let boot = boot();
    let at = |address, size| {
        let mut firmware = sample(&SECTIONS);
        firmware.entries[1].1 = words(&[address, size]);
        firmware
    };
    measured(&at(0x81_0f50, 176).image(), &machine(), Some(&boot)).unwrap();
    for (address, size) in [(0x81_0f51, 176), (0x81_0f50, 175), (0x80_fff0, 0x400), (0x81_1000, 0x400)] {
        assert_eq!(code(&at(address, size), Some(&boot)), Code::Malformed, "{size:#x} at {address:#x}");
    }
}

#[test]
fn metadata_that_no_launcher_would_follow_refused() {
    let word = |at: usize, to: u32| {
        let mut firmware = sample(&SECTIONS);
        firmware.metadata[4 * at..4 * at + 4].copy_from_slice(&to.to_le_bytes());
        firmware
    };
    // Signature, length, version, count, and of the first section address, size and type.
    for (at, to, want) in [
        (0, 0, Code::Malformed),
        (1, 75, Code::Malformed),
        (2, 2, Code::VersionUnsupported),
        (3, 4, Code::Malformed),
        (3, 65, Code::TooLarge),
        (4, 0x80_0001, Code::Malformed),
        (5, 0x1001, Code::Malformed),
        (5, 0x1000_1000, Code::TooLarge),
        (6, 5, Code::Malformed),
    ] {
        assert_eq!(code(&word(at, to), None), want, "word {at} as {to:#x}");
    }
    for kind in [2, 3, 0x10] {
        assert_eq!(code(&sample(&[[0x80_0000, 0x2000, kind]]), None), Code::Malformed, "two pages of type {kind}");
        let twice = [[0x80_0000, 0x1000, kind], [0x80_1000, 0x1000, kind]];
        assert_eq!(code(&sample(&twice), None), Code::Malformed, "type {kind} twice");
        measured(&sample(&twice[..1]).image(), &machine(), None).unwrap();
    }
    let mut cut = sample(&SECTIONS);
    cut.entries[2].1 = words(&[20]);
    assert_eq!(code(&cut, None), Code::Malformed);
}

#[test]
fn section_of_no_bytes_adds_nothing() {
    let with = sample(&[MEMORY, [0, 0, 4], [0, 0, 1]]).image();
    let mut without = with.clone();
    // The same image but for the two sections that are empty: count and length say one.
    without[METADATA + 4..METADATA + 8].copy_from_slice(&28_u32.to_le_bytes());
    without[METADATA + 12..METADATA + 16].copy_from_slice(&1_u32.to_le_bytes());
    let sections = |image: &[u8]| {
        let metadata = Metadata::parse(&Firmware::parse(image).unwrap()).unwrap();
        metadata.sections.iter().flat_map(|section| section.pages.addresses()).collect::<Vec<_>>()
    };
    assert_eq!(sections(&with), sections(&without));
}

#[test]
fn machine_that_does_not_exist_refused() {
    let image = sample(&SECTIONS).image();
    let code = |machine| measured(&image, &machine, None).unwrap_err().code;
    for vcpus in [1, limits::VCPUS] {
        measured(&image, &Machine { vcpus, ..machine() }, None).unwrap();
    }
    for vcpus in [0, limits::VCPUS + 1] {
        assert_eq!(code(Machine { vcpus, ..machine() }), Code::Usage);
    }
    measured(&image, &Machine { guest_features: 0x21, ..machine() }, None).unwrap();
    assert_eq!(code(Machine { guest_features: 0x20, ..machine() }), Code::Usage);
}

#[test]
fn processor_of_the_machine_is_in_qemus_vcpus_alone() {
    let page = |vmm| vmsa::page(&Machine { vmm, ..machine() }, vmsa::RESET_VECTOR);
    let rdx = |page: &[u8]| u64::from_le_bytes(page[0x310..0x318].try_into().unwrap());
    assert_eq!(rdx(&page(machine().vmm)), u64::from(CPU));
    assert_eq!([Vmm::Ec2, Vmm::Gce].map(|vmm| rdx(&page(vmm))), [0x600; 2]);
}

proptest! {
    #[test]
    fn image_with_changed_metadata_panics_nowhere(at in 0_usize..80, to in any::<u8>(), kernel in any::<bool>()) {
        let mut image = sample(&SECTIONS).image();
        image[METADATA + at] = to;
        let boot = boot();
        let _ = measured(&image, &machine(), kernel.then_some(&boot));
    }
}
