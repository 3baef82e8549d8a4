"""The guest's key of the KBS attestation protocol: its JWK (RFC 7517) and what is wrapped to it (JWE, RFC 7516).

Written from the protocol's notes and the RFCs alone, with `cryptography` for the primitives.
"""

import base64
import hashlib
import json
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

CURVES = {"P-256": (ec.SECP256R1(), 32), "P-521": (ec.SECP521R1(), 66)}
JWE_MEMBERS = {"protected", "encrypted_key", "iv", "ciphertext", "tag"}


class NotForUs(Exception):
    """A JWE that is malformed or does not open with this key."""


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64u(text):
    if "=" in text or "+" in text or "/" in text:
        raise NotForUs(f"`{text[:16]}…` is not unpadded base64url")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class EcKey:
    ALG = "ECDH-ES+A256KW"

    def __init__(self, crv):
        self.crv = crv
        self.curve, self.size = CURVES[crv]
        self.private = ec.generate_private_key(self.curve)

    def jwk(self):
        numbers = self.private.public_key().public_numbers()
        x, y = (b64u(value.to_bytes(self.size, "big")) for value in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": self.crv, "alg": self.ALG, "x": x, "y": y}

    def unwrap(self, header, wrapped):
        """RFC 7518 §4.6: ECDH, Concat KDF with SHA-256 in one round, AES key wrap."""
        epk = header["epk"]
        if (epk["kty"], epk["crv"]) != ("EC", self.crv):
            raise NotForUs(f"epk is {epk['kty']} {epk['crv']}, our key is EC {self.crv}")
        x, y = (unb64u(epk[name]) for name in ("x", "y"))
        if (len(x), len(y)) != (self.size, self.size):
            raise NotForUs(f"epk has coordinates of {len(x)} and {len(y)} bytes, {self.crv} has {self.size}")
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), self.curve)
        secret = self.private.exchange(ec.ECDH(), numbers.public_key())
        party_u, party_v = (unb64u(header.get(name, "")) for name in ("apu", "apv"))
        info = b"".join(struct.pack(">I", len(part)) + part for part in (self.ALG.encode(), party_u, party_v))
        kek = hashlib.sha256(struct.pack(">I", 1) + secret + info + struct.pack(">I", 256)).digest()
        return aes_key_unwrap(kek, wrapped)


class RsaKey:
    ALG = "RSA-OAEP-256"

    def __init__(self):
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def jwk(self):
        numbers = self.private.public_key().public_numbers()
        n, e = (b64u(value.to_bytes((value.bit_length() + 7) // 8, "big")) for value in (numbers.n, numbers.e))
        return {"kty": "RSA", "alg": self.ALG, "n": n, "e": e}

    def unwrap(self, _header, wrapped):
        return self.private.decrypt(wrapped, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))


def generate(kind):
    """A fresh key of kind `P-256`, `P-521` or `RSA`."""
    return RsaKey() if kind == "RSA" else EcKey(kind)


def open_jwe(key, text):
    """The plaintext of a flattened JWE. The AAD is `protected` as received, which is what RFC 7516 §5.2 says."""
    try:
        jwe = json.loads(text)
        if set(jwe) != JWE_MEMBERS:
            raise NotForUs(f"the JWE has members {sorted(jwe)}, not {sorted(JWE_MEMBERS)}")
        header = json.loads(unb64u(jwe["protected"]))
        if (header["alg"], header["enc"]) != (key.ALG, "A256GCM"):
            raise NotForUs(f"alg and enc are {header['alg']} and {header['enc']}, not {key.ALG} and A256GCM")
        content_key = key.unwrap(header, unb64u(jwe["encrypted_key"]))
        iv, tag = unb64u(jwe["iv"]), unb64u(jwe["tag"])
        if (len(content_key), len(iv), len(tag)) != (32, 12, 16):
            raise NotForUs("content key, iv and tag are not of 32, 12 and 16 bytes")
        return AESGCM(content_key).decrypt(iv, unb64u(jwe["ciphertext"]) + tag, jwe["protected"].encode())
    except (KeyError, TypeError, ValueError, InvalidTag, InvalidUnwrap) as error:
        raise NotForUs(f"{type(error).__name__}: {error}") from error
