//! Where routers may be sent to: networks in CIDR notation (RFC 4632 §3.1, RFC 4291 §2.3).

use core::net::IpAddr;
use core::str::FromStr;
use serde::Deserialize;
use strongroom_wire::{Code, Refusal};

/// A network. Its address has no bit beyond its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Whether an address is in it. An IPv4 address is the same in whichever family it is written.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(u32::BITS.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.checked_shr(u128::BITS.saturating_sub(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong =
            || Refusal::new(Code::ConfigurationInvalid, "network").got(text).want("ADDRESS/PREFIX, as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (address, prefix): (IpAddr, u32) =
            (address.parse().map_err(|_| wrong())?, prefix.parse().map_err(|_| wrong())?);
        let (zeros, bits) = match address {
            IpAddr::V4(address) => (address.to_bits().trailing_zeros(), u32::BITS),
            IpAddr::V6(address) => (address.to_bits().trailing_zeros(), u128::BITS),
        };
        match bits.checked_sub(prefix) {
            Some(host) if host <= zeros && address == address.to_canonical() => Ok(Self { address, prefix }),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_in_a_network_found_and_one_beside_it_not() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            let found = [inside, outside].map(|address| parsed.contains(address.parse().unwrap()));
            assert_eq!(found, [true, false], "{network}");
        }
    }

    #[test]
    fn what_is_no_network_refused() {
        for text in
            ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "2001:db8::/16", "x/8", "", "::ffff:10.0.0.0/104"]
        {
            assert_eq!(text.parse::<Network>().unwrap_err().code, Code::ConfigurationInvalid, "{text}");
        }
    }
}
