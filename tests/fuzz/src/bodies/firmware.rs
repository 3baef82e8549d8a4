//! Firmware images and kernels, from which launch measurements are computed.

use super::choose;
use strongroom_devkit::firmware::{IMAGE, KERNEL};
use strongroom_measurement::tdx::{InitrdArgument, KernelForm, Launch, PageOrder, authenticode};
use strongroom_measurement::{DirectBoot, Firmware, snp, tdx};

pub fn run(input: &[u8]) {
    choose(input, &[launch, domain, kernel, patched]);
}

/// The input, after as many zeros as make whole pages of it: what is read of an image is read from its end.
fn image(input: &[u8]) -> Vec<u8> {
    let missing = input.len().next_multiple_of(4096) - input.len();
    [vec![0; missing], input.to_vec()].concat()
}

/// Of an image every byte counts, and with a kernel the kernel.
fn launch(input: &[u8]) {
    let machine = snp::Machine { vmm: snp::Vmm::Ec2, vcpus: 2, guest_features: 1 };
    let of = |image: &[u8], boot: Option<&DirectBoot<'_>>| snp::measure(&Firmware::parse(image)?, &machine, boot);
    let mut image = image(input);
    let Ok(measurement) = of(&image, None) else { return };
    let kernels = [b"one", b"two"].map(|kernel| DirectBoot::new(kernel, None, "").unwrap());
    if let [Ok(one), Ok(two)] = kernels.map(|boot| of(&image, Some(&boot))) {
        assert!(one != two && one != measurement);
    }
    image[0] ^= 1;
    assert_ne!(of(&image, None).ok(), Some(measurement));
}

fn ordered(page_order: PageOrder) -> Launch {
    Launch {
        page_order,
        kernel_form: Some(KernelForm::Patched { memory: Some(1 << 30) }),
        initrd_argument: Some(InitrdArgument::First),
    }
}

/// The order of pages changes MRTD alone.
fn domain(input: &[u8]) {
    let image = image(input);
    let Ok(firmware) = Firmware::parse(&image) else { return };
    let boot = DirectBoot::new(&KERNEL, None, "quiet").unwrap();
    let of = |order| tdx::measure(&firmware, &ordered(order), Some(&boot));
    let [one, other] = [PageOrder::PageByPage, PageOrder::SectionBySection].map(of);
    let Ok(one) = one else { return };
    assert_eq!(tdx::Measurements { mrtd: one.mrtd, ..other.unwrap() }, one);
}

/// A digest is that of the file without its checksum, which the header places.
fn kernel(input: &[u8]) {
    let Ok(digest) = authenticode(input) else { return };
    let pe = u32::from_le_bytes(input[0x3c..0x40].try_into().unwrap()) as usize;
    let mut changed = input.to_vec();
    changed[pe + 24 + 64] ^= 1;
    assert_eq!(authenticode(&changed).unwrap(), digest);
}

/// What QEMU writes into a header it writes whatever stood there.
fn patched(input: &[u8]) {
    let firmware = Firmware::parse(&IMAGE).unwrap();
    let of = |kernel: &[u8]| {
        let boot = DirectBoot::new(kernel, Some(&KERNEL), "quiet")?;
        tdx::measure(&firmware, &ordered(PageOrder::PageByPage), Some(&boot))
    };
    let Ok(known) = of(input) else { return };
    let mut changed = input.to_vec();
    for at in [0x210, 0x218, 0x228] {
        changed[at] ^= 1;
    }
    assert_eq!(of(&changed).unwrap(), known);
}
