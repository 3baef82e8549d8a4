//! One network interface. Whatever gives addresses is trusted with nothing: every peer of the enclave's is pinned or attested.

mod dhcp;
mod netlink;
pub mod renewer;

use core::fmt;
use core::net::Ipv4Addr;
use netlink::{Link, Netlink};
use std::fs;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result};

const INTERFACES: &str = "/sys/class/net";
/// Where the image's `/etc/resolv.conf` leads to.
const RESOLVER: &str = "/run/resolv.conf";
/// The word of the command line, which is measured: `strongroom.network=dhcp`, or `=ADDRESS/PREFIX[,[GATEWAY][,RESOLVER]]`.
const WORD: &str = "strongroom.network=";

/// What one interface is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) address: Ipv4Addr,
    /// Bits of the address that are the network's, up to 32.
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) resolver: Option<Ipv4Addr>,
}

/// Brings up loopback and the first other interface, as the command line says, by DHCP where it says nothing.
///
/// # Errors
/// `network` there is no interface, or nobody answers; `usage` the command line; `io`.
pub fn start(command_line: &str) -> Result<String> {
    let fixed = of_command_line(command_line)?;
    let netlink = Netlink::open()?;
    netlink.up(Link::LOOPBACK)?;
    let name = first_interface(Path::new(INTERFACES))?;
    let folder = Path::new(INTERFACES).join(&name);
    let link = Link(number(&folder.join("ifindex"))?);
    netlink.up(link)?;
    let (settings, how) = match fixed {
        Some(settings) => (settings, "as the command line says".to_owned()),
        None => {
            netlink.route_broadcasts(link)?;
            let hardware = fs::read_to_string(folder.join("address"));
            let (settings, seconds) = renewer::start(hardware.map_err(|e| Refusal::io(folder.display(), &e))?.trim())?;
            (settings, format!("by DHCP, for {seconds} seconds"))
        }
    };
    netlink.give(link, &settings)?;
    let resolver = settings.resolver.map_or_else(String::new, |address| format!("nameserver {address}\n"));
    fs::write(RESOLVER, resolver).map_err(|e| Refusal::io(RESOLVER, &e))?;
    Ok(format!("{name} {}/{} {how}", settings.address, settings.prefix))
}

fn of_command_line(command_line: &str) -> Result<Option<Settings>> {
    let value = command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(WORD));
    let Some(value) = value.filter(|value| *value != "dhcp") else { return Ok(None) };
    let wrong = || {
        let want = "dhcp, or ADDRESS/PREFIX[,[GATEWAY][,RESOLVER]] of IPv4";
        Refusal::new(Code::Usage, "`strongroom.network` of the command line").got(value).want(want)
    };
    Settings::parse(value).map(Some).ok_or_else(wrong)
}

impl Settings {
    /// Whether an address is of the network that it is in.
    fn has(&self, other: Ipv4Addr) -> bool {
        let differ = u32::from(self.address) ^ u32::from(other);
        differ.leading_zeros() >= u32::from(self.prefix)
    }

    /// `ADDRESS/PREFIX[,[GATEWAY][,RESOLVER]]`.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let (address, prefix) = parts.next()?.split_once('/')?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        let gateway = parts.next().filter(|part| !part.is_empty()).map(str::parse).transpose().ok()?;
        let resolver = parts.next().map(str::parse).transpose().ok()?;
        let settings = Self { address: address.parse().ok()?, prefix, gateway, resolver };
        parts.next().is_none().then_some(settings)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)?;
        if self.gateway.is_some() || self.resolver.is_some() {
            f.write_str(",")?;
        }
        self.gateway.map_or(Ok(()), |gateway| write!(f, "{gateway}"))?;
        self.resolver.map_or(Ok(()), |resolver| write!(f, ",{resolver}"))
    }
}

/// The first by name that is not loopback.
fn first_interface(folder: &Path) -> Result<String> {
    let entries = fs::read_dir(folder).map_err(|e| Refusal::io(folder.display(), &e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let first = names.filter(|name| name != "lo").min();
    first.ok_or_else(|| Refusal::new(Code::Network, "interfaces").got("loopback alone").want("a virtio network card"))
}

fn number(path: &Path) -> Result<i32> {
    let text = fs::read_to_string(path).map_err(|e| Refusal::io(path.display(), &e))?;
    text.trim().parse().map_err(|e| Refusal::malformed(path.display().to_string(), e))
}

/// `52:54:00:12:34:56`.
fn hardware_address(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    let bytes = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    bytes.ok_or_else(|| Refusal::malformed("hardware address", "not six bytes of an Ethernet card"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_the_command_line_taken_with_and_without_gateway_and_resolver() {
        let of = |line: &str| of_command_line(line).map_err(|refusal| refusal.code);
        let address = Ipv4Addr::new(10, 0, 0, 5);
        let bare = Settings { address, prefix: 24, gateway: None, resolver: None };
        assert_eq!(of("quiet strongroom.network=10.0.0.5/24 panic=-1\n"), Ok(Some(bare)));
        let (gateway, resolver) = (Some(Ipv4Addr::new(10, 0, 0, 1)), Some(Ipv4Addr::new(9, 9, 9, 9)));
        let whole = Settings { gateway, resolver, ..bare };
        assert_eq!(of("strongroom.network=10.0.0.5/24,10.0.0.1,9.9.9.9"), Ok(Some(whole)));
        assert_eq!([of("quiet"), of("strongroom.network=dhcp")], [Ok(None), Ok(None)]);
    }

    #[test]
    fn command_line_that_says_something_else_refused() {
        for value in
            ["", "static", "10.0.0.5", "10.0.0.5/33", "10.0.0/24", "10.0.0.5/24,x", "10.0.0.5/24,1.1.1.1,1.1.1.1,"]
        {
            let refusal = of_command_line(&format!("strongroom.network={value}")).unwrap_err();
            assert_eq!(refusal.code, Code::Usage, "{value}");
        }
    }

    #[test]
    fn first_interface_by_name_is_taken_and_loopback_never() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lo")).unwrap();
        assert_eq!(first_interface(folder.path()).unwrap_err().code, Code::Network);
        for name in ["eth1", "eth0"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(first_interface(folder.path()).unwrap(), "eth0");
    }

    #[test]
    fn hardware_address_of_six_bytes_taken_and_of_another_length_refused() {
        let of = |text: &str| hardware_address(text).map_err(|refusal| refusal.code);
        assert_eq!(of("52:54:00:12:34:56"), Ok([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        assert_eq!(of("52:54:00:12:34"), Err(Code::Malformed));
        assert_eq!(of("52:54:00:12:34:5g"), Err(Code::Malformed));
    }

    #[test]
    fn settings_are_parsed_as_they_are_written() {
        let (gateway, resolver) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(9, 9, 9, 9));
        for (gateway, resolver, want) in [
            (None, None, "10.0.0.5/24"),
            (Some(gateway), None, "10.0.0.5/24,10.0.0.1"),
            (None, Some(resolver), "10.0.0.5/24,,9.9.9.9"),
            (Some(gateway), Some(resolver), "10.0.0.5/24,10.0.0.1,9.9.9.9"),
        ] {
            let settings = Settings { address: Ipv4Addr::new(10, 0, 0, 5), prefix: 24, gateway, resolver };
            assert_eq!(settings.to_string(), want);
            assert_eq!(Settings::parse(want), Some(settings));
        }
    }
}
