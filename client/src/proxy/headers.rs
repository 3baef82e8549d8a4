//! Which header fields a proxy passes on (RFC 9110 §7.6.1).

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION};
use http::header::{TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName};

/// About one connection, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the fields that are about one connection, those that `Connection` names among them.
pub(super) fn keep_end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Removes from a request what its next connection decides anew: the host, the length (the body knows it), and
/// `Expect`, which this hop has answered.
pub(super) fn leave_framing_to_body(headers: &mut HeaderMap) {
    for name in [HOST, CONTENT_LENGTH, EXPECT] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::{AUTHORIZATION, CONTENT_TYPE};

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn fields_named_by_connection_removed_and_the_same_fields_kept_without_it() {
        let private = HeaderName::from_static("x-private");
        let mut with =
            headers(&[(CONNECTION, "close, X-Private"), (private.clone(), "1"), (AUTHORIZATION, "Bearer k")]);
        keep_end_to_end(&mut with);
        assert_eq!(with, headers(&[(AUTHORIZATION, "Bearer k")]));
        let mut without = headers(&[(private.clone(), "1")]);
        keep_end_to_end(&mut without);
        assert_eq!(without, headers(&[(private, "1")]));
    }

    #[test]
    fn hop_by_hop_fields_removed_though_connection_names_none() {
        let mut all: HeaderMap = HOP_BY_HOP.iter().map(|name| (name.clone(), HeaderValue::from_static("x"))).collect();
        all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        keep_end_to_end(&mut all);
        assert_eq!(all, headers(&[(CONTENT_TYPE, "application/json")]));
    }

    #[test]
    fn host_length_and_expectation_left_to_the_next_hop() {
        let mut all =
            headers(&[(HOST, "localhost"), (CONTENT_LENGTH, "4"), (EXPECT, "100-continue"), (AUTHORIZATION, "b")]);
        leave_framing_to_body(&mut all);
        assert_eq!(all, headers(&[(AUTHORIZATION, "b")]));
    }
}
