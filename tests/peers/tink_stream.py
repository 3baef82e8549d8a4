#!/usr/bin/env python3
"""Seals or opens a file with Google's Tink: streaming AEAD AES256_GCM_HKDF_1MB, output prefix RAW.

Exit codes: 0 done, 1 Tink refused to open the file (nothing is left at OUT).
"""

import argparse
import base64
import json
import os
import shutil
import sys

import tink
from tink import json_proto_keyset_format, secret_key_access, streaming_aead

# google.crypto.tink.AesGcmHkdfStreamingKey of version 0 with params { ciphertext_segment_size: 1048576,
# derived_key_size: 32, hkdf_hash_type: SHA256 }, up to the length of key_value.
KEY_HEAD = bytes.fromhex("120808808040102018031a20")


def primitive(key):
    keyset = {
        "primaryKeyId": 1,
        "key": [
            {
                "keyData": {
                    "typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
                    "keyMaterialType": "SYMMETRIC",
                    "value": base64.b64encode(KEY_HEAD + key).decode(),
                },
                "outputPrefixType": "RAW",
                "keyId": 1,
                "status": "ENABLED",
            }
        ],
    }
    streaming_aead.register()
    handle = json_proto_keyset_format.parse(json.dumps(keyset), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


def seal(cipher, aad, source, target):
    with open(source, "rb") as plain, open(target, "wb") as sealed:
        with cipher.new_encrypting_stream(sealed, aad) as out:
            shutil.copyfileobj(plain, out, 1 << 20)


def open_sealed(cipher, aad, source, target):
    part = f"{target}.part"
    try:
        with open(source, "rb") as sealed, open(part, "wb") as plain:
            with cipher.new_decrypting_stream(sealed, aad) as stream:
                shutil.copyfileobj(stream, plain, 1 << 20)
        os.replace(part, target)
    finally:
        if os.path.exists(part):
            os.remove(part)


def main():
    arguments = argparse.ArgumentParser(description="Seals or opens a file with Tink, AES256_GCM_HKDF_1MB RAW.")
    arguments.add_argument("verb", choices=["seal", "open"])
    arguments.add_argument("--key", type=bytes.fromhex, required=True, metavar="HEX", help="32 bytes")
    arguments.add_argument("--aad-hex", type=bytes.fromhex, required=True, metavar="HEX", help="associated data")
    arguments.add_argument("source", metavar="IN")
    arguments.add_argument("target", metavar="OUT")
    given = arguments.parse_args()
    if len(given.key) != 32:
        arguments.error("a key has 32 bytes")
    act = {"seal": seal, "open": open_sealed}[given.verb]
    try:
        act(primitive(given.key), given.aad_hex, given.source, given.target)
    except tink.TinkError as error:
        print(f"tink: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
