//! Endorsements part by part, for a service that asks on behalf of others: it decides for each part whether it may be
//! asked for, hands out what it has where another part cannot be had, and forgets what turned out to be forged.

use crate::UnixTime;
use crate::certificate::chain_der;
use crate::fetcher::Fetcher;
use crate::kds::{Kind, Product, Vcek};
use crate::platform::Platform;
use bytes::Bytes;
use strongroom_wire::Result;
use strongroom_wire::snp::Report;

/// Something that ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated<T> {
    /// What.
    pub value: T,
    /// notAfter or nextUpdate: the first, of several.
    pub expires: UnixTime,
}

impl<T> From<(T, UnixTime)> for Dated<T> {
    fn from((value, expires): (T, UnixTime)) -> Self {
        Self { value, expires }
    }
}

impl Fetcher {
    /// The VCEK of `report`, in DER, where it is kept. Nobody is asked.
    ///
    /// # Errors
    /// `endorsement-unknown`: the chip id is masked; `platform-unsupported`; `io`.
    pub fn kept_vcek(&self, report: &Report, now: UnixTime) -> Result<Option<(Product, Dated<Bytes>)>> {
        let kept = self.kept_under(report, &Product::candidates(report, None)?, now)?;
        Ok(kept.map(|(product, vcek)| (product, vcek.into())))
    }

    /// The VCEK of `report`, in DER: kept, or else asked for.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_snp`].
    pub async fn fetch_vcek(&self, report: &Report, now: UnixTime) -> Result<(Product, Dated<Bytes>)> {
        let (product, vcek) = self.vcek(report, &Product::candidates(report, None)?, now).await?;
        Ok((product, vcek.into()))
    }

