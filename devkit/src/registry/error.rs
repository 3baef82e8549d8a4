//! Error answers (distribution specification 1.1, "Error Codes"): a status and `{"errors":[{code,message,detail}]}`.

use axum::response::{IntoResponse, Response};
use axum::{Json, http::StatusCode};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use strongroom_wire::{Code, Refusal};

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:ident;)*) => {
        /// The specification's error codes, each with the status it is answered with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum ErrorCode { $($(#[doc = $doc])* $name,)* }

        impl ErrorCode {
            pub(super) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

error_codes! {
    /// The repository has no such blob.
    BlobUnknown = "BLOB_UNKNOWN", NOT_FOUND;
    /// The upload cannot go on like this.
    BlobUploadInvalid = "BLOB_UPLOAD_INVALID", BAD_REQUEST;
    /// The repository has no such upload session.
    BlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN", NOT_FOUND;
    /// A digest is malformed, or not that of the content.
    DigestInvalid = "DIGEST_INVALID", BAD_REQUEST;
    /// A manifest names content that the repository does not have. Docker's registry answers 400 as well.
    ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN", BAD_REQUEST;
    /// A manifest or its media type is not acceptable.
    ManifestInvalid = "MANIFEST_INVALID", BAD_REQUEST;
    /// The repository has no such manifest.
    ManifestUnknown = "MANIFEST_UNKNOWN", NOT_FOUND;
    /// The repository name is malformed.
    NameInvalid = "NAME_INVALID", BAD_REQUEST;
    /// There is no such repository.
    NameUnknown = "NAME_UNKNOWN", NOT_FOUND;
    /// A request is longer than it may be or than it said.
    SizeInvalid = "SIZE_INVALID", PAYLOAD_TOO_LARGE;
    /// No credentials, or others.
    Unauthorized = "UNAUTHORIZED", UNAUTHORIZED;
    /// The operation is not offered.
    Unsupported = "UNSUPPORTED", METHOD_NOT_ALLOWED;
    /// Too many uploads are open.
    TooManyRequests = "TOOMANYREQUESTS", TOO_MANY_REQUESTS;
    /// The registry's own disk failed; outside the specification's list, as Docker's registry names it.
    Unknown = "UNKNOWN", INTERNAL_SERVER_ERROR;
}

/// What an endpoint answers.
pub(super) type Answer<T = Response> = Result<T, OciError>;

/// Why a request was not served, as its client is told.
#[derive(Debug)]
pub(super) struct OciError {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    detail: String,
    headers: HeaderMap,
}

impl OciError {
    /// An error of `code` with the status that goes with it.
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let status = code.status();
        Self { code, status, message: message.into(), detail: String::new(), headers: HeaderMap::new() }
    }

    /// Names the thing that it is about.
    pub(super) fn about(mut self, detail: impl ToString) -> Self {
        self.detail = detail.to_string();
        self
    }

    /// Answers with `status` in place of the code's own.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header to the answer.
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The code that the client is told.
    #[cfg(test)]
    pub(super) const fn code(&self) -> ErrorCode {
        self.code
    }
}

impl From<Refusal> for OciError {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            Code::TooLarge => Self::new(ErrorCode::SizeInvalid, refusal.to_string()),
            Code::Network | Code::Timeout => Self::new(ErrorCode::BlobUploadInvalid, refusal.to_string()),
            _ => {
                tracing::error!(%refusal, "registry failed");
                Self::new(ErrorCode::Unknown, refusal.code.as_str())
            }
        }
    }
}

impl IntoResponse for OciError {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code.as_str(), "message": self.message, "detail": self.detail});
        (self.status, self.headers, Json(json!({"errors": [error]}))).into_response()
    }
}
