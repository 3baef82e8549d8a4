#!/usr/bin/env python3
"""A guest of the KBS attestation protocol ("RCAR") 0.4.0: attests to a key service and asks it for one resource.

Written from the protocol's notes alone, as a second opinion on the wire format. Prints the resource as hex; with
`--json` one document {"resource": hex, "token": str, "repeat": null | {"status": int, "code": null | str,
"same_token": bool}}.

Steps: POST /kbs/v0/auth → nonce and cookie; POST /kbs/v0/attest with evidence bound to nonce and key → token; GET
/kbs/v0/resource/… with the cookie or the token → a JWE to that key.

Exit codes: 0 got it; 1 refused, and {"step", "status", "body"} is printed; 3 environment (connection, TLS, socket);
4 the service's answer breaks the protocol.
"""

import argparse
import base64
import hashlib
import json
import secrets
import sys
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

import rcar_evidence
import rcar_keys
from rcar_http import Service

HASH_ALGORITHMS = ["sha256", "sha384", "sha512"]


class Refused(Exception):
    def __init__(self, step, status, body):
        super().__init__(step)
        self.answer = {"step": step, "status": status, "body": body}


class Broken(Exception):
    """The service's answer breaks the protocol."""


class Session:
    """One handshake; `key` is the one that the evidence is bound to and that the resource is wrapped to."""

    def __init__(self, service, given):
        self.service = service
        self.given = given
        self.key = rcar_keys.generate(given.key)
        self.cookie = None
        self.nonce = None
        self.token = None

    def ask(self, step, method, path, body=None, headers=()):
        status, answer_headers, text = self.service.call(method, f"/kbs/v0/{path}", body, dict(headers))
        if status != 200:
            raise Refused(step, status, as_json(text))
        cookie = answer_headers.get("Set-Cookie")
        if cookie:
            try:
                self.cookie = SimpleCookie(cookie)["kbs-session-id"].value
            except (CookieError, KeyError) as error:
                raise Broken(f"`Set-Cookie: {cookie}` sets no kbs-session-id") from error
        return text

    def authenticate(self):
        extra = {"supported-hash-algorithms": HASH_ALGORITHMS}
        asked = {"version": self.given.version, "tee": self.given.tee, "extra-params": extra}
        challenge = json.loads(self.ask("auth", "POST", "auth", asked))
        self.nonce = challenge["nonce"]
        if len(base64.b64decode(self.nonce, validate=True)) != 32 or "extra-params" not in challenge:
            raise Broken(f"challenge {challenge} has no nonce of 32 bytes or no extra-params")
        if self.cookie is None:
            raise Broken("the answer to /auth sets no cookie")

    def attest(self, key):
        """Attests with evidence over `key` and the session's nonce, unless told to misbehave; returns the token."""
        nonce = self.nonce
        if self.given.wrong_nonce:
            nonce = base64.b64encode(secrets.token_bytes(32)).decode()
        if self.given.reuse_nonce:
            nonce = earlier(self.given.reuse_nonce, nonce)
        runtime = {"nonce": nonce, "tee-pubkey": key.jwk()}
        report, table = rcar_evidence.fetch(self.given.attester, report_data(runtime))
        if self.given.swap_key:
            self.key = rcar_keys.generate(self.given.key)
            runtime["tee-pubkey"] = self.key.jwk()
        evidence = {"primary_evidence": rcar_evidence.to_json(report, table), "additional_evidence": ""}
        asked = {"init-data": self.init_data(), "runtime-data": runtime, "tee-evidence": evidence}
        cookie = {} if self.given.no_cookie else {"Cookie": f"kbs-session-id={self.cookie}"}
        return json.loads(self.ask("attest", "POST", "attest", asked, cookie))["token"]

    def init_data(self):
        path = self.given.init_data
        return {"format": "toml", "body": path.read_bytes().decode()} if path else None

    def resource(self):
        if self.given.mode == "bearer":
            headers = {"Authorization": f"Bearer {self.token}"}
        else:
            headers = {"Cookie": f"kbs-session-id={self.cookie}"}
        jwe = self.ask("resource", "GET", f"resource/{self.given.resource}", None, headers)
        return rcar_keys.open_jwe(self.key, jwe)

    def repeat(self):
        """Attests again in the same session for another key, as a thief of the cookie would."""
        try:
            again = self.attest(rcar_keys.generate(self.given.key))
            return {"status": 200, "code": None, "same_token": again == self.token}
        except Refused as refused:
            status, body = refused.answer["status"], refused.answer["body"]
            return {"status": status, "code": body.get("code") if isinstance(body, dict) else None, "same_token": False}


