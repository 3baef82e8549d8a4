"""One HTTP/1.1 connection to a key service, over TLS that is verified by CA or by the service's pinned key."""

import hmac
import http.client
import json
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

TIMEOUT_SECONDS = 60


def _spki(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pinned(path):
    pem = Path(path).read_bytes()
    if b"PUBLIC KEY" in pem:
        return _spki(load_pem_public_key(pem))
    return _spki(x509.load_pem_x509_certificate(pem).public_key())


class Service:
    """`ca` and `pin` are paths of PEM files; with neither, the system's certificate authorities are trusted."""

    def __init__(self, url, ca=None, pin=None):
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if pin:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the key is compared below, before anything is sent
        self.connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=context
        )
        self.pin = _pinned(pin) if pin else None

    def call(self, method, path, body, headers):
        """Returns status, headers and text. `body` goes as JSON; before it, a new connection's key is compared."""
        if self.connection.sock is None:
            self.connection.connect()
            self._compare_key()
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    def _compare_key(self):
        if self.pin is None:
            return
        certificate = x509.load_der_x509_certificate(self.connection.sock.getpeercert(binary_form=True))
        if not hmac.compare_digest(_spki(certificate.public_key()), self.pin):
            self.connection.close()
            raise ConnectionError("the service's key is not the pinned one")
