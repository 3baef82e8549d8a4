//! What hardware, firmware and paravisor write: binary formats, and the JSON around Azure's.

use super::choose;
use strongroom_devkit::event_log;
use strongroom_wire::azure::{Evidence, HclReport};
use strongroom_wire::event_log::EventLog;
use strongroom_wire::kbs::SnpEvidence;
use strongroom_wire::snp::{CertificateTable, Report};
use strongroom_wire::{attester, limits, tdx, tpm};

pub fn run(input: &[u8]) {
    choose(input, &[report, table, quote, tpm_quote, log, hcl, azure, answer]);
}

fn report(input: &[u8]) {
    let Ok(report) = Report::parse(input) else { return };
    assert_eq!((report.raw().as_slice(), report.signed()), (input, &input[..0x2a0]));
    let layout = report.tcb_layout();
    for raw in [report.reported_tcb, report.current_tcb] {
        assert_eq!(layout.read(layout.write(&layout.read(raw))), layout.read(raw));
    }
    let Ok(evidence) = SnpEvidence::from_report(&report, None) else { return };
    let json = serde_json::to_vec(&evidence).unwrap();
    let back: SnpEvidence = serde_json::from_slice(&json).unwrap();
    assert_eq!(back.report().unwrap(), report);
}

fn table(input: &[u8]) {
    let Ok(table) = CertificateTable::parse(input) else { return };
    assert!(table.entries.len() <= limits::CERTIFICATE_TABLE_ENTRIES);
    let encoded = table.encode().unwrap();
    // Entries may share bytes of the input; written out, they may be more than a table holds.
    if encoded.len() <= limits::CERTIFICATE_TABLE {
        assert_eq!(CertificateTable::parse(&encoded).unwrap(), table);
    }
}

fn quote(input: &[u8]) {
    let like = tdx::looks_like_quote(input);
    let Ok(quote) = tdx::Quote::parse(input) else { return };
    assert!(like && Report::parse(input).is_err());
    assert_eq!(quote.raw(), input);
    assert!(input.starts_with(quote.signed()) && quote.signed().len() > 48 + 584 - 1);
}

fn tpm_quote(input: &[u8]) {
    if let Ok(quote) = tpm::Quote::parse(input) {
        assert_eq!(quote.raw(), input);
    }
}

fn log(input: &[u8]) {
    let Ok(log) = EventLog::parse(input) else { return };
    assert!(log.events.len() <= limits::EVENTS);
    let written = event_log::write(&log.events);
    if written.len() <= limits::EVENT_LOG {
        let back = EventLog::parse(&written).unwrap();
        assert_eq!((back.replay(), &back), (log.replay(), &log));
    }
}

fn hcl(input: &[u8]) {
    let Ok(report) = HclReport::parse(input) else { return };
    assert_eq!(report.report_data()[32..], [0; 32]);
    assert_eq!(report.hardware.as_slice(), &input[32..32 + 1184]);
}

fn azure(input: &[u8]) {
    if let Ok(evidence) = Evidence::parse(input) {
        hcl(&evidence.hcl_report);
        tpm_quote(&evidence.message);
    }
}

fn answer(input: &[u8]) {
    if let Ok(answer) = attester::Quote::parse(input) {
        assert_eq!(answer.encode().unwrap(), input);
    }
}
