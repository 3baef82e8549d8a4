//! RTMRs of a boot, and the kernel as QEMU gives it to the firmware.

use super::image::Pe;
use super::launch::{SECTIONS, sample};
use crate::DirectBoot;
use crate::Firmware;
use crate::tdx::kernel::{Image, image};
use crate::tdx::{
    InitrdArgument, KernelForm, Launch, Measurements, PageOrder, Register, authenticode, extend, measure, rtmr1, rtmr2,
};
use aws_lc_rs::digest::{SHA384, digest};
use strongroom_wire::{Code, Result};

const GIB: u64 = 1 << 30;
const GIVEN: KernelForm = KernelForm::AsGiven;

fn patched(memory: u64) -> KernelForm {
    KernelForm::Patched { memory: Some(memory) }
}

/// A PE image that is a bzImage too, of boot protocol 2.15, loaded high, with an initrd below 0x7fffffff or, with
/// `anywhere`, below 4 GiB.
fn kernel(anywhere: bool) -> Vec<u8> {
    let mut kernel = Pe::WIDE.bytes();
    let mut put = |at: usize, bytes: &[u8]| kernel[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x202, b"HdrS");
    put(0x206, &0x20f_u16.to_le_bytes());
    put(0x210, &[0, 1]);
    put(0x218, &[0; 8]);
    put(0x224, &[0; 8]);
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x236, &[if anywhere { 3 } else { 1 }, 0]);
    kernel
}

fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest(&SHA384, bytes).as_ref().try_into().unwrap()
}

fn given(boot: &DirectBoot<'_>, form: KernelForm) -> Vec<u8> {
    match image(boot, form).unwrap() {
        Image::Known(image) => image.into_owned(),
        Image::Unknown(because) => panic!("{because}"),
    }
}

/// What a small firmware measures of `boot` whose kernel it gets in a form and whose initrd it names at a place.
fn measured(
    boot: Option<&DirectBoot<'_>>,
    kernel_form: impl Into<Option<KernelForm>>,
    initrd_argument: impl Into<Option<InitrdArgument>>,
) -> Result<Measurements> {
    let image = sample(&SECTIONS).image();
    let launch = Launch {
        page_order: PageOrder::PageByPage,
        kernel_form: kernel_form.into(),
        initrd_argument: initrd_argument.into(),
    };
    measure(&Firmware::parse(&image)?, &launch, boot)
}

fn word(image: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(image[at..at + 4].try_into().unwrap())
}

#[test]
fn header_is_changed_in_the_bytes_that_qemu_writes_and_no_others() {
    let kernel = kernel(true);
    let changed = |initrd| {
        let boot = DirectBoot::new(&kernel, initrd, "quiet").unwrap();
        let image = given(&boot, patched(4 * GIB));
        assert_eq!(
            (image[0x210], image[0x211], word(&image, 0x224), word(&image, 0x228)),
            (0xb0, 0x81, 0xfe00, 0x2_0000)
        );
        (0..image.len()).filter(|at| image[*at] != kernel[*at]).collect::<Vec<_>>()
    };
    // 0xfe00 and 0x20000 have bytes that are zero as they were.
    assert_eq!(changed(None), [0x210, 0x211, 0x225, 0x22a]);
    assert_eq!(changed(Some(b"initrd".as_slice())), [0x210, 0x211, 0x219, 0x21a, 0x21b, 0x21c, 0x225, 0x22a]);
    let boot = DirectBoot::new(&kernel, None, "quiet").unwrap();
    assert_eq!(given(&boot, GIVEN), kernel);
}

#[test]
fn initrd_is_placed_as_high_as_header_and_memory_let_it() {
    let place = |anywhere, memory| {
        let kernel = kernel(anywhere);
        let image = given(&DirectBoot::new(&kernel, Some(&[0; 4097]), "").unwrap(), patched(memory));
        (word(&image, 0x218), word(&image, 0x21c))
    };
    for (anywhere, memory, address) in [
        (true, GIB, 0x3ffd_6000),
        (true, 0xb000_0000 - 4096, 0xaffd_5000),
        (true, 0xb000_0000, 0x7ffd_6000),
        (true, 64 * GIB, 0x7ffd_6000),
        (false, 0xb000_0000 - 4096, 0x7fff_e000),
    ] {
        assert_eq!(place(anywhere, memory), (address, 4097), "{memory:#x}");
    }
}

#[test]
fn initrd_for_which_memory_has_no_room_refused() {
    let kernel = kernel(true);
    let boot = DirectBoot::new(&kernel, Some(&[0; 4096]), "").unwrap();
    assert!(image(&boot, patched(0x2_8000 + 4096 + 2)).is_ok());
    for memory in [0, 0x2_8000, 0x2_8000 + 4096 + 1] {
        assert_eq!(image(&boot, patched(memory)).err().unwrap().code, Code::TooLarge, "{memory:#x}");
    }
}

