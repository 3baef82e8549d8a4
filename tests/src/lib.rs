//! End-to-end, arrow, interop and fault tests against real peers
