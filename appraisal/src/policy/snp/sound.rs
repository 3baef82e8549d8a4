//! Whether every field of the `[snp]` section says something.

use super::SnpPolicy;
use crate::policy::{Floor, Rule};

impl SnpPolicy {
    pub(in crate::policy) fn is_sound(&self) -> bool {
        let switches = [
            &self.debug,
            &self.migration_agent,
            &self.smt_allowed,
            &self.single_socket,
            &self.cxl,
            &self.aes_256_xts,
            &self.page_swap_disabled,
            &self.smt,
            &self.tsme,
            &self.ecc,
            &self.rapl_disabled,
            &self.ciphertext_hiding,
            &self.alias_check,
            &self.revocation_list,
        ];
        let values = [
            self.deployment.is_sound(),
            self.chip.is_sound(),
            self.cpuid.is_sound(),
            self.vmpl.is_sound(),
            self.firmware.is_sound(),
            self.abi.is_sound(),
            self.guest_svn.is_sound(),
            self.crl_number.is_sound(),
            self.crl_age.is_sound(),
        ];
        let digests = [&self.measurement, &self.id_key_digest, &self.author_key_digest];
        let ids = [&self.family_id, &self.image_id];
        let mitigations = [&self.launch_mitigations, &self.current_mitigations];
        switches.into_iter().all(Rule::is_sound)
            && values.into_iter().all(|sound| sound)
            && digests.into_iter().all(Rule::is_sound)
            && ids.into_iter().all(Rule::is_sound)
            && [&self.product, &self.provider].into_iter().flatten().all(Rule::is_sound)
            && mitigations.into_iter().all(|floor| floor.is_sound() && !demands_nothing(floor))
            && self.has_sound_floors()
    }

    /// Patch levels of different products are different scales, so a floor goes with exactly one product.
    fn has_sound_floors(&self) -> bool {
        let own = [&self.committed_tcb, &self.current_tcb, &self.launch_tcb];
        let mut floors = own.into_iter().flatten().chain([&self.tcb]);
        let one_product = matches!(self.product, Some(Rule::Exactly(_)));
        floors.all(|floor| match floor {
            Floor::AtLeast(_) => one_product,
            Floor::ReferenceValues(_) | Floor::Any { .. } => floor.is_sound(),
        })
    }
}

/// A list of no bits looks like a demand and is none.
fn demands_nothing(floor: &Floor<super::BitSet>) -> bool {
    matches!(floor, Floor::AtLeast(bits) if bits.is_empty())
}
