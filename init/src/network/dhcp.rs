//! DHCP (RFC 2131, options of RFC 2132), as far as one address for one machine goes.

mod packet;

use super::Settings;
use crate::console::say;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use packet::{Answer, Ask, Kind};
use rustix::rand::{GetRandomFlags, getrandom};
use std::net::UdpSocket;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};

/// How long answers are waited for: each try twice as long as the one before (RFC 2131 §4.1), a minute in all.
const PATIENCE: [u64; 5] = [2, 4, 8, 16, 30];
/// No answer is longer: the minimum that every client takes (RFC 2131 §2) with room for a whole frame.
const LONGEST: usize = 1500;
/// How often an offer that its server takes back is asked for anew.
const ROUNDS: u32 = 3;
/// No lease is asked for more often than this.
const SHORTEST: Duration = Duration::from_mins(1);

/// An address for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) settings: Settings,
    pub(super) seconds: Duration,
    server: Ipv4Addr,
}

/// A card that asks.
pub(super) struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    hardware: [u8; 6],
}

impl Client {
    /// Of the card with that hardware address, whose servers are reached at `server` from `socket`.
    pub(super) const fn new(socket: UdpSocket, server: SocketAddr, hardware: [u8; 6]) -> Self {
        Self { socket, server, hardware }
    }

    /// DISCOVER, OFFER, REQUEST, ACK (RFC 2131 §3.1); again from the start where the answer to the request is NAK.
    pub(super) fn ask(&self) -> Result<Lease> {
        for _ in 0..ROUNDS {
            let Some(offer) = self.exchange(&Ask::Discover)? else { continue };
            let request = Ask::Request { address: offer.settings.address, server: offer.server };
            if let Some(lease) = self.exchange(&request)? {
                return Ok(lease);
            }
        }
        Err(Refusal::new(Code::Network, "DHCP").got(format!("an offer that is taken back, {ROUNDS} times")))
    }

    /// Asks for the same address again each time that half of its lease is over (RFC 2131 §4.4.5), as long as the machine runs; where
    /// nobody answers, when half of what was waited for is over. An address that nobody confirms any more is kept: there is no other
    /// one to go to.
    pub(super) fn keep(&self, mut lease: Lease) -> ! {
        let mut pause = lease.seconds / 2;
        loop {
            std::thread::sleep(pause);
            let renewed = self.exchange(&Ask::Renew { address: lease.settings.address });
            // NAK: it is no longer ours; it may be again.
            match renewed.and_then(|renewed| renewed.map_or_else(|| self.ask(), Ok)) {
                Ok(renewed) if renewed.settings.address == lease.settings.address => {
                    lease = renewed;
                    pause = lease.seconds / 2;
                }
                Ok(other) => {
                    say("network", &format!("DHCP gives {} now; not taken", other.settings.address));
                    pause = other.seconds / 2;
                }
                Err(refusal) => {
                    say("network", &refusal.to_string());
                    pause = (pause / 2).max(SHORTEST);
                }
            }
        }
    }

    /// The lease that is offered or given, or none where it is refused (NAK).
    fn exchange(&self, ask: &Ask) -> Result<Option<Lease>> {
        let io = |e: std::io::Error| Refusal::io("DHCP", &e);
        let mut transaction = [0; 4];
        getrandom(&mut transaction[..], GetRandomFlags::empty()).map_err(|e| io(e.into()))?;
        let request = packet::request(ask, transaction, self.hardware);
        for patience in PATIENCE.map(Duration::from_secs) {
            self.socket.send_to(&request, self.server).map_err(io)?;
            let deadline = Instant::now() + patience;
            while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                self.socket.set_read_timeout(Some(left)).map_err(io)?;
                let mut answer = [0; LONGEST];
                let Ok((length, _)) = self.socket.recv_from(&mut answer) else { break };
                let answer = answer.get(..length).unwrap_or(&answer);
                let answer = Answer::parse(answer, transaction, self.hardware);
                // What is not an answer to this is not for us.
                match (ask, answer.as_ref().and_then(|answer| answer.kind)) {
                    (Ask::Discover, Some(Kind::Offer))
                    | (Ask::Request { .. } | Ask::Renew { .. }, Some(Kind::Acknowledge)) => {
                        if let Some(lease) = answer.and_then(|answer| answer.lease()) {
                            return Ok(Some(lease));
                        }
                    }
                    (Ask::Request { .. } | Ask::Renew { .. }, Some(Kind::Refuse)) => return Ok(None),
                    _ => {}
                }
            }
        }
        Err(Refusal::new(Code::Network, "DHCP").got("no answer in a minute"))
    }
}

