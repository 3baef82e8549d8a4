//! From the cache, or else from its vendor.

use crate::UnixTime;
use crate::cache::Cache;
use crate::certificate::{chain_expires, crl_expires};
use crate::flight::Flights;
use crate::http::{Asker, PATIENCE};
use crate::judge::{Judge, Offered, Published};
use crate::kds::{KDS, Kind, Product, Vcek};
use crate::pcs::{self, PCS};
use crate::platform::Platform;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use strongroom_transport::{HttpClient, Patience, Protocol, ServerTrust};
use strongroom_wire::snp::Report;
use strongroom_wire::tdx::Quote;
use strongroom_wire::{Code, Refusal, Result};

/// Whom to ask, and whether at all.
#[derive(Debug, Clone)]
pub struct Access {
    /// Scheme and host, and where the service is below that: AMD's service, or a mirror of it. Default: [`KDS`].
    pub kds: String,
    /// The same of Intel's service, or of a PCCS. Default: [`PCS`].
    pub pcs: String,
    /// Whom to believe to be the services. Whoever they are, what they send is verified by its signatures.
    pub trust: ServerTrust,
    /// Whether `http://` is allowed.
    pub plain_http: bool,
    /// Ask nobody: what is kept is given, whatever its age.
    pub offline: bool,
    /// Ask for everything that can change, though what is kept is current. A VCEK cannot change.
    pub refresh: bool,
    /// How long and how often to ask.
    pub patience: Patience,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            kds: KDS.to_owned(),
            pcs: PCS.to_owned(),
            trust: ServerTrust::WebPki,
            plain_http: false,
            offline: false,
            refresh: false,
            patience: PATIENCE,
        }
    }
}

/// What AMD vouches with for one report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEndorsements {
    /// The chip's product line.
    pub product: Product,
    /// DER; `None` where a VLEK signed the report: its cloud provider alone gets that from AMD, and hands it to guests.
    pub vcek: Option<Bytes>,
    /// ASK or ASVK, and ARK, in PEM.
    pub chain: Bytes,
    /// The ARK's revocation list, in DER.
    pub crl: Bytes,
    /// When the first of them ends.
    pub expires: UnixTime,
}

/// What Intel vouches with for one kind of platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collateral {
    /// `QuoteCollateralV3` as JSON.
    pub json: Bytes,
    /// When the first part of it is due for an update.
    pub expires: UnixTime,
}

/// Fetches and keeps endorsements. Share one: it is what keeps the questions of a process from being asked twice.
#[derive(Debug)]
pub struct Fetcher {
    asker: Asker,
    cache: Cache,
    flights: Flights<Bytes>,
    /// Searches for a chip among several products.
    searches: Flights<(Product, (Bytes, UnixTime))>,
    judge: Option<Judge>,
    /// One list after the other is looked at that somebody shows: the newest of those shown at a time stays.
    offers: Mutex<()>,
    access: Access,
}

/// One thing that is kept.
struct Entry<'a> {
    /// Where.
    name: PathBuf,
    /// When it ends; refuses what it is not.
    expires: &'a (dyn Fn(&[u8]) -> Result<UnixTime> + Sync),
    /// What is refused with where it has ended.
    expired: Code,
    /// What a vendor publishes it as, to be judged.
    published: Option<Published>,
    /// Whether the vendor may have a newer one.
    changes: bool,
    /// Whether that is asked for though what is kept is current.
    renews: bool,
}

impl Fetcher {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// `configuration-invalid`: a CA bundle that is none.
    pub fn new(access: Access, cache: Cache) -> Result<Self> {
        // TLS 1.2 too: what comes is verified by its vendor's signature, whoever sent it.
        let http = HttpClient::with_protocol(&access.trust, access.plain_http, Protocol::Tls12Allowed)?;
        let base = |url: &str| url.trim_end_matches('/').to_owned();
        let access = Access { kds: base(&access.kds), pcs: base(&access.pcs), ..access };
        let (flights, searches) = (Flights::default(), Flights::default());
        Ok(Self {
            asker: Asker::new(http, access.patience),
            cache,
            flights,
            searches,
            judge: None,
            offers: Mutex::default(),
            access,
        })
    }

