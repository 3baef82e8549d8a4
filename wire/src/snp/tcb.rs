//! TCB_VERSION: eight bytes whose meaning depends on the product (firmware ABI, "TCB_VERSION").

use core::fmt;
use serde::{Deserialize, Serialize};

/// The security patch levels of a platform's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// FMC, Turin and later only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// BOOT_LOADER.
    pub bootloader: u8,
    /// TEE.
    pub tee: u8,
    /// SNP.
    pub snp: u8,
    /// MICROCODE.
    pub microcode: u8,
}

/// How a product lays its TCB_VERSION out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan, Genoa and their derivatives: boot loader, TEE, four reserved, SNP, microcode.
    MilanGenoa,
    /// Turin and later (family 1Ah): FMC, boot loader, TEE, SNP, three reserved, microcode.
    Turin,
}

impl TcbLayout {
    /// The layout of a report of `version` from a CPU of `family` and `model`. Before version 3 a report names no CPU and
    /// comes from Milan or Genoa only.
    pub const fn of(version: u32, family: u8, _model: u8) -> Self {
        if version >= 3 && family >= 0x1a { Self::Turin } else { Self::MilanGenoa }
    }

    /// The patch levels in `raw`. Reserved bytes are passed over.
    pub const fn read(self, raw: [u8; 8]) -> Tcb {
        let [b0, b1, b2, b3, _, _, b6, b7] = raw;
        match self {
            Self::MilanGenoa => Tcb { fmc: None, bootloader: b0, tee: b1, snp: b6, microcode: b7 },
            Self::Turin => Tcb { fmc: Some(b0), bootloader: b1, tee: b2, snp: b3, microcode: b7 },
        }
    }

    /// The eight bytes of `tcb`, reserved ones zero.
    pub const fn write(self, tcb: &Tcb) -> [u8; 8] {
        match (self, tcb.fmc) {
            (Self::MilanGenoa, _) => [tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode],
            (Self::Turin, Some(fmc)) => [fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode],
            (Self::Turin, None) => [0, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode],
        }
    }
}

impl Tcb {
    /// Whether every component is at least that of `floor`. A floor that names FMC is not met by a TCB without one, nor one
    /// that does not by a TCB that has one: nobody said what that FMC must be.
    pub fn at_least(&self, floor: &Self) -> bool {
        self.fmc.is_some() == floor.fmc.is_some()
            && self.fmc >= floor.fmc
            && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "fmc {fmc} ")?;
        }
        write!(f, "bootloader {} tee {} snp {} microcode {}", self.bootloader, self.tee, self.snp, self.microcode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_as_the_specification_says() {
        let raw = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(TcbLayout::MilanGenoa.read(raw), Tcb { fmc: None, bootloader: 1, tee: 2, snp: 7, microcode: 8 });
        assert_eq!(TcbLayout::Turin.read(raw), Tcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 8 });
        assert_eq!(TcbLayout::of(3, 0x1a, 2), TcbLayout::Turin);
        assert_eq!(TcbLayout::of(3, 0x19, 1), TcbLayout::MilanGenoa);
        assert_eq!(TcbLayout::of(2, 0, 0), TcbLayout::MilanGenoa);
    }

    #[test]
    fn floor_is_met_only_where_every_component_meets_it() {
        let floor = Tcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 5 };
        assert!(floor.at_least(&floor));
        for below in [
            Tcb { fmc: Some(0), ..floor },
            Tcb { fmc: None, ..floor },
            Tcb { bootloader: 1, ..floor },
            Tcb { tee: 2, ..floor },
            Tcb { snp: 3, ..floor },
            Tcb { microcode: 4, ..floor },
        ] {
            assert!(!below.at_least(&floor), "{below}");
        }
        assert!(!floor.at_least(&Tcb { fmc: None, ..floor }));
    }

    #[test]
    fn what_is_read_is_written_back_with_reserved_bytes_zero() {
        let raw = [1, 2, 3, 4, 5, 6, 7, 8];
        let written = |layout: TcbLayout| layout.write(&layout.read(raw));
        assert_eq!(written(TcbLayout::MilanGenoa), [1, 2, 0, 0, 0, 0, 7, 8]);
        assert_eq!(written(TcbLayout::Turin), [1, 2, 3, 4, 0, 0, 0, 8]);
        let without = Tcb { fmc: None, ..TcbLayout::Turin.read(raw) };
        assert_eq!(TcbLayout::Turin.write(&without), [0, 2, 3, 4, 0, 0, 0, 8]);
    }

    #[test]
    fn tcb_is_shown_by_its_components_and_fmc_only_where_there_is_one() {
        let tcb = Tcb { fmc: Some(1), bootloader: 2, tee: 3, snp: 4, microcode: 5 };
        assert_eq!(tcb.to_string(), "fmc 1 bootloader 2 tee 3 snp 4 microcode 5");
        assert_eq!(Tcb { fmc: None, ..tcb }.to_string(), "bootloader 2 tee 3 snp 4 microcode 5");
    }
}
