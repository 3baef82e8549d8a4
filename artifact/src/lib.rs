//! What makes a model trusted: manifest, signatures, sealing
