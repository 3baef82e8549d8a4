//! The audit log over the admin API: decisions as JSON, and below `log/` the paths of c2sp.org/tlog-tiles, which whoever trusts
//! nothing but the log's key verifies all of it with.
//!
//! A read is no decision and changes nothing: it waits for no transaction and holds up none. That the log was read stands in it once
//! a minute, with how often (`unproven.rs`); otherwise who follows it would follow themselves.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde_json::json;
use strongroom_tlog::Tile;
use strongroom_wire::{Code, Refusal, Result, limits};

use crate::Verifier;
use crate::admin_gate::Permitted;

/// A read of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// Decisions after a number, at most so many, of one kind or of all.
    Decisions { after: u64, limit: u64, kind: Option<String> },
    /// The newest checkpoint.
    Checkpoint,
    /// The newest checkpoint that witnesses cosigned.
    Witnessed,
    /// The key that signs checkpoints.
    Key,
    /// The hashes of a tile.
    Tile(Tile),
    /// The entries below a tile of level 0.
    Entries(Tile),
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(serde_json::Value),
    Text(String),
    Bytes(Vec<u8>),
}

impl LogRead {
    /// The read of a path below `log/`.
    ///
    /// # Errors
    /// `route-unknown`; `malformed`: a tile's path of another form.
    pub(crate) fn parse(path: &str) -> Result<Self> {
        match path {
            "checkpoint" => Ok(Self::Checkpoint),
            "witnessed" => Ok(Self::Witnessed),
            "key" => Ok(Self::Key),
            path if path.starts_with("tile/entries/") => Tile::parse_entries_path(path).map(Self::Entries),
            path if path.starts_with("tile/") => Tile::parse_path(path).map(Self::Tile),
            path => Err(Refusal::new(Code::RouteUnknown, "route").got(path)),
        }
    }

    /// The read of decisions by a query.
    ///
    /// # Errors
    /// `request-invalid`.
    pub(crate) fn parse_decisions(query: &str) -> Result<Self> {
        let (mut after, mut limit, mut kind) = (0, limits::LOG_PAGE, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let want = "after=N&limit=M&kind=KIND";
            let invalid = || Refusal::new(Code::RequestInvalid, "query").got(pair).want(want);
            let (name, value) = pair.split_once('=').ok_or_else(invalid)?;
            let number = || value.parse::<u64>().map_err(|_| invalid());
            match name {
                "after" => after = number()?,
                "limit" => limit = number()?.min(limits::LOG_PAGE),
                "kind" if is_kind(value) => kind = Some(value.to_owned()),
                _ => return Err(invalid()),
            }
        }
        Ok(Self::Decisions { after, limit, kind })
    }
}

fn is_kind(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

impl Verifier {
    /// Answers a read.
    ///
    /// # Errors
    /// `log-proof-invalid`: the log has no such tile; `witness-missing`; `store-tampered`; `store-failed`.
    pub(crate) async fn read_log(&self, _: Permitted<'_>, read: LogRead) -> Result<Answer> {
        let mut store = self.store.begin_reading().await?;
        Ok(match read {
            LogRead::Decisions { after, limit, kind } => {
                Answer::Json(json!(store.audit(after, limit, kind.as_deref()).await?))
            }
            LogRead::Checkpoint => Answer::Text(store.checkpoint().await?.to_string()),
            LogRead::Witnessed => Answer::Text(store.witnessed().await?.to_string()),
            LogRead::Key => Answer::Text(format!("{}\n", self.store.log().verifier())),
            LogRead::Tile(tile) => Answer::Bytes(store.tile(tile).await?),
            LogRead::Entries(tile) => Answer::Bytes(store.bundle(tile).await?),
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(body) => crate::routes::json(http::StatusCode::OK, &body),
            Self::Text(text) => ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
            Self::Bytes(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_apart_by_path() {
        let parse = |path| LogRead::parse(path).map_err(|refusal| refusal.code);
        assert_eq!(parse("checkpoint"), Ok(LogRead::Checkpoint));
        assert_eq!(parse("key"), Ok(LogRead::Key));
        assert_eq!(parse("tile/0/000.p/7"), Ok(LogRead::Tile(Tile::of_tree(0, 0, 7).unwrap())));
        assert_eq!(parse("tile/entries/000"), Ok(LogRead::Entries(Tile::of_tree(0, 0, 256).unwrap())));
        for (path, code) in [
            ("", Code::RouteUnknown),
            ("checkpoint/", Code::RouteUnknown),
            ("tile/0/0", Code::Malformed),
            ("tile/entries/0", Code::Malformed),
        ] {
            assert_eq!(parse(path), Err(code), "{path}");
        }
    }

    #[test]
    fn decisions_are_asked_for_by_number_and_kind() {
        let parse = |query| LogRead::parse_decisions(query).map_err(|refusal| refusal.code);
        let of = |after, limit, kind: Option<&str>| {
            Ok(LogRead::Decisions { after, limit, kind: kind.map(ToOwned::to_owned) })
        };
        assert_eq!(parse(""), of(0, limits::LOG_PAGE, None));
        assert_eq!(parse("after=3&limit=2&kind=release"), of(3, 2, Some("release")));
        assert_eq!(parse("limit=99999999"), of(0, limits::LOG_PAGE, None));
        for query in ["after=x", "after=-1", "before=1", "after", "kind=", "kind=A", "kind=a%20b"] {
            assert_eq!(parse(query), Err(Code::RequestInvalid), "{query}");
        }
    }
}
