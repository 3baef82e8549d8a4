//! The packets, as RFC 2131 §2 lays them out.

use core::net::Ipv4Addr;

/// What the options begin with (RFC 2132 §2).
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Where they begin, behind the fixed fields and the magic.
const OPTIONS: usize = 240;
/// Relays of old throw shorter packets away (RFC 1542 §2.1).
const SHORTEST: usize = 300;

/// DHCPOFFER, DHCPACK and DHCPNAK (RFC 2132 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Acknowledge,
    Refuse,
}

/// What is asked.
pub(super) enum Ask {
    Discover,
    Request {
        address: Ipv4Addr,
        server: Ipv4Addr,
    },
    /// Of any server, in the state REBINDING: its answer comes to the address.
    Renew {
        address: Ipv4Addr,
    },
}

/// A broadcast of the card with this hardware address.
pub(super) fn request(ask: &Ask, transaction: [u8; 4], hardware: [u8; 6]) -> Vec<u8> {
    let (kind, own, broadcast) = match ask {
        Ask::Discover => (1, Ipv4Addr::UNSPECIFIED, 0x80),
        Ask::Request { .. } => (3, Ipv4Addr::UNSPECIFIED, 0x80),
        Ask::Renew { address } => (3, *address, 0),
    };
    // op, htype, hlen, hops; xid; secs, flags; ciaddr; yiaddr, siaddr, giaddr.
    let head = [&[1, 1, 6, 0][..], &transaction, &[0, 0, broadcast, 0], &own.octets(), &[0; 12], &hardware].concat();
    let mut packet = head;
    packet.resize(OPTIONS - MAGIC.len(), 0);
    packet.extend(MAGIC);
    packet.extend([53, 1, kind]);
    if let Ask::Request { address, server } = ask {
        packet.extend([&[50, 4][..], &address.octets(), &[54, 4], &server.octets()].concat());
    }
    // Mask, router and resolver are asked for.
    packet.extend([55, 3, 1, 3, 6, 255]);
    packet.resize(packet.len().max(SHORTEST), 0);
    packet
}

/// What an answer says, where it is one to the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) kind: Option<Kind>,
    pub(super) address: Ipv4Addr,
    pub(super) server: Option<Ipv4Addr>,
    pub(super) mask: Option<Ipv4Addr>,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) resolver: Option<Ipv4Addr>,
    pub(super) seconds: Option<u32>,
}

impl Answer {
    /// Parses an answer to `transaction` of the card with this hardware address; anything else is none.
    pub(super) fn parse(packet: &[u8], transaction: [u8; 4], hardware: [u8; 6]) -> Option<Self> {
        let (head, mut options) = packet.split_at_checked(OPTIONS)?;
        let for_us = head.get(..4)? == [2, 1, 6, 0].as_slice()
            && head.get(4..8)? == transaction.as_slice()
            && head.get(28..34)? == hardware.as_slice()
            && head.ends_with(&MAGIC);
        if !for_us {
            return None;
        }
        let (kind, server, mask, gateway, resolver, seconds) = (None, None, None, None, None, None);
        let mut answer =
            Self { kind, address: first_address(head.get(16..20)?)?, server, mask, gateway, resolver, seconds };
        while let [code, rest @ ..] = options {
            options = match code {
                0 => rest,
                255 => break,
                code => {
                    let (length, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    answer.take(*code, value);
                    rest
                }
            };
        }
        Some(answer)
    }

    fn take(&mut self, code: u8, value: &[u8]) {
        match (code, value) {
            (1, _) => self.mask = first_address(value),
            (3, _) => self.gateway = first_address(value),
            (6, _) => self.resolver = first_address(value),
            (51, _) => self.seconds = first_address(value).map(u32::from),
            (53, [2]) => self.kind = Some(Kind::Offer),
            (53, [5]) => self.kind = Some(Kind::Acknowledge),
            (53, [6]) => self.kind = Some(Kind::Refuse),
            (54, _) => self.server = first_address(value),
            _ => {}
        }
    }
}

/// The first four bytes.
fn first_address(value: &[u8]) -> Option<Ipv4Addr> {
    value.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: [u8; 4] = [1, 2, 3, 4];
    const HARDWARE: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// An ACK as QEMU's own server gives it.
    fn acknowledgement() -> Vec<u8> {
        let mut packet = request(&Ask::Discover, TRANSACTION, HARDWARE);
        packet.truncate(OPTIONS);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.extend([53, 1, 5, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 0, 3, 4, 10, 0, 2, 2, 6, 4, 10, 0, 2, 3]);
        packet.extend([51, 4, 0, 1, 0x51, 0x80, 255]);
        packet
    }

    #[test]
    fn acknowledgement_says_address_network_router_resolver_and_for_how_long() {
        let answer = Answer::parse(&acknowledgement(), TRANSACTION, HARDWARE).unwrap();
        let address = |last| Ipv4Addr::new(10, 0, 2, last);
        let want = Answer {
            kind: Some(Kind::Acknowledge),
            address: address(15),
            server: Some(address(2)),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            gateway: Some(address(2)),
            resolver: Some(address(3)),
            seconds: Some(86_400),
        };
        assert_eq!(answer, want);
    }

    #[test]
    fn answer_to_another_transaction_or_card_or_none_at_all_passed_over() {
        let packet = acknowledgement();
        assert_eq!(Answer::parse(&packet, [1, 2, 3, 5], HARDWARE), None);
        assert_eq!(Answer::parse(&packet, TRANSACTION, [0; 6]), None);
        assert_eq!(Answer::parse(&request(&Ask::Discover, TRANSACTION, HARDWARE), TRANSACTION, HARDWARE), None);
        let mut other_magic = packet;
        other_magic[239] ^= 1;
        assert_eq!(Answer::parse(&other_magic, TRANSACTION, HARDWARE), None);
    }

    #[test]
    fn answer_cut_at_any_byte_is_no_more_than_its_whole_options() {
        let packet = acknowledgement();
        let whole = Answer::parse(&packet, TRANSACTION, HARDWARE).unwrap();
        for length in 0..packet.len() - 1 {
            let cut = Answer::parse(&packet[..length], TRANSACTION, HARDWARE);
            assert!(cut.is_none_or(|cut| cut.seconds.is_none() || cut == whole), "{length}");
        }
    }

    #[test]
    fn request_names_address_and_server_and_is_of_the_least_length() {
        let (address, server) = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        let packet = request(&Ask::Request { address, server }, TRANSACTION, HARDWARE);
        assert_eq!(packet.len(), SHORTEST);
        assert_eq!(packet[OPTIONS..OPTIONS + 15], [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
        let renewal = request(&Ask::Renew { address }, TRANSACTION, HARDWARE);
        assert_eq!((&renewal[12..16], renewal[10]), (&[10, 0, 2, 15][..], 0));
    }
}
