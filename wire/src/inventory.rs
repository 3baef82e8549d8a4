//! An inventory: which machines somebody has, by the ids that their processors state, and when each may be used.
//!
//! ```json
//! {"v": 1, "name": "fleet", "version": 7, "issued": 1800000000, "expires": 1802592000, "machines": [
//!   {"label": "rack 7, host 3", "zone": "eu-west", "chip": "<128 hex digits>"},
//!   {"label": "rack 8, host 1", "ppid": "<32 hex digits>", "platform-instance": "<32 hex digits>", "until": 1801000000}
//! ]}
//! ```
//!
//! Times are seconds since 1970, both ends included. It travels as the payload of a signed envelope ([`crate::dsse`]) of type
//! [`Inventory::PAYLOAD_TYPE`]; nothing here verifies one.

use crate::bytes::hex_array;
use crate::{Code, Refusal, Result, document, limits};
use serde::{Deserialize, Deserializer};

/// A parsed inventory. Who signed it, and whether it is current, has not been looked at.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    v: u32,
    /// What policies call it. Versions of inventories of different names are never compared.
    pub name: String,
    /// Grows with every change.
    pub version: u64,
    /// From when it counts.
    pub issued: u64,
    /// Until when it counts.
    pub expires: u64,
    /// The machines.
    pub machines: Vec<Machine>,
}

/// One machine, by at least one of the three ids.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Machine {
    /// What people call it.
    #[serde(default)]
    pub label: String,
    /// Where it stands, in the keeper's words: what policies may ask about.
    #[serde(default)]
    pub zone: Option<String>,
    /// CHIP_ID of an SNP report.
    #[serde(default, deserialize_with = "id")]
    pub chip: Option<[u8; 64]>,
    /// PPID of a PCK certificate.
    #[serde(default, deserialize_with = "id")]
    pub ppid: Option<[u8; 16]>,
    /// Platform Instance ID of a PCK certificate.
    #[serde(default, deserialize_with = "id")]
    pub platform_instance: Option<[u8; 16]>,
    /// From when it may be used; from the beginning where absent.
    #[serde(default)]
    pub from: u64,
    /// Until when it may be used; for good where absent.
    #[serde(default = "for_good")]
    pub until: u64,
}

impl Inventory {
    /// The payload type of its envelope.
    pub const PAYLOAD_TYPE: &'static str = "application/vnd.strongroom.inventory.v1+json";

    /// Parses an inventory of at most [`limits::SIGNED_DOCUMENT`] bytes and [`limits::MACHINES`] machines, valid for at most
    /// [`limits::INVENTORY_VALIDITY`].
    ///
    /// # Errors
    /// `malformed`: also a version of 2^63 or more, a name, label or zone with a control character, a zone of no or more than
    /// [`limits::ZONE`] characters, a machine without an id, one with an id of zeros only, a window that ends before it begins, or one
    /// that is too long; `too-large`; `unknown-field`; `version-unsupported`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let inventory: Self = document::parse_json(json, FORMAT, limits::SIGNED_DOCUMENT, Code::Malformed)?;
        if inventory.v != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, FORMAT).got(inventory.v).want(1));
        }
        if inventory.machines.len() > limits::MACHINES {
            return Err(Refusal::too_large("machines", inventory.machines.len(), limits::MACHINES));
        }
        // What keeps the newest counts no further.
        if i64::try_from(inventory.version).is_err() {
            return Err(Refusal::new(Code::Malformed, "version of an inventory").got(inventory.version).want(i64::MAX));
        }
        let window = inventory.expires.checked_sub(inventory.issued);
        if window.is_none_or(|seconds| seconds > limits::INVENTORY_VALIDITY) {
            return Err(Refusal::new(Code::Malformed, "window of an inventory")
                .got(format!("{} to {}", inventory.issued, inventory.expires))
                .want(format!("at most {} seconds", limits::INVENTORY_VALIDITY)));
        }
        let unprintable = |text: &str| text.contains(char::is_control);
        let texts = |machine: &Machine| [&machine.label].into_iter().chain(&machine.zone).any(|text| unprintable(text));
        if unprintable(&inventory.name) || inventory.machines.iter().any(texts) {
            return Err(Refusal::new(Code::Malformed, "name, label or zone in an inventory")
                .got("a control character")
                .want("printable text"));
        }
        if !(1..=limits::INVENTORY_NAME).contains(&inventory.name.len()) {
            return Err(Refusal::new(Code::Malformed, "name of an inventory")
                .got(format!("{} bytes", inventory.name.len()))
                .want(format!("1 to {}", limits::INVENTORY_NAME)));
        }
        inventory.machines.iter().try_for_each(Machine::verify_shape)?;
        Ok(inventory)
    }
}

impl Machine {
    /// Whether it may be used at `now`.
    pub const fn counts_at(&self, now: u64) -> bool {
        self.from <= now && now <= self.until
    }

    fn verify_shape(&self) -> Result<()> {
        let length = |zone: &String| zone.chars().count();
        if self.zone.as_ref().map(length).is_some_and(|length| !(1..=limits::ZONE).contains(&length)) {
            return Err(Refusal::new(Code::Malformed, format!("zone of machine `{}`", self.label))
                .want(format!("1 to {} characters", limits::ZONE)));
        }
        // Zero is what a report says whose host hides the id.
        let zero = self.chip == Some([0; 64]) || [self.ppid, self.platform_instance].contains(&Some([0; 16]));
        let none = self.chip.is_none() && self.ppid.is_none() && self.platform_instance.is_none();
        if zero || none || self.until < self.from {
            return Err(Refusal::new(Code::Malformed, format!("machine `{}`", self.label))
                .want("an id that is not zero, and `until` not before `from`"));
        }
        Ok(())
    }
}