def report_data(runtime):
    """SHA-384 over the canonical JSON (RFC 8785) of what is bound, zero-padded to the 64 bytes of REPORT_DATA."""
    bound = {"additional-evidence": "", **runtime}
    canonical = json.dumps(bound, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hashlib.sha384(canonical).digest().ljust(64, b"\0")


def earlier(path, nonce):
    """The nonce that an earlier run kept in `path`; the first run keeps its own."""
    if path.exists():
        return path.read_text()
    path.write_text(nonce)
    return nonce


def as_json(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_arguments():
    arguments = argparse.ArgumentParser(description="Attests to a key service and asks it for one resource.")
    arguments.add_argument("--url", required=True, help="https://HOST:PORT")
    arguments.add_argument("--resource", required=True, metavar="REPO/TYPE/TAG")
    arguments.add_argument(
        "--attester", required=True, metavar="SOCKET", help="Unix socket of the security processor"
    )
    trust = arguments.add_mutually_exclusive_group()
    trust.add_argument("--ca", metavar="PEM", help="CA certificates that the service's certificate must chain to")
    trust.add_argument(
        "--insecure-pin", metavar="PEM", help="certificate or public key whose key the service must have"
    )
    arguments.add_argument("--mode", choices=["cookie", "bearer"], default="cookie")
    arguments.add_argument("--key", choices=["P-256", "P-521", "RSA"], default="P-256")
    arguments.add_argument("--init-data", type=Path, metavar="FILE")
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--version", default="0.4.0", help="protocol version to ask for")
    arguments.add_argument("--tee", default="snp", help="TEE to claim")
    arguments.add_argument(
        "--reuse-nonce", type=Path, metavar="FILE", help="keep the nonce there, or use the one there"
    )
    arguments.add_argument("--wrong-nonce", action="store_true", help="attest over a nonce of our own")
    arguments.add_argument("--swap-key", action="store_true", help="send another key than the evidence is bound to")
    arguments.add_argument("--no-cookie", action="store_true", help="attest without the session's cookie")
    arguments.add_argument("--repeat-attest", action="store_true", help="attest twice in a session, then go on")
    given = arguments.parse_args()
    if not given.url.startswith("https://"):
        arguments.error("the protocol is spoken over TLS only: --url https://HOST:PORT")
    return given


def main():
    given = parse_arguments()
    try:
        session = Session(Service(given.url, given.ca, given.insecure_pin), given)
        session.authenticate()
        session.token = session.attest(session.key)
        repeat = session.repeat() if given.repeat_attest else None
        resource = session.resource().hex()
    except Refused as refused:
        print(json.dumps(refused.answer))
        return 1
    except (OSError, rcar_evidence.NoEvidence) as error:  # before ValueError, which a TLS error is too
        print(f"rcar: {error}", file=sys.stderr)
        return 3
    except (Broken, rcar_keys.NotForUs, KeyError, ValueError) as error:
        print(f"rcar: {type(error).__name__}: {error}", file=sys.stderr)
        return 4
    print(json.dumps({"resource": resource, "token": session.token, "repeat": repeat}) if given.json else resource)
    return 0


if __name__ == "__main__":
    sys.exit(main())
