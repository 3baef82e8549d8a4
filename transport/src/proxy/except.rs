//! What is reached without a proxy: the entries of `NO_PROXY`.

use core::net::IpAddr;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exception {
    hosts: Hosts,
    /// Every port where absent.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    /// `*`.
    All,
    /// A name and its subdomains; with a dot before it, the subdomains alone. Lower case.
    Name(String),
    /// Addresses whose first bits are these. One address: all of its bits.
    Range(IpAddr, u8),
}

impl Exception {
    /// The entries of a list with commas. What is none of the forms matches nothing.
    pub(super) fn parse_list(list: &str) -> Vec<Self> {
        list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(Self::parse).collect()
    }

    fn parse(entry: &str) -> Self {
        if let Some(range) = parse_range(entry) {
            return Self { hosts: range, port: None };
        }
        // `host:port`, `[v6]:port`, or a host alone; a v6 address without brackets was a range above.
        let (host, port) = match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, Some(port)),
            _ => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let hosts = match host {
            "*" => Hosts::All,
            _ => parse_range(host).unwrap_or_else(|| {
                Hosts::Name(host.strip_prefix('*').unwrap_or(host).trim_end_matches('.').to_ascii_lowercase())
            }),
        };
        Self { hosts, port }
    }

    /// Whether the server `host`, a name or an address without brackets, is meant at `port`.
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
            && match &self.hosts {
                Hosts::All => true,
                Hosts::Name(name) => is_within(host, name),
                Hosts::Range(network, bits) => host.parse().is_ok_and(|address| shares_bits(address, *network, *bits)),
            }
    }
}

/// Whether `host` is this machine by its name or address.
pub(super) fn is_loopback(host: &str) -> bool {
    is_within(host, "localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn parse_range(text: &str) -> Option<Hosts> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    Some(Hosts::Range(address, bits.unwrap_or(most))).filter(|_| bits.is_none_or(|bits| bits <= most))
}

/// Whether `host` is `name` or below it; a `name` with a dot before it is not meant itself.
fn is_within(host: &str, name: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.strip_suffix(name) {
        Some("") => !name.starts_with('.'),
        Some(below) => below.ends_with('.') || name.starts_with('.'),
        None => false,
    }
}

fn shares_bits(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (a, b, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32_u8),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    // A shift by all of the bits is none: nothing is left to differ.
    (a ^ b).checked_shr(u32::from(width.saturating_sub(bits))).is_none_or(|differing| differing == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excepted(list: &str, host: &str, port: u16) -> bool {
        Exception::parse_list(list).iter().any(|one| one.matches(host, port))
    }

    #[test]
    fn names_stand_for_themselves_and_what_is_below_them() {
        for (list, host, want) in [
            ("example.com", "example.com", true),
            ("example.com", "A.Example.Com.", true),
            ("example.com", "badexample.com", false),
            ("example.com", "example.com.evil", false),
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", false),
            ("*.example.com", "a.example.com", true),
            ("a, b ,", "b", true),
            ("*", "anything", true),
            ("", "anything", false),
        ] {
            assert_eq!(excepted(list, host, 443), want, "{list} {host}");
        }
    }

    #[test]
    fn addresses_and_ranges_match_by_their_bits() {
        for (list, host, want) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe00::1", false),
            ("10.0.0.0/33", "10.0.0.0", false),
        ] {
            assert_eq!(excepted(list, host, 443), want, "{list} {host}");
        }
    }

    #[test]
    fn port_narrows_an_entry() {
        for (list, host) in [("a.example:5000", "a.example"), ("10.0.0.1:5000", "10.0.0.1"), ("[::1]:5000", "::1")] {
            assert!(excepted(list, host, 5000), "{list}");
            assert!(!excepted(list, host, 443), "{list}");
        }
    }
}
