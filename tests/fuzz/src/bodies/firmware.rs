//! Firmware images and kernels, from which launch measurements are computed.

use super::choose;
use strongroom_devkit::firmware::{IMAGE, KERNEL};
use strongroom_measurement::snp::{Machine, Vmm, measure};
use strongroom_measurement::tdx::{KernelForm, PageOrder, Registers, Tdvf, authenticode};
use strongroom_measurement::{DirectBoot, Firmware};

pub fn run(input: &[u8]) {
    choose(input, &[snp, tdx, kernel, patched]);
}

/// The input, after as many zeros as make whole pages of it: what is read of an image is read from its end.
fn image(input: &[u8]) -> Vec<u8> {
    let missing = input.len().next_multiple_of(4096) - input.len();
    [vec![0; missing], input.to_vec()].concat()
}

/// Of an image every byte counts, and with a kernel the kernel.
fn snp(input: &[u8]) {
    let machine = Machine { vmm: Vmm::Ec2, vcpus: 2, guest_features: 1 };
    let of = |image: &[u8], boot: Option<&DirectBoot<'_>>| measure(&Firmware::parse(image)?, &machine, boot);
    let mut image = image(input);
    let Ok(measurement) = of(&image, None) else { return };
    let kernels = [b"one", b"two"].map(|kernel| DirectBoot::new(kernel, None, "").unwrap());
    if let [Ok(one), Ok(two)] = kernels.map(|boot| of(&image, Some(&boot))) {
        assert!(one != two && one != measurement);
    }
    image[0] ^= 1;
    assert_ne!(of(&image, None).ok(), Some(measurement));
}

/// The order of pages is the same thing where nothing is measured twice over.
fn tdx(input: &[u8]) {
    let image = image(input);
    let Ok(firmware) = Firmware::parse(&image) else { return };
    let Ok(tdvf) = Tdvf::parse(&firmware) else { return };
    let [one, other] = [PageOrder::PageByPage, PageOrder::SectionBySection].map(|order| tdvf.mrtd(order));
    if image.len() == 4096 && image == *IMAGE {
        assert_eq!(one, other);
    }
}

/// A digest is that of the file without its checksum, which the header places.
fn kernel(input: &[u8]) {
    let Ok(digest) = authenticode(input) else { return };
    let pe = u32::from_le_bytes(input[0x3c..0x40].try_into().unwrap()) as usize;
    let mut changed = input.to_vec();
    changed[pe + 24 + 64] ^= 1;
    assert_eq!(authenticode(&changed).unwrap(), digest);
}

/// What QEMU writes into a header it writes whatever stood there, but for a flag.
fn patched(input: &[u8]) {
    let registers = |kernel: &[u8]| {
        let boot = DirectBoot::new(kernel, Some(&KERNEL), "quiet")?;
        Registers::of(Some(&boot), KernelForm::Patched { memory: Some(1 << 30) })
    };
    let Ok(known) = registers(input) else { return };
    let mut changed = input.to_vec();
    changed[0x210] ^= 1;
    changed[0x218] ^= 1;
    changed[0x228] ^= 1;
    if let Ok(changed) = registers(&changed) {
        assert_eq!(changed, known);
    }
}
