//! The words of a report whose bits each have a meaning: POLICY ("Guest Policy"), PLATFORM_INFO and the key information
//! ("ATTESTATION_REPORT" of the firmware ABI).

/// POLICY: what the guest's owner allowed at launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO: the state of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

/// Which key signed, and how the chip shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyInfo(pub u32);

/// SIGNING_KEY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own key, derived from chip secrets and TCB.
    Vcek,
    /// A key that AMD gave a cloud provider, of that provider's TCB.
    Vlek,
    /// Unsigned.
    None,
    /// A value that is not defined.
    Other(u32),
}

impl GuestPolicy {
    /// ABI_MINOR and ABI_MAJOR.
    pub const fn abi(self) -> [u8; 2] {
        let [minor, major, ..] = self.0.to_le_bytes();
        [minor, major]
    }
    /// SMT: simultaneous multithreading is allowed.
    pub const fn smt(self) -> bool {
        self.0 & (1 << 16) != 0
    }
    /// MIGRATE_MA: a migration agent may be associated.
    pub const fn migration_agent(self) -> bool {
        self.0 & (1 << 18) != 0
    }
    /// DEBUG: the host may read and write the guest's memory.
    pub const fn debug(self) -> bool {
        self.0 & (1 << 19) != 0
    }
    /// SINGLE_SOCKET: the guest runs on one socket only.
    pub const fn single_socket(self) -> bool {
        self.0 & (1 << 20) != 0
    }
    /// CXL_ALLOW: CXL devices or memory may be present.
    pub const fn cxl(self) -> bool {
        self.0 & (1 << 21) != 0
    }
    /// MEM_AES_256_XTS: memory must be encrypted with AES-256-XTS.
    pub const fn aes_256_xts(self) -> bool {
        self.0 & (1 << 22) != 0
    }
    /// RAPL_DIS: running average power limit must be disabled.
    pub const fn rapl_disabled(self) -> bool {
        self.0 & (1 << 23) != 0
    }
    /// CIPHERTEXT_HIDING_DRAM: ciphertext hiding must be enabled.
    pub const fn ciphertext_hiding(self) -> bool {
        self.0 & (1 << 24) != 0
    }
    /// PAGE_SWAP_DISABLE: the host may not move or swap the guest's pages.
    pub const fn page_swap_disabled(self) -> bool {
        self.0 & (1 << 25) != 0
    }
    /// Bit 17, reserved, must be one.
    pub const fn reserved_one(self) -> bool {
        self.0 & (1 << 17) != 0
    }
    /// The bits from 26 on, reserved, must be zero.
    pub const fn reserved_zero(self) -> u64 {
        self.0 & !0x03ff_ffff
    }
    /// The names of the bits that are set, bit 17 and the ABI version aside. A bit without a name is called by its number.
    pub fn names(self) -> Vec<String> {
        let named = [
            (16, "SMT"),
            (18, "MIGRATE_MA"),
            (19, "DEBUG"),
            (20, "SINGLE_SOCKET"),
            (21, "CXL_ALLOW"),
            (22, "MEM_AES_256_XTS"),
            (23, "RAPL_DIS"),
            (24, "CIPHERTEXT_HIDING_DRAM"),
            (25, "PAGE_SWAP_DISABLE"),
        ];
        bit_names(self.0 & !0x2_ffff, &named)
    }
}

impl PlatformInfo {
    /// SMT_EN.
    pub const fn smt(self) -> bool {
        self.0 & 1 != 0
    }
    /// TSME_EN.
    pub const fn tsme(self) -> bool {
        self.0 & (1 << 1) != 0
    }
    /// ECC_EN.
    pub const fn ecc(self) -> bool {
        self.0 & (1 << 2) != 0
    }
    /// RAPL_DIS.
    pub const fn rapl_disabled(self) -> bool {
        self.0 & (1 << 3) != 0
    }
    /// CIPHERTEXT_HIDING_DRAM_EN.
    pub const fn ciphertext_hiding(self) -> bool {
        self.0 & (1 << 4) != 0
    }
    /// ALIAS_CHECK_COMPLETE.
    pub const fn alias_check(self) -> bool {
        self.0 & (1 << 5) != 0
    }
    /// The names of the bits that are set. A bit without a name is called by its number.
    pub fn names(self) -> Vec<String> {
        let named = [
            (0, "SMT_EN"),
            (1, "TSME_EN"),
            (2, "ECC_EN"),
            (3, "RAPL_DIS"),
            (4, "CIPHERTEXT_HIDING_DRAM_EN"),
            (5, "ALIAS_CHECK_COMPLETE"),
            (7, "TIO_EN"),
        ];
        bit_names(self.0, &named)
    }
}

