//! OCI distribution client: verified blobs only
