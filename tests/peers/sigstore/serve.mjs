// serve.mjs FOLDER: a Sigstore instance on loopback, of @sigstore/mock (Fulcio, its CT log, Rekor v1) and `openssl ts` (RFC 3161).
//
// Writes trusted_root.json, client_trust_config.json and id_token into FOLDER and says `listening on URL`. The keys are new each
// time. Under these prefixes something is wrong on purpose: /no-sct (a certificate without SCT), /stale (one that was valid
// yesterday), /future-log (log entries of tomorrow).
import 'reflect-metadata';
import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import x509 from '@peculiar/x509';
import { fulcioHandler, initializeCA, initializeCTLog, initializeTLog, rekorHandler } from '@sigstore/mock';

const folder = process.argv[2];
const issuer = 'https://issuer.example';
const subject = 'https://ci.example/acme/models/release@refs/tags/v1';
const DAY = 24 * 60 * 60 * 1000;
const now = Date.now();

const pair = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
const spki = (keys) => keys.publicKey.export({ format: 'der', type: 'spki' });
const sha256 = (bytes, as) => createHash('sha256').update(bytes).digest(as);
const base64 = (bytes) => Buffer.from(bytes).toString('base64');

const server = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    answer(request, Buffer.concat(parts))
      .catch((error) => ({ status: 500, type: 'text/plain', body: String(error) }))
      .then(({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body));
  });
});
await new Promise((done) => server.listen(0, '127.0.0.1', done));
const url = `http://127.0.0.1:${server.address().port}`;

// Fulcio and Rekor
const [caKeys, ctKeys, logKeys] = [pair(), pair(), pair()];
const ctLog = await initializeCTLog(ctKeys);
const ca = await initializeCA(caKeys, ctLog);
// The same authority, each with something wrong.
const authority = async (log, clock) => Object.assign(await initializeCA(caKeys, log, clock), { root: ca.root });
const authorities = {
  '': ca,
  '/no-sct': await authority(undefined),
  '/stale': await authority(await initializeCTLog(ctKeys, new Date(now - DAY)), new Date(now - DAY)),
  '/future-log': ca,
};
const logs = {
  '': await initializeTLog(url, logKeys),
  '/future-log': await initializeTLog(url, logKeys, new Date(now + DAY)),
};