#[test]
fn kernel_that_qemu_would_not_patch_refused_where_it_is_to_be_patched() {
    let valid = kernel(true);
    for (at, to) in [(0x202, 0), (0x207, 1), (0x206, 1), (0x211, 0)] {
        let mut other = valid.clone();
        other[at] = to;
        // 2.01 is older than what is followed, and so is 1.15.
        if at == 0x206 {
            other[0x207] = 2;
        }
        let boot = DirectBoot::new(&other, None, "").unwrap();
        assert_eq!(measured(Some(&boot), patched(GIB), None).unwrap_err().code, Code::Malformed, "{at:#x}");
        measured(Some(&boot), GIVEN, None).unwrap();
    }
    let boot = DirectBoot::new(&valid[..0x236], None, "").unwrap();
    assert_eq!(image(&boot, patched(GIB)).err().unwrap().code, Code::Malformed);
}

#[test]
fn registers_are_known_as_far_as_the_inputs_reach() {
    let kernel = kernel(true);
    let known = |boot: Option<&DirectBoot<'_>>, form: Option<KernelForm>, argument| {
        let Measurements { rtmr0, rtmr1, rtmr2, rtmr3, .. } = measured(boot, form, argument).unwrap();
        [rtmr0, rtmr1, rtmr2, rtmr3].map(|register| register.known().is_some())
    };
    let without = DirectBoot::new(&kernel, None, "quiet").unwrap();
    let empty = DirectBoot::new(&kernel, Some(b""), "quiet").unwrap();
    let with = DirectBoot::new(&kernel, Some(b"initrd"), "quiet").unwrap();
    let vga = DirectBoot::new(&kernel, None, "quiet vga=ask").unwrap();
    let (given, patched) = (Some(GIVEN), Some(patched(GIB)));
    let unknown_memory = Some(KernelForm::Patched { memory: None });
    let last = Some(InitrdArgument::Last);
    for (boot, form, argument, want) in [
        (None, given, last, [false; 4]),
        (Some(&without), None, None, [false, false, true, false]),
        (Some(&without), unknown_memory, None, [false, true, true, false]),
        (Some(&empty), given, None, [false, true, true, false]),
        (Some(&with), given, None, [false, true, false, false]),
        (Some(&with), given, last, [false, true, true, false]),
        (Some(&with), None, last, [false, false, true, false]),
        (Some(&with), unknown_memory, last, [false, false, true, false]),
        (Some(&with), patched, last, [false, true, true, false]),
        (Some(&vga), patched, None, [false, false, true, false]),
        (Some(&vga), given, None, [false, true, true, false]),
    ] {
        assert_eq!(known(boot, form, argument), want, "{form:?} {argument:?}");
    }
}

#[test]
fn register_that_is_not_known_says_what_decides_it() {
    let kernel = kernel(true);
    let with = DirectBoot::new(&kernel, Some(b"initrd"), "quiet").unwrap();
    let Measurements { rtmr1, rtmr2, .. } = measured(Some(&with), None, None).unwrap();
    assert_eq!(rtmr1, Register::Unknown("without --kernel-form the versions of QEMU and firmware decide it"));
    assert_eq!(rtmr2, Register::Unknown("without --initrd-argument the firmware's version decides it"));
}

#[test]
fn rtmr1_is_the_kernel_and_the_steps_of_the_boot() {
    let kernel = kernel(true);
    let boot = DirectBoot::new(&kernel, Some(b"initrd"), "quiet").unwrap();
    let digest = authenticode(&given(&boot, patched(GIB))).unwrap();
    let mut want = [0; 48];
    for event in [
        digest,
        sha384(b"Calling EFI Application from Boot Option"),
        sha384(&[0; 4]),
        sha384(b"Exit Boot Services Invocation"),
        sha384(b"Exit Boot Services Returned with Success"),
    ] {
        want = sha384(&[want, event].concat());
    }
    assert_eq!(rtmr1(&digest), want);
    assert_eq!(measured(Some(&boot), patched(GIB), None).unwrap().rtmr1, Register::Known(want));
}

#[test]
fn rtmr2_is_the_command_line_in_two_bytes_each_and_the_initrd() {
    let kernel = kernel(true);
    let wide = |text: &str| sha384(&text.bytes().flat_map(|byte| [byte, 0]).collect::<Vec<_>>());
    let initrd = sha384(b"initrd");
    let event = |digest| extend(&[0; 48], &digest);
    let (one, none) = (Some(b"initrd".as_slice()), Some(b"".as_slice()));
    let (first, last) = (Some(InitrdArgument::First), Some(InitrdArgument::Last));
    for (file, command_line, argument, want) in [
        (None, "", None, [0; 48]),
        (None, "quiet", None, event(wide("quiet\0"))),
        (None, "quiet", first, event(wide("quiet\0"))),
        (none, "quiet", last, event(wide("quiet\0"))),
        (one, "quiet", first, extend(&event(wide("initrd=initrd quiet\0")), &initrd)),
        (one, "quiet", last, extend(&event(wide("quiet initrd=initrd\0")), &initrd)),
        (one, "", first, extend(&event(wide("initrd=initrd \0")), &initrd)),
        (one, "", last, extend(&event(wide(" initrd=initrd\0")), &initrd)),
    ] {
        let boot = DirectBoot::new(&kernel, file, command_line).unwrap();
        let rtmr2 = measured(Some(&boot), GIVEN, argument).unwrap().rtmr2;
        assert_eq!(rtmr2, Register::Known(want), "{command_line} {argument:?}");
    }
    assert_eq!(rtmr2(None, None), [0; 48]);
}
