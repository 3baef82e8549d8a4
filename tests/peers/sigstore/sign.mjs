// sign.mjs STATEMENT OUT URL TOKEN_FILE [FULCIO_PREFIX [stamp]]: signs an in-toto statement with @sigstore/sign against an instance of
// serve.mjs. `stamp`: with a timestamp of RFC 3161 too.
import { readFileSync, writeFileSync } from 'node:fs';
import { bundleToJSON } from '@sigstore/bundle';
import { DSSEBundleBuilder, FulcioSigner, RekorWitness, TSAWitness } from '@sigstore/sign';

const [statement, out, url, tokenFile, prefix = '', stamp] = process.argv.slice(2);
const token = readFileSync(tokenFile, 'utf8').trim();
const signer = new FulcioSigner({ fulcioBaseURL: url + prefix, identityProvider: { getToken: async () => token } });
const witnesses = [new RekorWitness({ rekorBaseURL: url + prefix })];
if (stamp) witnesses.push(new TSAWitness({ tsaBaseURL: url }));
const builder = new DSSEBundleBuilder({ signer, witnesses });
const bundle = await builder.create({ data: readFileSync(statement), type: 'application/vnd.in-toto+json' });
writeFileSync(out, JSON.stringify(bundleToJSON(bundle)));
