//! `sev`: ARK by itself, ASK by ARK, VCEK by ASK, report by VCEK. It reads neither dates nor revocation lists nor the
//! VCEK's extensions, and trusts whatever ARK it is given.

use crate::{Result, files, take_turns};
use sev::certs::snp::{Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use std::hint::black_box;

/// Takes a report and its ARK, ASK and VCEK, in DER.
pub fn run() -> Result<()> {
    let [report, ark, ask, vcek] = files()?;
    take_turns(|| {
        let chain = Chain::from_der(&ark, &ask, &vcek)?;
        let report = AttestationReport::from_bytes(&report)?;
        (&chain, &report).verify()?;
        black_box((chain, report));
        Ok(())
    })
}
