//! The state in which a vCPU begins: its VMCB save area for SEV-ES (AMD64 Architecture Programmer's Manual, volume 2,
//! publication 24593, table B-4), as each launcher writes it.

use super::{Machine, Vmm};
use crate::chain::{PAGE, put};

/// Where the first vCPU begins: the last 16 bytes below 4 GiB.
pub(super) const RESET_VECTOR: u32 = 0xffff_fff0;

/// A segment register: selector, attributes, limit, base, from low to high addresses.
fn segment(selector: u16, attributes: u16, limit: u32, base: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    put(&mut bytes, 0, &selector.to_le_bytes());
    put(&mut bytes, 2, &attributes.to_le_bytes());
    put(&mut bytes, 4, &limit.to_le_bytes());
    put(&mut bytes, 8, &base.to_le_bytes());
    bytes
}

/// What the launchers differ in.
struct Differences {
    code: u16,
    stack: u16,
    task: u16,
    /// The page attribute table after reset is `0x0007_0406_0007_0406`; Google's differs.
    g_pat: u64,
    /// A processor's signature stands here after reset.
    rdx: u32,
    mxcsr: u32,
    x87_control: u16,
}

impl Differences {
    const fn of(machine: &Machine, start: u32) -> Self {
        let pat = 0x0007_0406_0007_0406;
        match machine.vmm {
            Vmm::Qemu { cpu } => {
                let rdx = cpu.number();
                Self { code: 0x9b, stack: 0x93, task: 0x8b, g_pat: pat, rdx, mxcsr: 0x1f80, x87_control: 0x37f }
            }
            Vmm::Ec2 => {
                let code = if start == RESET_VECTOR { 0x9a } else { 0x9b };
                Self { code, stack: 0x92, task: 0x83, g_pat: pat, rdx: 0x600, mxcsr: 0, x87_control: 0 }
            }
            Vmm::Gce => {
                Self { code: 0x9b, stack: 0x93, task: 0x8b, g_pat: 0x0007_0106, rdx: 0x600, mxcsr: 0, x87_control: 0 }
            }
        }
    }
}

/// The page of a vCPU that begins at `start`: CS has its upper half as base, RIP its lower half.
pub(super) fn page(machine: &Machine, start: u32) -> Vec<u8> {
    let own = Differences::of(machine, start);
    let data = segment(0, 0x93, 0xffff, 0);
    let fields: [(usize, &[u8]); 23] = [
        (0x000, &data),                                                              // ES
        (0x010, &segment(0xf000, own.code, 0xffff, u64::from(start & 0xffff_0000))), // CS
        (0x020, &segment(0, own.stack, 0xffff, 0)),                                  // SS
        (0x030, &data),                                                              // DS
        (0x040, &data),                                                              // FS
        (0x050, &data),                                                              // GS
        (0x060, &segment(0, 0, 0xffff, 0)),                                          // GDTR
        (0x070, &segment(0, 0x82, 0xffff, 0)),                                       // LDTR
        (0x080, &segment(0, 0, 0xffff, 0)),                                          // IDTR
        (0x090, &segment(0, own.task, 0xffff, 0)),                                   // TR
        (0x0d0, &0x1000_u64.to_le_bytes()),                                          // EFER: SVME
        (0x148, &0x40_u64.to_le_bytes()),                                            // CR4: MCE
        (0x158, &0x10_u64.to_le_bytes()),                                            // CR0: ET
        (0x160, &0x400_u64.to_le_bytes()),                                           // DR7
        (0x168, &0xffff_0ff0_u64.to_le_bytes()),                                     // DR6
        (0x170, &0x2_u64.to_le_bytes()),                                             // RFLAGS
        (0x178, &u64::from(start & 0xffff).to_le_bytes()),                           // RIP
        (0x268, &own.g_pat.to_le_bytes()),                                           // G_PAT
        (0x310, &u64::from(own.rdx).to_le_bytes()),                                  // RDX
        (0x3b0, &machine.guest_features.to_le_bytes()),                              // SEV_FEATURES
        (0x3e8, &0x1_u64.to_le_bytes()),                                             // XCR0
        (0x408, &own.mxcsr.to_le_bytes()),                                           // MXCSR
        (0x410, &own.x87_control.to_le_bytes()),                                     // X87_FCW
    ];
    let mut page = vec![0; PAGE];
    for (offset, bytes) in fields {
        put(&mut page, offset, bytes);
    }
    page
}
