//! What a guest shows, parsed. None of it is believed yet.

use super::{Authentic, Bound, Given, KnownKeys};
use serde::de::DeserializeOwned;
use serde_json::Value;
use strongroom_appraisal::azure::{authenticate_snp_recording, authenticate_tdx_recording, verify_tdx_vtpm};
use strongroom_appraisal::{Policy, Roots, Sightings, SnpPolicy, UnixTime, authenticate_recording, tdx};
use strongroom_wire::azure::{self, HclReport};
use strongroom_wire::bytes::from_base64;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer};
use strongroom_wire::kbs::{SnpEvidence, TdxEvidence, Tee};
use strongroom_wire::snp::Report;
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Check, Code, Refusal, Result, tpm};

/// How much of the report data a TPM is asked to quote: SHA-384 whole, as Confidential Containers' guests do.
const TPM_NONCE: usize = 48;
/// Or its first half of a SHA-512, which is as much as some TPMs take.
const SHORT_TPM_NONCE: usize = 32;

/// Evidence whose shape holds.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// An SNP report.
    Snp(Box<Report>),
    /// A TDX quote, and the raw event log of the same boot where the guest shows it.
    Tdx(Box<Quote>, Option<Vec<u8>>),
    /// Azure's on SNP, with the report in it.
    AzureSnp(Box<azure::Evidence>, Box<Report>),
    /// Azure's on TDX, with the quote in it.
    AzureTdx(Box<azure::Evidence>, Box<Quote>),
}

/// What evidence came without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lacks {
    /// On AMD's hardware, the certificate of the key that signed it.
    pub(crate) key: bool,
    /// The authority that issued that.
    pub(crate) authority: bool,
    /// A revocation list.
    pub(crate) list: bool,
    /// On Intel's hardware, collateral.
    pub(crate) collateral: bool,
}

impl Lacks {
    const ALL: Self = Self { key: true, authority: true, list: true, collateral: true };

    /// Whether a report came without any endorsement at all.
    pub(crate) const fn all(self) -> bool {
        self.key && self.authority && self.list
    }
}

impl Evidence {
    /// Takes `primary_evidence` of a guest of `tee` apart, and the endorsements in it.
    ///
    /// # Errors
    /// Those of the platform's formats.
    pub(crate) fn parse(tee: Tee, primary: Value) -> Result<(Self, Given, Lacks)> {
        let mut endorsements = Given::default();
        match tee {
            Tee::Snp => {
                let evidence: SnpEvidence = read(primary)?;
                for entry in evidence.cert_chain.iter().flatten() {
                    // `Empty` holds nothing, and `{"OTHER": uuid}` something that only its vendor knows.
                    if matches!(entry.cert_type.as_str(), Some("ARK" | "ASK" | "VCEK" | "VLEK" | "CRL")) {
                        endorsements.add(&entry.data)?;
                    }
                }
                let lacks = lacks(&evidence);
                Ok((Self::Snp(Box::new(evidence.report()?)), endorsements, lacks))
            }
            Tee::Tdx => {
                let evidence: TdxEvidence = read(primary)?;
                let quote = Box::new(evidence.quote()?);
                let lacks = Lacks { collateral: true, ..Lacks::default() };
                Ok((Self::Tdx(quote, evidence.event_log()?), endorsements, lacks))
            }
            Tee::AzSnpVtpm | Tee::AzTdxVtpm => {
                let evidence = Self::parse_raw(tee, primary.to_string().as_bytes())?;
                let mut lacks = Lacks::ALL;
                if let Some(vcek) = evidence.vcek() {
                    endorsements.add(vcek)?;
                    lacks.key = false;
                }
                Ok((evidence, endorsements, lacks))
            }
        }
    }

    /// Takes an enclave's answer apart, in which evidence is raw: a report, a quote, or the document of Azure's attesters.
    ///
    /// # Errors
    /// `platform-unsupported`; `malformed`: also an endorsement of another kind; those of the platform's formats.
    pub(crate) fn parse_answer(answer: &EvidenceAnswer) -> Result<(Self, Given, Lacks)> {
        let tee = Tee::ALL.into_iter().find(|tee| tee.platform() == answer.platform);
        let tee = tee.ok_or_else(|| Refusal::new(Code::PlatformUnsupported, "platform").got(&answer.platform))?;
        let evidence = Self::parse_raw(tee, &from_base64(&answer.evidence, "evidence")?)?;
        let (mut endorsements, mut lacks) = (Given::default(), Lacks::ALL);
        if let Some(vcek) = evidence.vcek() {
            endorsements.add(vcek)?;
            lacks.key = false;
        }
        for Endorsement { r#type: kind, data } in &answer.endorsements {
            endorsements.add(&from_base64(data, "endorsement")?)?;
            match kind.as_str() {
                "certificate" | "certificate-table" => (lacks.key, lacks.authority) = (false, false),
                "crl" => lacks.list = false,
                "collateral" => lacks.collateral = false,
                _ => return Err(Refusal::new(Code::Malformed, "type of an endorsement").got(kind)),
            }
        }
        Ok((evidence, endorsements, lacks))
    }

