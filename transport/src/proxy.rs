//! HTTP proxies (RFC 9110 §7.3.2, §9.3.6): which connections go through one, and as whom.
//!
//! A proxy is trusted with nothing: TLS goes through its tunnel end to end, and what comes in plaintext is judged by whoever
//! asked for it, as it would be without one.

mod except;

use core::fmt;
use except::Exception;
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// Through which proxy each server is reached. The default: all of them without one.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

/// One proxy, spoken to without TLS.
#[derive(Clone)]
pub(crate) struct Proxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Proxies {
    /// The proxies for `http` and for `https` servers: `[http://][user:password@]host:port`, user and password percent-encoded.
    /// `except` lists, with commas, what is reached without one, as `NO_PROXY` does: `*`; names, which stand for their
    /// subdomains too; addresses and CIDR ranges; each with a `:port` where only that is meant. Loopback and `localhost` are
    /// always reached without a proxy: one elsewhere has another loopback.
    ///
    /// # Errors
    /// `configuration-invalid`: a proxy's URL is none, or is that of a proxy spoken to over TLS, which is not offered.
    pub fn new(http: Option<&str>, https: Option<&str>, except: &str) -> Result<Self> {
        let parse = |text: Option<&str>| text.filter(|text| !text.trim().is_empty()).map(Proxy::parse).transpose();
        Ok(Self { http: parse(http)?, https: parse(https)?, except: Exception::parse_list(except) })
    }

    /// Whether everything is reached without a proxy.
    pub const fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// The proxy for `uri`.
    pub(crate) fn proxy_for(&self, uri: &Uri) -> Option<&Proxy> {
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let proxy = if is_https { self.https.as_ref() } else { self.http.as_ref() }?;
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let direct = except::is_loopback(host) || self.except.iter().any(|one| one.matches(host, port));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self> {
        // The text may hold a password, so no refusal shows it.
        let invalid = |want: &str| Refusal::new(Code::ConfigurationInvalid, "proxy url").want(want.to_owned());
        let form = "[http://][user:password@]host:port";
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            Some(("https", _)) => return Err(invalid("a proxy that is spoken to over http")),
            Some(_) => return Err(invalid(form)),
            None => text,
        };
        let rest = rest.trim_end_matches('/');
        let (user, server) = match rest.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, rest),
        };
        let server: Authority = server.parse().map_err(|_| invalid(form))?;
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(server).path_and_query("/").build();
        let authorization = user.map(basic).transpose().map_err(|()| invalid(form))?;
        Ok(Self { uri: uri.map_err(|_| invalid(form))?, authorization })
    }

    /// Where it listens.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// `Proxy-Authorization` (RFC 9110 §11.7.2), where it wants to know who we are.
    pub(crate) const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// `Basic …` (RFC 7617 §2) of `user:password`, both percent-encoded.
fn basic(user: &str) -> core::result::Result<HeaderValue, ()> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let mut pair = Zeroizing::new(Vec::with_capacity(user.len().saturating_add(1)));
    decode(name, &mut pair)?;
    pair.push(b':');
    decode(password, &mut pair)?;
    let text = Zeroizing::new(format!("Basic {}", to_base64(&pair)));
    let mut value = HeaderValue::from_str(&text).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Appends what the percent-encoded `text` (RFC 3986 §2.1) stands for.
fn decode(text: &str, out: &mut Vec<u8>) -> core::result::Result<(), ()> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (high, low) = (digit().ok_or(())?, digit().ok_or(())?);
        out.push(high << 4 | low);
    }
    Ok(())
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| proxy.uri.to_string());
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxies: &Proxies, uri: &'static str) -> Option<String> {
        proxies.proxy_for(&Uri::from_static(uri)).map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn each_scheme_has_its_own_proxy_and_loopback_has_none() {
        let proxies = Proxies::new(Some("plain:1"), Some("http://tls:2/"), "").unwrap();
        assert_eq!(through(&proxies, "http://a.example/x").as_deref(), Some("http://plain:1/"));
        assert_eq!(through(&proxies, "https://a.example/x").as_deref(), Some("http://tls:2/"));
        for loopback in ["http://localhost:5000/", "https://127.0.0.1/", "https://[::1]:5/", "http://a.localhost/"] {
            assert_eq!(through(&proxies, loopback), None, "{loopback}");
        }
        let only = Proxies::new(None, Some("tls:2"), "").unwrap();
        assert_eq!(through(&only, "http://a.example/x"), None);
        assert!(Proxies::new(Some(""), None, "").unwrap().is_empty());
    }

    #[test]
    fn user_and_password_are_decoded_and_never_shown() {
        let proxies = Proxies::new(None, Some("http://an%40na:ge%3Aheim@proxy.example:3128"), "").unwrap();
        let proxy = proxies.proxy_for(&Uri::from_static("https://r.example/")).unwrap();
        assert_eq!(proxy.authorization().unwrap(), "Basic YW5AbmE6Z2U6aGVpbQ==");
        assert_eq!(proxy.uri(), "http://proxy.example:3128/");
        assert!(!format!("{proxies:?}").contains("heim"));
    }

    #[test]
    fn what_is_no_proxy_refused_without_its_text() {
        for text in ["https://u:geheim@p:1", "socks5://u:geheim@p:1", "http://u:geheim@", "http://u:geheim%4@p", "a b"]
        {
            let refusal = Proxies::new(Some(text), None, "").unwrap_err();
            assert_eq!(refusal.code, Code::ConfigurationInvalid, "{text}");
            assert!(!refusal.to_string().contains("geheim"), "{refusal}");
        }
    }
}
