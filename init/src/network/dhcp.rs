//! DHCP (RFC 2131, options of RFC 2132), as far as one address for one machine goes.

mod packet;

use super::Settings;
use crate::console::say;
use core::net::Ipv4Addr;
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

/// An address for a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) settings: Settings,
    pub(super) seconds: Duration,
    server: Ipv4Addr,
}

/// A card that asks.
pub(super) struct Client {
    socket: UdpSocket,
    hardware: [u8; 6],
}

impl Client {
    pub(super) fn new(hardware: [u8; 6]) -> Result<Self> {
        let io = |e: std::io::Error| Refusal::io("DHCP", &e);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).map_err(io)?;
        socket.set_broadcast(true).map_err(io)?;
        Ok(Self { socket, hardware })
    }

    /// DISCOVER, OFFER, REQUEST, ACK (RFC 2131 §3.1).
    pub(super) fn ask(&self) -> Result<Lease> {
        let offer = self.exchange(&Ask::Discover, Kind::Offer)?;
        self.exchange(&Ask::Request { address: offer.settings.address, server: offer.server }, Kind::Acknowledge)
    }

    /// Asks for the same address again each time that half of its lease is over (RFC 2131 §4.4.5), as long as the machine runs.
    /// An address that nobody confirms any more is kept: there is no other one to go to.
    pub(super) fn keep(self, mut lease: Lease) {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(lease.seconds / 2);
                match self.exchange(&Ask::Renew { address: lease.settings.address }, Kind::Acknowledge) {
                    Ok(renewed) if renewed.settings.address == lease.settings.address => lease = renewed,
                    Ok(other) => say("network", &format!("DHCP gives {} now; not taken", other.settings.address)),
                    Err(refusal) => say("network", &refusal.to_string()),
                }
            }
        });
    }

    fn exchange(&self, ask: &Ask, want: Kind) -> Result<Lease> {
        let io = |e: std::io::Error| Refusal::io("DHCP", &e);
        let mut transaction = [0; 4];
        getrandom(&mut transaction[..], GetRandomFlags::empty()).map_err(|e| io(e.into()))?;
        let request = packet::request(ask, transaction, self.hardware);
        for patience in PATIENCE.map(Duration::from_secs) {
            self.socket.send_to(&request, (Ipv4Addr::BROADCAST, 67)).map_err(io)?;
            let deadline = Instant::now() + patience;
            while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                self.socket.set_read_timeout(Some(left)).map_err(io)?;
                let mut answer = [0; LONGEST];
                let Ok((length, _)) = self.socket.recv_from(&mut answer) else { break };
                let answer = answer.get(..length).unwrap_or(&answer);
                // What is not an answer to this is not for us.
                if let Some(lease) = Answer::parse(answer, transaction, self.hardware).and_then(|it| it.lease(want)) {
                    return Ok(lease);
                }
            }
        }
        Err(Refusal::new(Code::Network, "DHCP").got("no answer in a minute"))
    }
}

impl Answer {
    /// The lease that it gives, where it is the answer that is wanted and has all that one needs.
    fn lease(&self, want: Kind) -> Option<Lease> {
        let settings = Settings {
            address: self.address,
            prefix: u8::try_from(u32::from(self.mask?).leading_ones()).ok()?,
            gateway: self.gateway,
            resolver: self.resolver,
        };
        // A lease of less than a minute would be asked for all the time.
        let seconds = Duration::from_secs(u64::from(self.seconds?.max(60)));
        (self.kind == Some(want)).then_some(Lease { settings, seconds, server: self.server? })
    }
}
