//! `[[tdx.event]]`: single events of a log that was replayed to the quote's registers.

use super::{Hex, Rule};
use serde::Deserialize;
use strongroom_wire::event_log::EventType;

/// An event that must be in the replayed log. Others may be there too: what must not have happened is judged by the
/// register itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TdxEvent {
    /// Number of the register that it extended, 0 to 3.
    pub rtmr: u8,
    /// Its type, by name or number. The digest is measured and the type is not: it narrows the search and proves nothing.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Its digest. `any` is refused, for it would leave nothing that is measured.
    pub digest: Rule<Hex<48>>,
}

impl TdxEvent {
    pub(super) fn is_sound(&self) -> bool {
        self.rtmr <= 3 && self.kind != EventType::NO_ACTION && self.digest.is_fixed() && self.digest.is_sound()
    }
}
