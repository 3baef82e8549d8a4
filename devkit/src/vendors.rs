//! AMD's Key Distribution Service and Intel's Provisioning Certification Service for tests: their URLs, formats and headers
//! over loopback, with the endorsements of fake hierarchies, every request recorded, and answers that go wrong on demand.
//!
//! The URLs are written out here once more, from the vendors' specifications, so that a client that gets one wrong is not
//! answered.

use crate::amd::{self, Vek};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, StatusCode};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use strongroom_transport::{ServeLimits, bind, serve};
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::oneshot;

/// What a service answers: a body, and headers beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// Names and values.
    pub headers: Vec<(String, String)>,
}

/// How one answer goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status, with this `Retry-After`.
    Status(u16, Option<String>),
    /// Nothing ever comes.
    Stall,
    /// The head comes and half of the body, and no more of it.
    StallInBody,
    /// Half of the body comes, and the connection ends.
    Cut,
    /// Another body.
    Lie(Vec<u8>),
}

/// Both services on one loopback port, over plain HTTP; gone when dropped.
#[derive(Debug)]
pub struct Vendors {
    url: String,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    faults: Mutex<VecDeque<Fault>>,
    asked: Mutex<Vec<String>>,
}

impl Vendors {
    /// Services that know nothing yet.
    ///
    /// # Errors
    /// `network`: no port.
    pub async fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let bound = bind("127.0.0.1:0").await?;
        let url = format!("http://{}", bound.local_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async move {
            // The sender only ever goes away.
            let _ = stopped.await;
        };
        tokio::spawn(serve(bound, None, router, ServeLimits::default(), until));
        Ok(Self { url, shared, _stop: stop })
    }

    /// `http://127.0.0.1:<port>`, the base of both services.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers `path`, query included, with `answer` from now on.
    pub fn answer(&self, path: impl Into<String>, answer: Answer) {
        lock(&self.shared.answers).insert(path.into(), answer);
    }