impl KeyInfo {
    /// AUTHOR_KEY_EN: AUTHOR_KEY_DIGEST is meaningful.
    pub const fn author_key(self) -> bool {
        self.0 & 1 != 0
    }
    /// MASK_CHIP_KEY: CHIP_ID is zero.
    pub const fn chip_key_masked(self) -> bool {
        self.0 & 2 != 0
    }
    /// SIGNING_KEY.
    pub const fn signing_key(self) -> SigningKey {
        match (self.0 >> 2) & 7 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            other => SigningKey::Other(other),
        }
    }
}

fn bit_names(bits: u64, named: &[(u32, &str)]) -> Vec<String> {
    let set = (0..u64::BITS).filter(|bit| bits & (1 << bit) != 0);
    let name = |bit| {
        named.iter().find(|(at, _)| *at == bit).map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
    };
    set.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Reader<T> = (u32, fn(T) -> bool);

    #[test]
    fn each_bit_of_the_guest_policy_answers_to_its_name_alone() {
        let readers: [Reader<GuestPolicy>; 10] = [
            (16, GuestPolicy::smt),
            (17, GuestPolicy::reserved_one),
            (18, GuestPolicy::migration_agent),
            (19, GuestPolicy::debug),
            (20, GuestPolicy::single_socket),
            (21, GuestPolicy::cxl),
            (22, GuestPolicy::aes_256_xts),
            (23, GuestPolicy::rapl_disabled),
            (24, GuestPolicy::ciphertext_hiding),
            (25, GuestPolicy::page_swap_disabled),
        ];
        for bit in 0..64 {
            let policy = GuestPolicy(1 << bit);
            let answering: Vec<u32> = readers.iter().filter(|(_, read)| read(policy)).map(|(at, _)| *at).collect();
            assert_eq!(answering, if (16..26).contains(&bit) { vec![bit] } else { vec![] });
            assert_eq!(policy.reserved_zero() != 0, bit >= 26, "{bit}");
            assert_eq!(policy.names().len(), usize::from(bit == 16 || bit > 17), "{bit}");
        }
        assert_eq!(GuestPolicy(0x3_1f05).abi(), [5, 31]);
        assert_eq!(GuestPolicy(0x3_1f05 | 1 << 19 | 1 << 40).names(), ["SMT", "DEBUG", "bit 40"]);
    }

    #[test]
    fn each_bit_of_the_platform_answers_to_its_name_alone() {
        let readers: [Reader<PlatformInfo>; 6] = [
            (0, PlatformInfo::smt),
            (1, PlatformInfo::tsme),
            (2, PlatformInfo::ecc),
            (3, PlatformInfo::rapl_disabled),
            (4, PlatformInfo::ciphertext_hiding),
            (5, PlatformInfo::alias_check),
        ];
        for bit in 0..64 {
            let answering: Vec<u32> =
                readers.iter().filter(|(_, read)| read(PlatformInfo(1 << bit))).map(|(at, _)| *at).collect();
            assert_eq!(answering, if bit < 6 { vec![bit] } else { vec![] });
        }
        assert_eq!(PlatformInfo(0x65).names(), ["SMT_EN", "ECC_EN", "ALIAS_CHECK_COMPLETE", "bit 6"]);
    }

    #[test]
    fn each_bit_of_the_key_information_answers_to_its_name_alone() {
        for bit in 0..32 {
            let info = KeyInfo(1 << bit);
            assert_eq!((info.author_key(), info.chip_key_masked()), (bit == 0, bit == 1), "{bit}");
            let other = if (2..5).contains(&bit) { 1 << (bit - 2) } else { 0 };
            let want = match other {
                0 => SigningKey::Vcek,
                1 => SigningKey::Vlek,
                other => SigningKey::Other(other),
            };
            assert_eq!(info.signing_key(), want, "{bit}");
        }
        assert_eq!(KeyInfo(7 << 2).signing_key(), SigningKey::None);
        assert_eq!(KeyInfo(6 << 2).signing_key(), SigningKey::Other(6));
        assert_eq!(KeyInfo(u32::MAX).signing_key(), SigningKey::None);
    }
}
