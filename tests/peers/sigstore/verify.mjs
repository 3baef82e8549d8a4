// verify.mjs BUNDLE TRUSTED_ROOT ISSUER SUBJECT: verifies a bundle as @sigstore/verify does. Exit code 0: verified, 1: refused.
import { readFileSync } from 'node:fs';
import { bundleFromJSON } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { Verifier, toSignedEntity, toTrustMaterial } from '@sigstore/verify';

const [bundle, root, issuer, subject] = process.argv.slice(2);
const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
try {
  const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(read(root))));
  verifier.verify(toSignedEntity(bundleFromJSON(read(bundle))), {
    subjectAlternativeName: subject,
    extensions: { issuer },
  });
} catch (error) {
  console.error(String(error));
  process.exit(1);
}