    /// What [`Self::of_raw`] makes it of again: a report, a quote, or the document of Azure's attesters; and the event log.
    ///
    /// # Errors
    /// `internal`.
    pub(crate) fn raw(&self) -> Result<(Vec<u8>, Option<&[u8]>)> {
        Ok(match self {
            Self::Snp(report) => (report.raw().to_vec(), None),
            Self::Tdx(quote, event_log) => (quote.raw().to_vec(), event_log.as_deref()),
            Self::AzureSnp(evidence, _) | Self::AzureTdx(evidence, _) => (evidence.to_json()?, None),
        })
    }

    /// Evidence of [`Self::raw`].
    ///
    /// # Errors
    /// Those of the platform's formats.
    pub(crate) fn of_raw(tee: Tee, raw: &[u8], event_log: Option<Vec<u8>>) -> Result<Self> {
        Ok(match Self::parse_raw(tee, raw)? {
            Self::Tdx(quote, _) => Self::Tdx(quote, event_log),
            evidence => evidence,
        })
    }

    fn parse_raw(tee: Tee, raw: &[u8]) -> Result<Self> {
        match tee {
            Tee::Snp => Report::parse(raw).map(Box::new).map(Self::Snp),
            Tee::Tdx => Ok(Self::Tdx(Box::new(Quote::parse(raw)?), None)),
            Tee::AzSnpVtpm => {
                let evidence = Box::new(azure::Evidence::parse(raw)?);
                let report = Report::parse(HclReport::parse(&evidence.hcl_report)?.hardware.as_ref())?;
                Ok(Self::AzureSnp(evidence, Box::new(report)))
            }
            Tee::AzTdxVtpm => {
                let evidence = Box::new(azure::Evidence::parse(raw)?);
                let quote = evidence.td_quote.as_deref();
                let quote = Quote::parse(quote.ok_or_else(|| Refusal::malformed("Azure evidence", "no TDX quote"))?)?;
                Ok(Self::AzureTdx(evidence, Box::new(quote)))
            }
        }
    }

    fn vcek(&self) -> Option<&[u8]> {
        match self {
            Self::AzureSnp(evidence, _) => evidence.vcek.as_deref(),
            Self::Snp(_) | Self::Tdx(..) | Self::AzureTdx(..) => None,
        }
    }

    /// Which platform it says it is of.
    pub(crate) const fn tee(&self) -> Tee {
        match self {
            Self::Snp(_) => Tee::Snp,
            Self::Tdx(..) => Tee::Tdx,
            Self::AzureSnp(..) => Tee::AzSnpVtpm,
            Self::AzureTdx(..) => Tee::AzTdxVtpm,
        }
    }

    /// The report, on AMD's hardware.
    pub(crate) const fn report(&self) -> Option<&Report> {
        match self {
            Self::Snp(report) | Self::AzureSnp(_, report) => Some(report),
            Self::Tdx(..) | Self::AzureTdx(..) => None,
        }
    }

    /// The quote, on Intel's hardware.
    pub(crate) const fn quote(&self) -> Option<&Quote> {
        match self {
            Self::Tdx(quote, _) | Self::AzureTdx(_, quote) => Some(quote),
            Self::Snp(_) | Self::AzureSnp(..) => None,
        }
    }