    /// The authorities above a key of that kind: ASK or ASVK, and ARK, each in DER.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_snp`].
    pub async fn fetch_authorities(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Dated<Vec<Bytes>>> {
        let (pem, expires) = self.chain(kind, product, now).await?;
        Ok(Dated { value: chain_der(&pem, "certificate chain")?, expires })
    }

    /// The authorities that are kept and current. Nobody is asked.
    ///
    /// # Errors
    /// `malformed`.
    pub fn kept_authorities(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Option<Dated<Vec<Bytes>>>> {
        let Some((pem, expires)) = self.kept_chain(kind, product, now)? else { return Ok(None) };
        Ok(Some(Dated { value: chain_der(&pem, "certificate chain")?, expires }))
    }

    /// The revocation list above a key of that kind, in DER.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_snp`].
    pub async fn fetch_list(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Dated<Bytes>> {
        self.crl(kind, product, now, false).await.map(Dated::from)
    }

    /// The same, asked for though the one that is kept is current. That one stays where the new one cannot be had.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_snp`].
    pub async fn renew_list(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Dated<Bytes>> {
        self.crl(kind, product, now, true).await.map(Dated::from)
    }

    /// The list that is kept and current. Nobody is asked.
    ///
    /// # Errors
    /// `io`.
    pub fn kept_list(&self, kind: Kind, product: Product, now: UnixTime) -> Result<Option<Dated<Bytes>>> {
        Ok(self.kept_crl(kind, product, now)?.map(Dated::from))
    }

    /// When the vendor was last asked for the list that is kept, or for the one whose place one took that was shown, by the clock of who asked. `None`: none is, or nothing says so. Whoever
    /// writes the cache's folder can make it say anything.
    pub fn list_kept_since(&self, kind: Kind, product: Product) -> Option<UnixTime> {
        self.crl_since(kind, product)
    }

    /// Keeps a list that somebody showed, in DER, where one is kept and this is judged to be genuine and no older
    /// ([`Fetcher::judged_by`]); says whether it took that one's place. Nobody is asked, and where nobody judges nothing is kept.
    ///
    /// # Errors
    /// `malformed`: it is no list; those of who judges; `io`.
    pub fn offer_list(&self, kind: Kind, product: Product, der: &[u8], now: UnixTime) -> Result<bool> {
        self.offered_crl(kind, product, der, now)
    }

    /// Intel's collateral of `platform` that is kept and current, as `QuoteCollateralV3` JSON. Nobody is asked.
    ///
    /// # Errors
    /// `io`.
    pub fn kept_collateral(&self, platform: &Platform, now: UnixTime) -> Result<Option<Dated<Bytes>>> {
        Ok(self.kept_tdx(platform, now)?.map(Dated::from))
    }

    /// When the collateral that is kept was fetched, as [`Fetcher::list_kept_since`] says it of a list.
    pub fn collateral_kept_since(&self, platform: &Platform) -> Option<UnixTime> {
        self.tdx_since(platform)
    }

    /// The collateral of `platform`: kept, or else asked for.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_tdx`].
    pub async fn fetch_collateral(&self, platform: &Platform, now: UnixTime) -> Result<Dated<Bytes>> {
        self.collateral(platform, now, false).await.map(Dated::from)
    }

    /// The same, asked for though the one that is kept is current. That one stays where the new one cannot be had.
    ///
    /// # Errors
    /// As [`Fetcher::fetch_tdx`].
    pub async fn renew_collateral(&self, platform: &Platform, now: UnixTime) -> Result<Dated<Bytes>> {
        self.collateral(platform, now, true).await.map(Dated::from)
    }

    /// Keeps no VCEK for `report` any more, whatever product it may be of: to be called where the signature in what was kept
    /// does not verify, so that it is asked for once more. Chains and lists are judged before they are kept.
    ///
    /// # Errors
    /// `platform-unsupported`; `io`.
    pub fn forget(&self, report: &Report) -> Result<()> {
        for product in Product::candidates(report, None)? {
            if let Ok(vcek) = Vcek::of(report, product) {
                self.cache().remove(&vcek.file())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Cache, Published};
    use strongroom_devkit::amd::{Hierarchy, VekSpec};
    use strongroom_devkit::report::ReportSpec;
    use strongroom_devkit::vendors::{Fault, Vendors};
    use strongroom_wire::{Code, Refusal};
    use tempfile::TempDir;

    const NOW: UnixTime = 1_800_000_000;
    const ENDS: UnixTime = NOW + 1000;

    struct World {
        vendors: Vendors,
        report: Report,
        vcek: Vec<u8>,
        fetcher: Fetcher,
        _cache: TempDir,
    }

    impl World {
        async fn new() -> Self {
            let hierarchy = Hierarchy::shared().unwrap();
            let vek = hierarchy.issue(VekSpec::default()).unwrap();
            let vendors = Vendors::start().await.unwrap();
            vendors.add_amd(&hierarchy, &vek, NOW - 10..ENDS).unwrap();
            let cache = tempfile::tempdir().unwrap();
            let access = Access { kds: vendors.url().to_owned(), plain_http: true, ..Access::default() };
            let fetcher = Fetcher::new(access, Cache::new(cache.path())).unwrap();
            let report = ReportSpec::default().report(&vek).unwrap();
            Self { vendors, report, vcek: vek.certificate, fetcher, _cache: cache }
        }

        fn asked(&self) -> usize {
            self.vendors.asked().len()
        }
    }

    #[tokio::test]
    async fn each_part_is_asked_for_by_itself_and_the_kept_one_given_to_who_may_not_ask() {
        let world = World::new().await;
        let (fetcher, report) = (&world.fetcher, &world.report);
        assert_eq!((fetcher.kept_vcek(report, NOW).unwrap(), world.asked()), (None, 0));
        let (product, vcek) = fetcher.fetch_vcek(report, NOW).await.unwrap();
        assert_eq!((product, &*vcek.value, world.asked()), (Product::Milan, &*world.vcek, 1));
        assert_eq!(fetcher.kept_vcek(report, NOW).unwrap(), Some((product, vcek)));
        let authorities = fetcher.fetch_authorities(Kind::Vcek, product, NOW).await.unwrap();
        let hierarchy = Hierarchy::shared().unwrap();
        assert_eq!(fetcher.kept_authorities(Kind::Vcek, product, NOW).unwrap().as_ref(), Some(&authorities));
        assert_eq!(authorities.value, [hierarchy.ask.certificate(), hierarchy.ark.certificate()]);
        assert_eq!(fetcher.kept_list(Kind::Vcek, product, NOW).unwrap(), None);
        assert_eq!(fetcher.list_kept_since(Kind::Vcek, product), None);
        let list = fetcher.fetch_list(Kind::Vcek, product, NOW).await.unwrap();
        assert_eq!((list.expires, world.asked()), (ENDS, 3));
        assert_eq!(fetcher.list_kept_since(Kind::Vcek, product), Some(NOW));
        assert_eq!(fetcher.kept_list(Kind::Vcek, product, ENDS).unwrap(), Some(list));
        assert_eq!(fetcher.kept_list(Kind::Vcek, product, ENDS + 1).unwrap(), None);
    }

    #[tokio::test]
    async fn list_is_renewed_while_it_lasts_and_stays_where_no_new_one_can_be_had() {
        let world = World::new().await;
        let old = world.fetcher.fetch_list(Kind::Vcek, Product::Milan, NOW).await.unwrap();
        world.vendors.fail_next(Fault::Status(404, None));
        let failed = world.fetcher.renew_list(Kind::Vcek, Product::Milan, NOW).await;
        assert_eq!(failed.unwrap_err().code, Code::EndorsementUnknown);
        assert_eq!(world.fetcher.kept_list(Kind::Vcek, Product::Milan, NOW).unwrap(), Some(old));
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        world.vendors.add_amd(&hierarchy, &vek, NOW - 10..ENDS + 500).unwrap();
        let new = world.fetcher.renew_list(Kind::Vcek, Product::Milan, NOW).await.unwrap();
        assert_eq!((new.expires, world.asked()), (ENDS + 500, 3));
    }

    #[tokio::test]
    async fn what_was_forgotten_is_asked_for_once_more() {
        let world = World::new().await;
        for asked in [3, 4] {
            world.fetcher.fetch_snp(&world.report, None, NOW).await.unwrap();
            assert_eq!(world.asked(), asked);
            world.fetcher.forget(&world.report).unwrap();
        }
    }

    #[tokio::test]
    async fn what_the_judge_refuses_is_neither_kept_nor_given_and_the_good_one_stays() {
        let mut world = World::new().await;
        let hierarchy = Hierarchy::shared().unwrap();
        let forged = hierarchy.ask.crl(&[], NOW - 10..ENDS + 500).unwrap();
        let lie = forged.clone();
        world.fetcher = world.fetcher.judged_by(move |offered| match offered.part {
            Published::List(_) if offered.bytes != lie => Ok(()),
            _ => Err(Refusal::new(Code::CrlSignatureInvalid, "test")),
        });
        let (fetcher, of) = (&world.fetcher, (Kind::Vcek, Product::Milan));
        assert!(fetcher.fetch_authorities(of.0, of.1, NOW).await.is_err());
        let good = fetcher.fetch_list(of.0, of.1, NOW).await.unwrap();
        world.vendors.fail_next(Fault::Lie(forged.clone()));
        assert_eq!(fetcher.renew_list(of.0, of.1, NOW).await.unwrap_err().code, Code::CrlSignatureInvalid);
        assert_eq!(fetcher.kept_list(of.0, of.1, NOW).unwrap(), Some(good.clone()));
        // Another process, which does not judge, shares the folder.
        fetcher.cache().store(&of.0.crl_file(of.1), &forged, NOW).unwrap();
        assert_eq!(fetcher.kept_list(of.0, of.1, NOW).unwrap(), None);
        assert_eq!(fetcher.fetch_list(of.0, of.1, NOW).await.unwrap(), good);
    }

    #[tokio::test]
    async fn list_that_is_shown_puts_off_no_question_to_the_vendor() {
        let mut world = World::new().await;
        world.fetcher = world.fetcher.judged_by(|_| Ok(()));
        let (fetcher, (kind, product)) = (&world.fetcher, (Kind::Vcek, Product::Milan));
        let shown = Hierarchy::shared().unwrap().ask.crl(&[], NOW - 10..ENDS + 500).unwrap();
        assert!(!fetcher.offer_list(kind, product, &shown, NOW).unwrap(), "none is kept");
        fetcher.fetch_list(kind, product, NOW).await.unwrap();
        assert!(fetcher.offer_list(kind, product, &shown, NOW + 5).unwrap());
        assert_eq!(fetcher.kept_list(kind, product, NOW + 5).unwrap().unwrap().value[..], shown[..]);
        assert_eq!(fetcher.list_kept_since(kind, product), Some(NOW));
    }

    #[tokio::test]
    async fn answer_that_cannot_be_kept_is_given_all_the_same() {
        let world = World::new().await;
        // No folder can be made below a file, and nothing read.
        let file = tempfile::NamedTempFile::new().unwrap();
        let access = Access { kds: world.vendors.url().to_owned(), plain_http: true, ..Access::default() };
        let fetcher = Fetcher::new(access, Cache::new(file.path())).unwrap();
        assert!(fetcher.fetch_snp(&world.report, None, NOW).await.is_ok());
        assert_eq!(fetcher.kept_vcek(&world.report, NOW).unwrap(), None);
    }
}
