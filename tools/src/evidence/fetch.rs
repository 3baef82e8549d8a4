//! `evidence fetch-endorsements`: what vendors vouch with for one piece of evidence, into a folder that `evidence verify`
//! takes.

use super::now;
use crate::{block_on, files, output};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_appraisal::UnixTime;
use strongroom_endorsements::{Access, Cache, Fetcher, KDS, PATIENCE, PCS, Product};
use strongroom_transport::ServerTrust;
use strongroom_wire::snp::Report;
use strongroom_wire::tdx::{Quote, looks_like_quote};
use strongroom_wire::{Code, Refusal, Result, limits};

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom evidence fetch-endorsements report.bin endorsements/\n  strongroom evidence verify report.bin --endorsement endorsements/"
)]
pub(crate) struct Fetch {
    /// A raw SNP report, a raw TDX quote, or a configfs-tsm outblob.
    file: PathBuf,
    /// Where to write vcek.der, cert_chain.pem and crl.der of a report, or collateral.json of a quote.
    out: PathBuf,
    /// AMD's Key Distribution Service, or a mirror of it.
    #[arg(long, value_name = "URL", default_value = KDS)]
    kds: String,
    /// Intel's Provisioning Certification Service, or a PCCS.
    #[arg(long, value_name = "URL", default_value = PCS)]
    pcs: String,
    /// Certificates of the authority that vouches for the service, instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak HTTP without TLS where the URL says http.
    #[arg(long)]
    plain_http: bool,
    /// Ask nobody: give what the cache holds, whatever its age.
    #[arg(long, conflicts_with = "refresh")]
    offline: bool,
    /// Ask for all that can change, though what the cache holds is current.
    #[arg(long)]
    refresh: bool,
    /// What was fetched before. Default: `endorsements` in $STRONGROOM_CACHE, or in `strongroom` of the user's caches.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// The product of a report that names none: of version 2, signed with a VLEK.
    #[arg(long, value_enum)]
    product: Option<ProductName>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProductName {
    Milan,
    Genoa,
    Turin,
}

impl From<ProductName> for Product {
    fn from(name: ProductName) -> Self {
        match name {
            ProductName::Milan => Self::Milan,
            ProductName::Genoa => Self::Genoa,
            ProductName::Turin => Self::Turin,
        }
    }
}

/// What goes into the folder.
struct Fetched {
    platform: &'static str,
    files: Vec<(&'static str, Vec<u8>)>,
    expires: UnixTime,
}

pub(super) fn run(arguments: &Fetch, json: bool) -> Result<ExitCode> {
    let evidence = files::read(&arguments.file, limits::EVIDENCE)?;
    let fetcher = Fetcher::new(arguments.access()?, arguments.cache()?)?;
    let fetched = block_on(fetch(&fetcher, &evidence, arguments.product))?;
    std::fs::create_dir_all(&arguments.out).map_err(|e| Refusal::io(arguments.out.display(), &e))?;
    let mut written = Vec::new();
    for (name, bytes) in &fetched.files {
        let path = arguments.out.join(name);
        files::write(&path, bytes)?;
        written.push(path);
    }
    report(&fetched, &written, json)?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch(fetcher: &Fetcher, evidence: &[u8], product: Option<ProductName>) -> Result<Fetched> {
    if looks_like_quote(evidence) {
        if product.is_some() {
            return Err(Refusal::new(Code::Usage, "--product").got("a TDX quote").want("an SNP report"));
        }
        let collateral = fetcher.fetch_tdx(&Quote::parse(evidence)?, now()).await?;
        let files = vec![("collateral.json", collateral.json.to_vec())];
        return Ok(Fetched { platform: "tdx", files, expires: collateral.expires });
    }
    let report = Report::parse(evidence)?;
    let given = fetcher.fetch_snp(&report, product.map(Product::from), now()).await?;
    let vcek = given.vcek.map(|vcek| ("vcek.der", vcek.to_vec()));
    if vcek.is_none() {
        output::note(
            "a VLEK signed this report: its cloud provider has the certificate, in the guest's certificate table",
        );
    }
    let others = [("cert_chain.pem", given.chain.to_vec()), ("crl.der", given.crl.to_vec())];
    Ok(Fetched { platform: "snp", files: vcek.into_iter().chain(others).collect(), expires: given.expires })
}

fn report(fetched: &Fetched, written: &[PathBuf], json: bool) -> Result<()> {
    if json {
        let written: Vec<_> = written.iter().map(|path| path.display().to_string()).collect();
        return output::json(&json!({"platform": fetched.platform, "files": written, "expires": fetched.expires}));
    }
    let files: String = written.iter().map(|path| format!("{}\n", path.display())).collect();
    let until = output::utc(fetched.expires);
    output::line(&format!("{files}to be fetched again after {until}; nothing was verified\n"))
}

impl Fetch {
    fn access(&self) -> Result<Access> {
        let trust = match &self.ca {
            Some(path) => ServerTrust::Ca(files::read(path, limits::CONFIGURATION)?),
            None => ServerTrust::WebPki,
        };
        Ok(Access {
            kds: self.kds.clone(),
            pcs: self.pcs.clone(),
            trust,
            plain_http: self.plain_http,
            offline: self.offline,
            refresh: self.refresh,
            patience: PATIENCE,
        })
    }

    fn cache(&self) -> Result<Cache> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let users = || {
            let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
            caches.map(|caches| caches.join("strongroom"))
        };
        let usual = || variable("STRONGROOM_CACHE").or_else(users).map(|folder| folder.join("endorsements"));
        let folder = self.cache.clone().or_else(usual);
        let folder = folder.ok_or_else(|| Refusal::new(Code::Usage, "cache folder").got("no HOME").want("--cache"))?;
        Ok(Cache::new(folder))
    }
}