// A timestamp authority: a CA, and a certificate that it issued. Both began the day before yesterday.
const tsa = mkdtempSync(join(folder, 'tsa-'));
const openssl = (...flags) => execFileSync('openssl', flags, { cwd: tsa, stdio: ['ignore', 'pipe', 'pipe'] });
const write = (name, text) => writeFileSync(join(tsa, name), text);
write('ca.cnf', '[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n');
write('tsa.ext', 'keyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n');
for (const name of ['ca', 'tsa']) openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
openssl('req', '-x509', '-new', '-key', 'ca.key', '-subj', '/O=local/CN=tsa-root', '-days', '30', '-config', 'ca.cnf', '-out', 'ca.crt');
openssl('req', '-new', '-key', 'tsa.key', '-subj', '/O=local/CN=tsa', '-out', 'tsa.csr');
openssl('x509', '-req', '-in', 'tsa.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '29', '-extfile', 'tsa.ext', '-out', 'tsa.crt');
write('serial', '01\n');
write('ts.cnf', '[tsa]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_cert=tsa.crt\nsigner_key=tsa.key\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\ness_cert_id_alg=sha256\nordering=no\ntsa_name=no\n');
const der = (name) => Buffer.from(readFileSync(join(tsa, name), 'utf8').replace(/-----[^-]+-----|\s/g, ''), 'base64');

// A query in DER, or in the JSON of Sigstore's own authority.
const stamp = (query, type) => {
  if (type === 'application/json') {
    const digest = Buffer.from(JSON.parse(query).artifactHash, 'base64').toString('hex');
    openssl('ts', '-query', '-digest', digest, '-sha256', '-cert', '-out', 'query.tsq');
  } else {
    writeFileSync(join(tsa, 'query.tsq'), query);
  }
  openssl('ts', '-reply', '-config', 'ts.cnf', '-queryfile', 'query.tsq', '-out', 'reply.tsr');
  return readFileSync(join(tsa, 'reply.tsr'));
};

// What Rekor makes of an entry that was proposed: it keeps digests of an envelope, and keys as PEM with lines of 64.
const canonical = (entry) => {
  if (entry.kind !== 'dsse') return entry;
  const { envelope, verifiers } = entry.spec.proposedContent;
  const { payload, signatures } = JSON.parse(envelope);
  return {
    apiVersion: entry.apiVersion,
    kind: entry.kind,
    spec: {
      envelopeHash: { algorithm: 'sha256', value: sha256(envelope, 'hex') },
      payloadHash: { algorithm: 'sha256', value: sha256(Buffer.from(payload, 'base64'), 'hex') },
      signatures: signatures.map(({ sig }, at) => ({ signature: sig, verifier: verifiers[at] })),
    },
  };
};

// The request of a certificate in the one form that the mock reads: others send a certificate request in base64, and the token
// beside it.
const proposal = (body, authorization = '') => {
  const {
    credentials = { oidcIdentityToken: authorization.replace(/^Bearer /, '') },
    certificateSigningRequest,
    publicKeyRequest,
  } = JSON.parse(body);
  if (publicKeyRequest) return body;
  const pem = Buffer.from(certificateSigningRequest, 'base64').toString();
  const content = new x509.Pkcs10CertificateRequest(pem).publicKey.toString('pem');
  return JSON.stringify({ credentials, publicKeyRequest: { publicKey: { content } } });
};

async function answer(request, body) {
  const path = new URL(request.url, url).pathname;
  const prefix = Object.keys(authorities).find((it) => it && path.startsWith(`${it}/`)) ?? '';
  const json = (status, value) => ({ status, type: 'application/json', body: value });
  switch (path.slice(prefix.length)) {
    case '/.well-known/openid-configuration':
      return json(200, JSON.stringify({ issuer, authorization_endpoint: `${url}/auth`, token_endpoint: `${url}/token` }));
    case '/api/v2/signingCert': {
      const { statusCode, response } = await fulcioHandler(authorities[prefix]).fn(proposal(body.toString(), request.headers.authorization));
      return json(statusCode, response);
    }
    case '/api/v1/log/entries': {
      const proposed = JSON.stringify(canonical(JSON.parse(body)));
      const { statusCode, response } = await rekorHandler(logs[prefix] ?? logs['']).fn(proposed);
      return json(statusCode, response);
    }
    case '/api/v1/timestamp':
      return { status: 201, type: 'application/timestamp-reply', body: stamp(body, request.headers['content-type']) };
    default:
      return { status: 404, type: 'text/plain', body: 'no such path' };
  }
}

const start = new Date(now - 2 * DAY).toISOString();
const log = (keys) => ({
  baseUrl: url,
  hashAlgorithm: 'SHA2_256',
  publicKey: { rawBytes: base64(spki(keys)), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor: { start } },
  logId: { keyId: base64(sha256(spki(keys))) },
});
const authorityOf = (name, uri, ...certificates) => ({
  subject: { organization: 'local', commonName: name },
  uri,
  certChain: { certificates: certificates.map((rawBytes) => ({ rawBytes: base64(rawBytes) })) },
  validFor: { start },
});
const trustedRoot = {
  mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
  tlogs: [log(logKeys)],
  certificateAuthorities: [authorityOf('fulcio', url, ca.rootCertificate)],
  ctlogs: [log(ctKeys)],
  timestampAuthorities: [authorityOf('tsa', `${url}/api/v1/timestamp`, der('tsa.crt'), der('ca.crt'))],
};
const service = (at, version) => ({ url: at, majorApiVersion: version, validFor: { start }, operator: 'local' });
const signingConfig = {
  mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
  caUrls: [service(url, 1)],
  oidcUrls: [service(url, 1)],
  rekorTlogUrls: [service(url, 1)],
  rekorTlogConfig: { selector: 'ANY' },
  tsaUrls: [service(`${url}/api/v1/timestamp`, 1)],
  tsaConfig: { selector: 'ANY' },
};
const claims = { iss: issuer, sub: subject, aud: 'sigstore', iat: Math.floor(now / 1000) - 10, nbf: Math.floor(now / 1000) - 10, exp: Math.floor(now / 1000) + 3600 };
const token = [{ alg: 'none', typ: 'JWT' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
const offer = (name, value) => {
  writeFileSync(join(folder, name), typeof value === 'string' ? value : JSON.stringify(value), { mode: 0o600 });
};
offer('trusted_root.json', trustedRoot);
offer('client_trust_config.json', { mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json', trustedRoot, signingConfig });
offer('id_token', `${token.join('.')}.${Buffer.from('unsigned').toString('base64url')}`);
console.error(`listening on ${url}`);