const FORMAT: &str = "inventory";

const fn for_good() -> u64 {
    u64::MAX
}

fn id<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> core::result::Result<Option<[u8; N]>, D::Error> {
    let text = String::deserialize(deserializer)?;
    hex_array(&text, "id").map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sound() -> Value {
        json!({ "v": 1, "name": "fleet", "version": 7, "issued": 100, "expires": 200, "machines": [
            { "label": "a", "zone": "eu-west", "chip": "0a".repeat(64), "from": 120, "until": 150 },
            { "ppid": "0b".repeat(16), "platform-instance": "0c".repeat(16) },
        ] })
    }

    fn code(document: &Value) -> Option<Code> {
        Inventory::parse(document.to_string().as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn version_below_two_to_the_63_accepted_and_a_higher_one_refused() {
        let with = |version: u64| {
            let mut document = sound();
            document["version"] = json!(version);
            code(&document)
        };
        assert_eq!(with(i64::MAX.unsigned_abs()), None);
        assert_eq!([1 << 63, u64::MAX].map(with), [Some(Code::Malformed); 2]);
    }

    #[test]
    fn printable_name_and_label_accepted_and_control_characters_in_them_refused() {
        for pointer in ["/name", "/machines/0/label", "/machines/0/zone"] {
            let with = |text: &str| {
                let mut document = sound();
                *document.pointer_mut(pointer).unwrap() = json!(text);
                code(&document)
            };
            assert_eq!(with("rack 7, host \u{e9}"), None);
            assert_eq!(["a\u{1b}[2J", "a\nb", "\u{9b}"].map(with), [Some(Code::Malformed); 3], "{pointer}");
        }
    }

    #[test]
    fn machines_count_within_their_windows() {
        let inventory = Inventory::parse(sound().to_string().as_bytes()).unwrap();
        assert_eq!((inventory.name.as_str(), inventory.version), ("fleet", 7));
        let [first, second] = &inventory.machines[..] else { panic!("two machines") };
        assert_eq!((first.chip, first.ppid), (Some([0x0a; 64]), None));
        assert_eq!((second.ppid, second.platform_instance), (Some([0x0b; 16]), Some([0x0c; 16])));
        assert_eq!([119, 120, 150, 151].map(|now| first.counts_at(now)), [false, true, true, false]);
        assert_eq!([0, u64::MAX].map(|now| second.counts_at(now)), [true, true]);
    }

    #[test]
    fn as_many_machines_as_the_limit_accepted_and_one_more_refused() {
        let machines = |count: usize| {
            let mut document = sound();
            document["machines"] = vec![json!({ "chip": "0a".repeat(64) }); count].into();
            code(&document)
        };
        assert_eq!((machines(limits::MACHINES), machines(limits::MACHINES + 1)), (None, Some(Code::TooLarge)));
    }

    #[test]
    fn inventory_with_one_thing_wrong_refused() {
        assert_eq!(code(&sound()), None);
        let year = limits::INVENTORY_VALIDITY;
        let cases = [
            ("/v", json!(2), Code::VersionUnsupported),
            ("/name", json!(""), Code::Malformed),
            ("/name", json!("x".repeat(limits::INVENTORY_NAME + 1)), Code::Malformed),
            ("/version", json!(-1), Code::Malformed),
            ("/expires", json!(99), Code::Malformed),
            ("/expires", json!(101 + year), Code::Malformed),
            ("/machines/0/chip", json!("00".repeat(64)), Code::Malformed),
            ("/machines/0/chip", json!("0a".repeat(63)), Code::Malformed),
            ("/machines/0/until", json!(119), Code::Malformed),
            ("/machines/0/zone", json!(""), Code::Malformed),
            ("/machines/0/zone", json!("x".repeat(limits::ZONE + 1)), Code::Malformed),
            ("/machines/1/ppid", json!("00".repeat(16)), Code::Malformed),
            ("/machines/1/platform-instance", json!("00".repeat(16)), Code::Malformed),
            ("/machines/1", json!({ "label": "none" }), Code::Malformed),
            ("/machines/1", json!({ "ppid": "0b".repeat(16), "other": 1 }), Code::UnknownField),
            ("/machines", json!(vec![json!({ "ppid": "0b".repeat(16) }); limits::MACHINES + 1]), Code::TooLarge),
        ];
        for (at, value, want) in cases {
            let mut document = sound();
            *document.pointer_mut(at).unwrap() = value;
            assert_eq!(code(&document), Some(want), "{at}");
        }
        let mut longest = sound();
        longest["expires"] = json!(100 + year);
        assert_eq!(code(&longest), None);
        let mut shortest = sound();
        shortest["machines"][0]["until"] = json!(120);
        assert_eq!(code(&shortest), None);
        let mut more = sound();
        more["more"] = json!(1);
        assert_eq!(code(&more), Some(Code::UnknownField));
        let long = vec![b' '; limits::SIGNED_DOCUMENT + 1];
        assert_eq!(Inventory::parse(&long).unwrap_err().code, Code::TooLarge);
    }
}
