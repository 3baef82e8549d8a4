#!/usr/bin/env python3
"""Signs a model folder, or verifies its bundle, with OpenSSF's own `model_signing` command.

The command's output goes to stderr. Exit codes: 0 done or verified, 1 the command refused.
"""

import argparse
import subprocess
import sys
from pathlib import Path


def call(given):
    command = [Path(sys.executable).with_name("model_signing"), given.verb]
    if given.trust_config:
        command += ["sigstore", given.model, "--trust_config", given.trust_config]
        if given.verb == "sign":
            command += ["--identity_token", Path(given.token).read_text()]
        else:
            command += ["--identity", given.identity, "--identity_provider", given.issuer]
    elif given.token_key:
        command += ["pkcs11-key", given.model, "--pkcs11_uri", given.token_key]
    elif given.verb == "sign":
        if given.certificate:
            command += [
                "certificate",
                given.model,
                "--private_key",
                given.key,
                "--signing_certificate",
                given.certificate,
            ]
            command += [option for path in given.chain for option in ("--certificate_chain", path)]
        else:
            command += ["key", given.model, "--private_key", given.key]
    elif given.pub:
        command += ["key", given.model, "--public_key", given.pub]
    else:
        command += ["certificate", given.model, *(o for path in given.chain for o in ("--certificate_chain", path))]
    return [*command, "--signature", given.signature]


def main():
    arguments = argparse.ArgumentParser(description="Signs or verifies a model folder with model_signing.")
    arguments.add_argument("verb", choices=["sign", "verify"])
    arguments.add_argument("model", metavar="MODEL_DIR")
    arguments.add_argument("signature", metavar="SIG", help="the bundle, written or read")
    arguments.add_argument("--key", metavar="PEM", help="sign: private key")
    arguments.add_argument("--token-key", metavar="URI", help="sign: private key in a PKCS #11 token")
    arguments.add_argument("--certificate", metavar="PEM", help="sign: the key's certificate")
    arguments.add_argument("--pub", metavar="PEM", help="verify: public key")
    arguments.add_argument("--chain", metavar="PEM", action="append", default=[], help="CA certificates, repeatable")
    arguments.add_argument("--trust-config", metavar="JSON", help="keyless: Sigstore's ClientTrustConfig")
    arguments.add_argument("--token", metavar="FILE", help="sign, keyless: identity token")
    arguments.add_argument("--identity", help="verify, keyless: who signed")
    arguments.add_argument("--issuer", help="verify, keyless: who vouched")
    given = arguments.parse_args()
    if given.verb == "sign" and not given.key and not given.token_key and not given.token:
        arguments.error("to sign takes --key, --token-key or --token")
    if given.verb == "verify" and not given.pub and not given.chain and not given.identity:
        arguments.error("to verify takes --pub, --chain or --identity")
    return min(1, subprocess.run(call(given), stdout=sys.stderr).returncode)


if __name__ == "__main__":
    sys.exit(main())