    /// What `policy` demands of the report, on AMD's hardware.
    pub(crate) fn snp_section<'a>(&self, policy: &'a Policy) -> Option<&'a SnpPolicy> {
        match self {
            Self::Snp(_) => policy.snp(),
            Self::AzureSnp(..) => policy.azure_snp().map(|section| &section.hardware),
            Self::Tdx(..) | Self::AzureTdx(..) => None,
        }
    }

    /// MEASUREMENT or MRTD: what it says was launched, below a paravisor the paravisor.
    pub(crate) fn measurement(&self) -> String {
        match self {
            Self::Snp(report) | Self::AzureSnp(_, report) => hex::encode(report.measurement),
            Self::Tdx(quote, _) | Self::AzureTdx(_, quote) => hex::encode(quote.body.mrtd),
        }
    }

    /// That it says that it was made for this session and document. Whoever attests may say so, and nobody else. Which PCR
    /// names the document is the policy's to say.
    ///
    /// # Errors
    /// `report-data-mismatch` or, of a TPM's quote, `nonce-mismatch`; `deployment-mismatch`.
    pub(crate) fn verify_made_for(&self, bound: &Bound) -> Result<()> {
        const WHAT: &str = "evidence without its endorsements";
        let same = |code: Code, got: &[u8], want: &[u8]| {
            if got == want {
                return Ok(());
            }
            Err(Refusal::new(code, WHAT).got(hex::encode(got)).want(hex::encode(want)))
        };
        match self {
            Self::Snp(report) => {
                same(Code::ReportDataMismatch, &report.report_data, &bound.report_data)?;
                same(Code::DeploymentMismatch, &report.host_data, &bound.document.0)
            }
            Self::Tdx(quote, _) => {
                let body = &quote.body;
                same(Code::ReportDataMismatch, &body.report_data, &bound.report_data)?;
                same(Code::DeploymentMismatch, &body.mrconfigid, &[&bound.document.0[..], &[0; 16]].concat())
            }
            Self::AzureSnp(evidence, _) => {
                let quoted = tpm::Quote::parse(&evidence.message)?;
                same(Code::NonceMismatch, &quoted.extra_data, tpm_nonce(&quoted, bound))
            }
            // The quote names no nonce, and is published where somebody shows it: the TPM that it vouches for has to.
            Self::AzureTdx(evidence, quote) => {
                let quoted = tpm::Quote::parse(&evidence.message)?;
                verify_tdx_vtpm(evidence, &quote.body.report_data, tpm_nonce(&quoted, bound))
            }
        }
    }

    /// Authenticates it at `now` under `roots`, with each check that was made appended to `trace`, and what was sighted on the
    /// way to `sightings`. Keys that are `known` were verified under the same roots; none is remembered by this.
    ///
    /// # Errors
    /// Those of the platform's authentication.
    pub(crate) fn authenticate(
        &self,
        bound: &Bound,
        given: &Given,
        (roots, known): (&Roots, &KnownKeys),
        now: UnixTime,
        trace: &mut Vec<Check>,
        sightings: &mut Sightings,
    ) -> Result<Authentic> {
        let endorsements = given.parsed();
        match self {
            Self::Snp(report) => {
                if let Some((authentic, checks)) = known.authenticate(given.digest(), report.raw(), now) {
                    trace.extend(checks);
                    return Ok(Authentic::Snp(authentic));
                }
                authenticate_recording(report.raw(), endorsements, roots, now, trace, sightings).map(Authentic::Snp)
            }
            Self::Tdx(quote, event_log) => {
                let raw = quote.raw();
                let authentic = tdx::authenticate_recording(raw, endorsements, roots, now, trace, sightings)?;
                Ok(Authentic::Tdx(match event_log {
                    Some(log) => authentic.with_event_log_traced(log, trace)?,
                    None => authentic,
                }))
            }
            Self::AzureSnp(evidence, _) => {
                let quoted = tpm::Quote::parse(&evidence.message)?;
                let nonce = tpm_nonce(&quoted, bound);
                authenticate_snp_recording(evidence, nonce, endorsements, roots, now, trace, sightings)
                    .map(Authentic::AzureSnp)
            }
            Self::AzureTdx(evidence, _) => {
                let quoted = tpm::Quote::parse(&evidence.message)?;
                let nonce = tpm_nonce(&quoted, bound);
                authenticate_tdx_recording(evidence, nonce, endorsements, roots, now, trace, sightings)
                    .map(Authentic::AzureTdx)
            }
        }
    }
}

/// What a TPM must have been asked to quote. Either length is far too long to be met by chance.
fn tpm_nonce<'a>(quoted: &tpm::Quote, bound: &'a Bound) -> &'a [u8] {
    let length = if quoted.extra_data.len() == SHORT_TPM_NONCE { SHORT_TPM_NONCE } else { TPM_NONCE };
    bound.report_data.get(..length).unwrap_or(&bound.report_data)
}

fn read<T: DeserializeOwned>(primary: Value) -> Result<T> {
    serde_json::from_value(primary).map_err(|e| Refusal::malformed("primary_evidence", e))
}

fn lacks(evidence: &SnpEvidence) -> Lacks {
    let kinds: Vec<_> = evidence.cert_chain.iter().flatten().filter_map(|entry| entry.cert_type.as_str()).collect();
    let lack = |names: &[&str]| !kinds.iter().any(|kind| names.contains(kind));
    Lacks { key: lack(&["VCEK", "VLEK"]), authority: lack(&["ASK"]), list: lack(&["CRL"]), ..Lacks::default() }
}
