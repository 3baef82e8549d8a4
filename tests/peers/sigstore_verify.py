#!/usr/bin/env python3
"""Verifies a bundle over an in-toto statement about a digest, signed as an identity, with Sigstore's own `sigstore`.

Its command `sigstore verify` does the same, but takes no statement whose subject has no name; that of `cosign sign` has none.

Exit codes: 0 verified, 1 refused.
"""

import argparse
import json
import sys
from pathlib import Path

from sigstore.errors import Error
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier, policy


def main():
    arguments = argparse.ArgumentParser(description="Verifies a bundle by an identity.")
    arguments.add_argument("bundle", metavar="BUNDLE")
    arguments.add_argument("trust_config", metavar="TRUST_CONFIG", help="Sigstore's ClientTrustConfig")
    arguments.add_argument("issuer", metavar="ISSUER")
    arguments.add_argument("subject", metavar="SUBJECT")
    arguments.add_argument("digest", metavar="DIGEST", help="sha256:<hex>")
    given = arguments.parse_args()
    config = ClientTrustConfig.from_json(Path(given.trust_config).read_text())
    try:
        bundle = Bundle.from_json(Path(given.bundle).read_bytes())
        identity = policy.Identity(identity=given.subject, issuer=given.issuer)
        kind, payload = Verifier(trusted_root=config.trusted_root).verify_dsse(bundle, identity)
    except Error as error:
        print(f"sigstore: {error}", file=sys.stderr)
        return 1
    subjects = json.loads(payload)["subject"] if kind == "application/vnd.in-toto+json" else []
    if given.digest not in [f"sha256:{subject['digest']['sha256']}" for subject in subjects]:
        print(f"sigstore: {kind} about another digest", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