    /// Knows the VCEK `vek`, and `hierarchy`, as AMD's service does; the revocation list lasts as long as `window` says.
    ///
    /// # Errors
    /// Those of the hierarchy.
    pub fn add_amd(&self, hierarchy: &amd::Hierarchy, vek: &Vek, window: core::ops::Range<u64>) -> Result<()> {
        let product = vek.spec.product_name.split('-').next().unwrap_or_default();
        let hwid = vek.spec.hwid.as_deref().unwrap_or_default();
        let Tcb { fmc, bootloader, tee, snp, microcode } = vek.spec.tcb;
        let fmc = fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
        let levels = format!("{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
        self.answer(format!("/vcek/v1/{product}/{}?{levels}", hex::encode(hwid)), Answer::of(&vek.certificate));
        let crl = hierarchy.ark.crl(&[], window)?;
        for (kind, issuer) in [("vcek", &hierarchy.ask), ("vlek", &hierarchy.asvk)] {
            let chain = format!("{}{}", issuer.certificate_pem()?, hierarchy.ark.certificate_pem()?);
            self.answer(format!("/{kind}/v1/{product}/cert_chain"), Answer::of(chain.as_bytes()));
            self.answer(format!("/{kind}/v1/{product}/crl"), Answer::of(&crl));
        }
        Ok(())
    }

    /// Knows `collateral` (`QuoteCollateralV3` JSON) of the platforms with `fmspc` (hex) under `authority` (`platform` or
    /// `processor`), as Intel's service does, and the root's list as a PCCS does.
    ///
    /// # Errors
    /// `malformed`: no collateral.
    pub fn add_intel(&self, collateral: &[u8], fmspc: &str, authority: &str) -> Result<()> {
        let document: Value = serde_json::from_slice(collateral).map_err(|e| Refusal::malformed("collateral", e))?;
        let text = |name: &str| {
            let text = document.get(name).and_then(Value::as_str);
            text.ok_or_else(|| Refusal::malformed("collateral", format!("no {name}")))
        };
        let signed = |member: &str, name: &str, header: &str| {
            let (value, signature) = (text(name)?, text(&format!("{name}_signature"))?);
            let answer = Answer::of(format!("{{\"{member}\":{value},\"signature\":\"{signature}\"}}").as_bytes());
            Ok::<_, Refusal>(answer.with(header, percent_encoded(text(&format!("{name}_issuer_chain"))?)))
        };
        let der = |name: &str| hex::decode(text(name)?).map_err(|e| Refusal::malformed("collateral", e));
        let tdx = "/tdx/certification/v4";
        let sgx = "/sgx/certification/v4";
        self.answer(format!("{tdx}/tcb?fmspc={fmspc}"), signed("tcbInfo", "tcb_info", "TCB-Info-Issuer-Chain")?);
        self.answer(
            format!("{tdx}/qe/identity"),
            signed("enclaveIdentity", "qe_identity", "SGX-Enclave-Identity-Issuer-Chain")?,
        );
        let chain = percent_encoded(text("pck_crl_issuer_chain")?);
        let list = Answer::of(&der("pck_crl")?).with("SGX-PCK-CRL-Issuer-Chain", chain);
        self.answer(format!("{sgx}/pckcrl?ca={authority}&encoding=der"), list);
        self.answer(format!("{sgx}/rootcacrl"), Answer::of(text("root_ca_crl")?.as_bytes()));
        Ok(())
    }

    /// The next answer goes wrong like this; several are used up in the order in which they were given.
    pub fn fail_next(&self, fault: Fault) {
        lock(&self.shared.faults).push_back(fault);
    }

    /// What was asked for so far, queries included.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Answer {
    /// A body without headers of its own.
    pub fn of(body: &[u8]) -> Self {
        Self { body: body.to_vec(), headers: Vec::new() }
    }

    /// And this header.
    #[must_use]
    pub fn with(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    lock(&shared.asked).push(path.clone());
    let answer = lock(&shared.answers).get(&path).cloned();
    let fault = lock(&shared.faults).pop_front();
    respond(answer, fault).await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn respond(answer: Option<Answer>, fault: Option<Fault>) -> Result<Response> {
    match (answer, fault) {
        (_, Some(Fault::Status(status, wait))) => {
            let builder = Response::builder().status(status);
            let builder = wait.into_iter().fold(builder, |builder, wait| builder.header("retry-after", wait));
            builder.body(Body::empty()).map_err(internal)
        }
        (_, Some(Fault::Stall)) => core::future::pending().await,
        (None, _) => Ok(empty(StatusCode::NOT_FOUND)),
        (Some(answer), Some(Fault::Lie(body))) => whole(Answer { body, ..answer }),
        (Some(answer), Some(Fault::StallInBody)) => half(&answer, stream::pending().boxed()),
        (Some(answer), Some(Fault::Cut)) => {
            let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            half(&answer, stream::iter([Err(broken)]).boxed())
        }
        (Some(answer), None) => whole(answer),
    }
}

fn whole(answer: Answer) -> Result<Response> {
    let mut response = Response::new(Body::from(answer.body));
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name).map_err(internal)?;
        response.headers_mut().insert(name, value.try_into().map_err(internal)?);
    }
    Ok(response)
}

/// The first half of the body, under the length of all of it.
fn half(answer: &Answer, then: stream::BoxStream<'static, std::io::Result<Bytes>>) -> Result<Response> {
    let first = answer.body.get(..answer.body.len() / 2).unwrap_or_default();
    let first = stream::iter([Ok(Bytes::copy_from_slice(first))]);
    let body = Body::from_stream(first.chain(then));
    Response::builder().header("content-length", answer.body.len()).body(body).map_err(internal)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// As Intel's service writes PEM into headers: all but letters, digits and `-_.~` escaped (RFC 3986 §2.3).
fn percent_encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

fn internal(error: impl core::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "devkit vendors").because(error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
