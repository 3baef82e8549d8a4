//! The process that speaks DHCP: it parses what anybody on the network sends, and so it has no rights, no files and few system calls.
//! What it finds out is a line of text, in the form of the command line's word.

use super::dhcp::Client;
use super::{Settings, hardware_address};
use crate::{confine, console};
use core::net::Ipv4Addr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use strongroom_wire::{Code, Refusal, Result};

/// The argument by which process 1 starts itself anew for this; the hardware address follows.
pub const ARGUMENT: &str = "dhcp";
/// The longest line that is read: three addresses, a prefix, and seconds.
const LONGEST: u64 = 128;

/// Starts it, and gives what it says: the settings, and for how many seconds they are lent.
pub(super) fn start(hardware: &str) -> Result<(Settings, u32)> {
    let io = |e: std::io::Error| Refusal::io("DHCP", &e);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)).map_err(io)?;
    socket.set_broadcast(true).map_err(io)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("strongroom-init").args([ARGUMENT, hardware]).env_clear();
    command.stdin(Stdio::from(OwnedFd::from(socket))).stdout(Stdio::piped()).stderr(console::writer()?);
    let mut child = command.spawn().map_err(io)?;
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said.take(LONGEST)).read_line(&mut line).map_err(io)?;
    }
    parse(&line)
        .ok_or_else(|| Refusal::new(Code::Network, "DHCP").got(format!("`{}`", line.trim_end())).want("a lease"))
}

fn parse(line: &str) -> Option<(Settings, u32)> {
    let (settings, seconds) = line.strip_suffix('\n')?.split_once(' ')?;
    Some((Settings::parse(settings)?, seconds.parse().ok()?))
}

/// Is it: the socket is standard input, and the line goes to standard output. It ends where it gets no lease, and says why.
pub fn become_the_renewer(hardware: Option<&str>) -> Refusal {
    match renew(hardware.unwrap_or_default()) {
        Ok(never) => match never {},
        Err(refusal) => refusal,
    }
}

fn renew(hardware: &str) -> Result<core::convert::Infallible> {
    let io = |e: std::io::Error| Refusal::io("DHCP", &e);
    let hardware = hardware_address(hardware)?;
    let socket = UdpSocket::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(io)?);
    confine::become_an_outsider()?;

    let client = Client::new(socket, (Ipv4Addr::BROADCAST, 67).into(), hardware);
    let lease = client.ask()?;
    let line = format!("{} {}\n", lease.settings, lease.seconds.as_secs());
    std::io::stdout().write_all(line.as_bytes()).map_err(io)?;
    client.keep(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_the_renewer_taken_whole_and_cut_or_other_text_not() {
        let (settings, seconds) = parse("10.0.0.5/24,10.0.0.1 3600\n").unwrap();
        assert_eq!((settings.to_string().as_str(), seconds), ("10.0.0.5/24,10.0.0.1", 3600));
        for line in ["", "\n", "10.0.0.5/24,10.0.0.1 3600", "10.0.0.5/24\n", "10.0.0.5/24 -1\n", "10.0.0.5/24 1 2\n"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