    /// Keeps and gives of AMD's chains and lists and of Intel's collateral only what `verify` accepts. Without it, an answer that lies takes the place
    /// of a good one.
    #[must_use]
    pub fn judged_by(self, verify: impl Fn(&Offered<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { judge: Some(Judge::of(verify)), ..self }
    }

    /// What AMD vouches with for `report`, current at `now`. `product` is needed where the report does not name its CPU
    /// (before version 3) and a VLEK signed it; where a VCEK did, each product is tried.
    ///
    /// # Errors
    /// `endorsement-unknown`, `endorsement-unavailable`, `endorsement-not-cached`, `endorsement-mismatch`;
    /// `platform-unsupported`, `product-mismatch`, `signing-key-unsupported`: of the report; `malformed`, `too-large`,
    /// `certificate-expired`, `crl-expired`: of an answer; `network`, `timeout`, `tls-failed`, `plaintext-refused`, `io`.
    pub async fn fetch_snp(&self, report: &Report, product: Option<Product>, now: UnixTime) -> Result<SnpEndorsements> {
        let candidates = Product::candidates(report, product)?;
        let kind = Kind::of(report)?;
        let (product, vcek) = match (kind, candidates.as_slice()) {
            (Kind::Vcek, _) => {
                self.vcek(report, &candidates, now).await.map(|(product, vcek)| (product, Some(vcek)))?
            }
            (Kind::Vlek, [product]) => (*product, None),
            (Kind::Vlek, _) => {
                return Err(Refusal::new(Code::EndorsementUnknown, "product of the report")
                    .got(format!("version {}, which names none", report.version))
                    .want("to be told the product"));
            }
        };
        let (chain, chain_ends) = self.chain(kind, product, now).await?;
        let (crl, crl_ends) = self.crl(kind, product, now, false).await?;
        let vcek_ends = vcek.as_ref().map_or(UnixTime::MAX, |(_, ends)| *ends);
        let expires = chain_ends.min(crl_ends).min(vcek_ends);
        Ok(SnpEndorsements { product, vcek: vcek.map(|(vcek, _)| vcek), chain, crl, expires })
    }

    /// What Intel vouches with for the platform of `quote`, current at `now`.
    ///
    /// # Errors
    /// `endorsement-unknown`, `endorsement-unavailable`, `endorsement-not-cached`, `endorsement-mismatch`; `malformed`,
    /// `too-large`, `collateral-expired`: of an answer; `network`, `timeout`, `tls-failed`, `plaintext-refused`, `io`.
    pub async fn fetch_tdx(&self, quote: &Quote, now: UnixTime) -> Result<Collateral> {
        let (json, expires) = self.collateral(&Platform::of(quote)?, now, false).await?;
        Ok(Collateral { json, expires })
    }

    /// The collateral of `platform`; a new set though what is kept is current, where it `renews`.
    pub(crate) async fn collateral(
        &self,
        platform: &Platform,
        now: UnixTime,
        renews: bool,
    ) -> Result<(Bytes, UnixTime)> {
        let expires = |json: &[u8]| pcs::expires(json, platform);
        let fetch = async { pcs::fetch(&self.asker, &self.access.pcs, platform).await.map(Bytes::from) };
        self.obtain(&collateral(platform, &expires, renews), now, fetch).await
    }

    /// The collateral that is kept.
    pub(crate) fn kept_tdx(&self, platform: &Platform, now: UnixTime) -> Result<Option<(Bytes, UnixTime)>> {
        self.kept(&collateral(platform, &|json| pcs::expires(json, platform), false), now)
    }

    /// ASK or ASVK, and ARK, in PEM.
    pub(crate) async fn chain(&self, kind: Kind, product: Product, now: UnixTime) -> Result<(Bytes, UnixTime)> {
        self.obtain(&authorities(kind, product), now, self.body(kind.chain_url(&self.access.kds, product))).await
    }

    /// The ARK's revocation list; a new one though what is kept is current, where it `renews`.
    pub(crate) async fn crl(
        &self,
        kind: Kind,
        product: Product,
        now: UnixTime,
        renews: bool,
    ) -> Result<(Bytes, UnixTime)> {
        let entry = list(kind, product, renews);
        self.obtain(&entry, now, self.body(kind.crl_url(&self.access.kds, product))).await
    }

    /// The VCEK that is kept, under whichever of `candidates`.
    pub(crate) fn kept_under(
        &self,
        report: &Report,
        candidates: &[Product],
        now: UnixTime,
    ) -> Result<Option<(Product, (Bytes, UnixTime))>> {
        for product in candidates {
            let vcek = Vcek::of(report, *product)?;
            if let Some(kept) = self.kept(&entry(&vcek, &|der| vcek.expires(der)), now)? {
                return Ok(Some((*product, kept)));
            }
        }
        Ok(None)
    }

    /// The chain that is kept.
    pub(crate) fn kept_chain(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Option<(Bytes, UnixTime)>> {
        self.kept(&authorities(kind, product), now)
    }

    /// The list that is kept.
    pub(crate) fn kept_crl(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Option<(Bytes, UnixTime)>> {
        self.kept(&list(kind, product, false), now)
    }

    /// Keeps a list that somebody showed in the place of the one that is kept, where whoever judges takes it. Whether it did.
    pub(crate) fn offered_crl(&self, kind: Kind, product: Product, der: &[u8], now: UnixTime) -> Result<bool> {
        let entry = list(kind, product, false);
        // Nothing is half done where somebody panicked.
        let _turn = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        // Where none is kept, the vendor is asked: what somebody shows may be an old one.
        let Some((kept, _)) = self.kept(&entry, now)?.filter(|(kept, _)| self.judge.is_some() && **kept != *der) else {
            return Ok(false);
        };
        if (entry.expires)(der)? < now {
            return Ok(false);
        }
        self.verify(&entry, der, Some(&kept), now)?;
        // The vendor was asked when it was: what is shown puts off no question.
        let asked = self.cache.since(&entry.name).unwrap_or(now);
        self.keep(&entry, der, asked).map(|()| true)
    }

    /// When what is kept of a list was kept; `None`: none is.
    pub(crate) fn crl_since(&self, kind: Kind, product: Product) -> Option<UnixTime> {
        self.cache.since(&kind.crl_file(product))
    }

    /// The same of collateral.
    pub(crate) fn tdx_since(&self, platform: &Platform) -> Option<UnixTime> {
        self.cache.since(&platform.file())
    }

    pub(crate) const fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The VCEK, under whichever of `candidates` it is kept or known.
    pub(crate) async fn vcek(
        &self,
        report: &Report,
        candidates: &[Product],
        now: UnixTime,
    ) -> Result<(Product, (Bytes, UnixTime))> {
        // All that is kept is looked at before anybody is asked.
        if let Some(kept) = self.kept_under(report, candidates, now)? {
            return Ok(kept);
        }
        let wanted: Vec<_> = candidates.iter().map(|product| Vcek::of(report, *product)).collect::<Result<_>>()?;
        let search = async {
            let mut unknown = None;
            for vcek in &wanted {
                let fetch = self.body(vcek.url(&self.access.kds));
                match self.obtain(&entry(vcek, &|der| vcek.expires(der)), now, fetch).await {
                    Err(refusal) if refusal.code == Code::EndorsementUnknown => unknown = Some(refusal),
                    outcome => return outcome.map(|found| (vcek.product, found)),
                }
            }
            Err(unknown.unwrap_or_else(|| Refusal::new(Code::Internal, "no product to ask for")))
        };
        // One search at a time, or who comes while the second product is asked would ask the first once more.
        match wanted.as_slice() {
            [first, _, ..] => self.searches.join(&first.file(), search).await,
            _ => search.await,
        }
    }

    async fn body(&self, url: String) -> Result<Bytes> {
        Ok(self.asker.get(&url).await?.body)
    }

    /// What is kept, or else what `fetch` gives; and when it ends.
    async fn obtain(
        &self,
        entry: &Entry<'_>,
        now: UnixTime,
        fetch: impl Future<Output = Result<Bytes>>,
    ) -> Result<(Bytes, UnixTime)> {
        let before = self.load(entry);
        if let Some(kept) = self.kept(entry, now)?.filter(|_| !self.renews(entry)) {
            return Ok(kept);
        }
        if self.access.offline {
            return Err(Refusal::new(Code::EndorsementNotCached, entry.name.display().to_string()));
        }
        let fetched = self.flights.join(&entry.name, async {
            let _lock = match self.cache.lock(&entry.name).await {
                Err(refusal) if refusal.code == Code::Io => {
                    tracing::warn!(%refusal, "endorsement asked for without a lock");
                    None
                }
                lock => Some(lock?),
            };
            // Whoever held the lock may have fetched it. What stood there before is not what a refresh asks for.
            if let Some((kept, _)) = self.kept(entry, now)?
                && (!self.renews(entry) || before.as_deref() != Some(&*kept))
            {
                return Ok(kept);
            }
            let fresh = fetch.await?;
            let ends = (entry.expires)(&fresh)?;
            if ends < now {
                return Err(Refusal::new(entry.expired, entry.name.display().to_string())
                    .got(format!("an answer that ended at {ends}"))
                    .want(format!("one that is current at {now}")));
            }
            self.verify(entry, &fresh, self.load(entry).as_deref(), now)?;
            // It is as good where it cannot be kept.
            if let Err(refusal) = self.keep(entry, &fresh, now) {
                tracing::warn!(%refusal, "endorsement not kept");
            }
            Ok(fresh)
        });
        let fetched = fetched.await?;
        let ends = (entry.expires)(&fetched)?;
        Ok((fetched, ends))
    }

    fn renews(&self, entry: &Entry<'_>) -> bool {
        (self.access.refresh || entry.renews) && entry.changes && !self.access.offline
    }

    /// What is kept of `entry` if it is current, or no newer may be asked for. What does not parse is not there.
    fn kept(&self, entry: &Entry<'_>, now: UnixTime) -> Result<Option<(Bytes, UnixTime)>> {
        let Some(bytes) = self.load(entry) else { return Ok(None) };
        match self.verify(entry, &bytes, None, now).and_then(|()| (entry.expires)(&bytes)) {
            Ok(ends) if ends >= now || self.access.offline => Ok(Some((bytes.into(), ends))),
            Ok(_) => Ok(None),
            Err(refusal) => {
                tracing::warn!(%refusal, name = %entry.name.display(), "what the cache holds is damaged");
                Ok(None)
            }
        }
    }

    /// What the cache holds. What cannot be read is not there.
    fn load(&self, entry: &Entry<'_>) -> Option<Vec<u8>> {
        self.cache.load(&entry.name).unwrap_or_else(|refusal| {
            tracing::warn!(%refusal, "what the cache holds cannot be read");
            None
        })
    }

    fn keep(&self, entry: &Entry<'_>, bytes: &[u8], now: UnixTime) -> Result<()> {
        self.cache.store(&entry.name, bytes, now)?;
        // A report that is not authentic names whatever TCB it likes, and AMD answers for many.
        if entry.changes { Ok(()) } else { self.cache.thin(&entry.name) }
    }

    /// Refuses what is not genuine, as far as anybody says.
    fn verify(&self, entry: &Entry<'_>, bytes: &[u8], kept: Option<&[u8]>, now: UnixTime) -> Result<()> {
        let (Some(judge), Some(part)) = (&self.judge, entry.published) else { return Ok(()) };
        judge.verify(&Offered { part, bytes, kept, now })
    }
}

fn entry<'a>(vcek: &Vcek, expires: &'a (dyn Fn(&[u8]) -> Result<UnixTime> + Sync)) -> Entry<'a> {
    let (name, expired) = (vcek.file(), Code::CertificateExpired);
    Entry { name, expires, expired, published: None, changes: false, renews: false }
}

fn authorities(kind: Kind, product: Product) -> Entry<'static> {
    let expires: &'static (dyn Fn(&[u8]) -> Result<UnixTime> + Sync) = &|pem| chain_expires(pem, "certificate chain");
    let (name, published) = (kind.chain_file(product), Some(Published::Authorities(product)));
    Entry { name, expires, expired: Code::CertificateExpired, published, changes: true, renews: false }
}

fn list(kind: Kind, product: Product, renews: bool) -> Entry<'static> {
    let expires: &'static (dyn Fn(&[u8]) -> Result<UnixTime> + Sync) = &|der| crl_expires(der, "revocation list");
    let (name, published) = (kind.crl_file(product), Some(Published::List(product)));
    Entry { name, expires, expired: Code::CrlExpired, published, changes: true, renews }
}

fn collateral<'a>(
    platform: &Platform,
    expires: &'a (dyn Fn(&[u8]) -> Result<UnixTime> + Sync),
    renews: bool,
) -> Entry<'a> {
    let (name, published) = (platform.file(), Some(Published::Collateral));
    Entry { name, expires, expired: Code::CollateralExpired, published, changes: true, renews }
}
