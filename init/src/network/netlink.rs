//! The few requests of rtnetlink(7) that an interface needs, and the kernel's answers.

use super::Settings;
use core::net::Ipv4Addr;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::os::fd::OwnedFd;
use strongroom_wire::{Code, Refusal, Result};

/// Message types of `linux/rtnetlink.h`.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// Of `linux/netlink.h`: the kernel's answer, with an error number of which 0 is none.
const ANSWER: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK`, and with `NLM_F_CREATE | NLM_F_REPLACE`.
const CHANGE: u16 = 5;
const CREATE: u16 = 0x505;
const INET: u8 = 2;
const HEADER: usize = 16;

/// An interface by its number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link(pub(super) i32);

impl Link {
    /// Always the first.
    pub(super) const LOOPBACK: Self = Self(1);
}

/// A socket to the kernel's tables.
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None);
        socket.map(Self).map_err(|e| Refusal::io("netlink", &e.into()))
    }

    /// Switches the interface on.
    pub(super) fn up(&self, link: Link) -> Result<()> {
        // struct ifinfomsg, with IFF_UP set and no other flag changed.
        let body = [&[0; 4][..], &link.0.to_le_bytes(), &1_u32.to_le_bytes(), &1_u32.to_le_bytes()].concat();
        self.ask(NEW_LINK, CHANGE, &body, "interface")
    }

    /// Gives it an address, and a route to everywhere where there is a gateway.
    pub(super) fn give(&self, link: Link, settings: &Settings) -> Result<()> {
        // struct ifaddrmsg, then IFA_LOCAL and IFA_ADDRESS.
        let address = settings.address.octets();
        let head = [&[INET, settings.prefix, 0, 0][..], &link.0.to_le_bytes()].concat();
        let body = [head, attribute(2, address), attribute(1, address)].concat();
        self.ask(NEW_ADDRESS, CREATE, &body, "address")?;
        match settings.gateway {
            Some(gateway) => {
                // A cloud may lend a single address, and a gateway outside it that is on the link all the same.
                let to = To::Everywhere { gateway, beyond: !settings.has(gateway) };
                self.ask(NEW_ROUTE, CREATE, &route(link, to), "route")
            }
            None => Ok(()),
        }
    }

    /// What is for everybody on the network goes to the interface, with or without an address of its own.
    pub(super) fn route_broadcasts(&self, link: Link) -> Result<()> {
        self.ask(NEW_ROUTE, CREATE, &route(link, To::Everybody), "route")
    }

    fn ask(&self, kind: u16, flags: u16, body: &[u8], what: &str) -> Result<()> {
        let failed = |e: rustix::io::Errno| Refusal::new(Code::Network, what).because(e);
        let length = u32::try_from(HEADER + body.len()).map_err(|e| Refusal::malformed("netlink", e))?;
        // struct nlmsghdr: the kernel takes sequence and port 0 as they are, and answers one request at a time.
        let head = [&length.to_le_bytes()[..], &kind.to_le_bytes(), &flags.to_le_bytes(), &[0; 8]].concat();
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.0, &[head.as_slice(), body].concat(), SendFlags::empty(), &kernel).map_err(failed)?;
        let mut answer = [0; 512];
        let (length, _) = recv(&self.0, &mut answer[..], RecvFlags::empty()).map_err(failed)?;
        match error_of(answer.get(..length).unwrap_or(&answer)) {
            Some(0) => Ok(()),
            Some(error) => Err(failed(rustix::io::Errno::from_raw_os_error(error.saturating_neg()))),
            None => Err(Refusal::malformed("netlink", "no answer of the kernel's")),
        }
    }
}

/// The error number of an answer, 0 for none.
fn error_of(answer: &[u8]) -> Option<i32> {
    let kind = u16::from_le_bytes(answer.get(4..6)?.try_into().ok()?);
    let error = i32::from_le_bytes(answer.get(HEADER..HEADER + 4)?.try_into().ok()?);
    (kind == ANSWER).then_some(error)
}

/// Where a route leads.
enum To {
    /// Through a gateway, which may be beyond the link's own network.
    Everywhere { gateway: Ipv4Addr, beyond: bool },
    /// 255.255.255.255, on the link.
    Everybody,
}

/// struct rtmsg of a route of the main table, then RTA_OIF and RTA_GATEWAY or RTA_DST.
fn route(link: Link, to: To) -> Vec<u8> {
    let (bits, scope, flags, end) = match to {
        // RTNH_F_ONLINK
        To::Everywhere { gateway, beyond } => (0, 0, if beyond { 4 } else { 0 }, attribute(5, gateway.octets())),
        To::Everybody => (32, 253, 0, attribute(1, Ipv4Addr::BROADCAST.octets())),
    };
    let head = [INET, bits, 0, 0, 254, 4, scope, 1, flags, 0, 0, 0];
    [&head[..], &attribute(4, link.0.to_le_bytes()), &end].concat()
}

/// struct rtattr and four bytes of value, which need no padding.
fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    [&8_u16.to_le_bytes()[..], &kind.to_le_bytes(), &value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_answers_that_an_interface_which_is_not_there_is_none() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.up(Link(i32::MAX)).unwrap_err().code, Code::Network);
    }

    #[test]
    fn gateway_beyond_the_network_is_said_to_be_on_the_link_and_one_inside_it_is_not() {
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        let flags = |prefix| {
            let address = Ipv4Addr::new(10, 0, 0, 5);
            let settings = Settings { address, prefix, gateway: Some(gateway), resolver: None };
            route(Link(2), To::Everywhere { gateway, beyond: !settings.has(gateway) })[8..12].to_vec()
        };
        assert_eq!([flags(24), flags(0)], [[0; 4], [0; 4]]);
        assert_eq!([flags(32), flags(30)], [[4, 0, 0, 0], [4, 0, 0, 0]]);
    }

    #[test]
    fn answer_without_an_error_told_from_one_with_it_and_from_none() {
        let answer =
            |kind: u16, error: i32| [&[0; 4][..], &kind.to_le_bytes(), &[0; 10], &error.to_le_bytes()].concat();
        assert_eq!(error_of(&answer(ANSWER, 0)), Some(0));
        assert_eq!(error_of(&answer(ANSWER, -19)), Some(-19));
        assert_eq!(error_of(&answer(NEW_LINK, 0)), None);
        assert_eq!(error_of(&answer(ANSWER, 0)[..19]), None);
    }
}
