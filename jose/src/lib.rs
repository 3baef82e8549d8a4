//! JWS, JWE and JWK for key release