impl Answer {
    /// The lease that it gives, where it has all that one needs: an address of a machine's, in a network whose mask is bits in a row.
    fn lease(&self) -> Option<Lease> {
        let mask = u32::from(self.mask?);
        let prefix = mask.leading_ones();
        if prefix == 0 || prefix.saturating_add(mask.trailing_zeros()) < 32 {
            return None;
        }
        let address = self.address;
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast() {
            return None;
        }
        let settings =
            Settings { address, prefix: u8::try_from(prefix).ok()?, gateway: self.gateway, resolver: self.resolver };
        let seconds = Duration::from_secs(self.seconds?.into()).max(SHORTEST);
        Some(Lease { settings, seconds, server: self.server? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, JoinHandle};

    const HARDWARE: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OFFER: u8 = 2;
    const ACKNOWLEDGE: u8 = 5;
    const REFUSE: u8 = 6;

    fn answer() -> Answer {
        Answer {
            kind: Some(Kind::Acknowledge),
            address: Ipv4Addr::new(10, 0, 2, 15),
            server: Some(Ipv4Addr::new(10, 0, 2, 2)),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            gateway: None,
            resolver: None,
            seconds: Some(3600),
        }
    }

    #[test]
    fn mask_of_bits_in_a_row_taken_and_any_other_refused() {
        let of = |mask: [u8; 4]| Answer { mask: Some(mask.into()), ..answer() }.lease().map(|it| it.settings.prefix);
        assert_eq!([of([255, 255, 255, 0]), of([255; 4]), of([128, 0, 0, 0])], [Some(24), Some(32), Some(1)]);
        assert_eq!([of([255, 0, 255, 0]), of([0; 4]), of([0, 255, 255, 255])], [None; 3]);
    }

    #[test]
    fn address_of_a_machine_taken_and_of_none_or_many_refused() {
        let of = |address: [u8; 4]| Answer { address: address.into(), ..answer() }.lease().is_some();
        assert!(of([10, 0, 2, 15]));
        for other in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            assert!(!of(other), "{other:?}");
        }
    }

    /// A server that answers each request with the next of these kinds, and the kinds of what it was asked.
    fn server(kinds: Vec<u8>) -> (Client, JoinHandle<Vec<u8>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let mut asked = Vec::new();
            for kind in kinds {
                let mut packet = [0; LONGEST];
                let (length, from) = socket.recv_from(&mut packet).unwrap();
                asked.push(packet[242]);
                let mut packet = packet[..length.min(240)].to_vec();
                packet[0] = 2;
                packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
                packet.extend([53, 1, kind, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 51, 4, 0, 0, 14, 16, 255]);
                socket.send_to(&packet, from).unwrap();
            }
            asked
        });
        (Client::new(UdpSocket::bind("127.0.0.1:0").unwrap(), address, HARDWARE), asked)
    }

    #[test]
    fn address_is_discovered_and_asked_for_and_again_where_its_server_takes_it_back() {
        let (client, asked) = server(vec![OFFER, ACKNOWLEDGE]);
        assert_eq!(client.ask().unwrap().settings.address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(asked.join().unwrap(), [1, 3]);
        let (client, asked) = server(vec![OFFER, REFUSE, OFFER, ACKNOWLEDGE]);
        assert_eq!(client.ask().unwrap().seconds, Duration::from_hours(1));
        assert_eq!(asked.join().unwrap(), [1, 3, 1, 3]);
    }

    #[test]
    fn server_that_takes_every_offer_back_gives_no_lease() {
        let (client, asked) = server([OFFER, REFUSE].repeat(3));
        assert_eq!(client.ask().unwrap_err().code, Code::Network);
        assert_eq!(asked.join().unwrap(), [1, 3, 1, 3, 1, 3]);
    }
}
