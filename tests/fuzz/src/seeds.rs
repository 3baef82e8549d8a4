//! What each target begins with: for every parser something that it accepts, for every whole verification the evidence
//! unchanged and a few single changes.

use super::bodies::{models, published, signers, snp_verify, tdx_verify};
use super::fixtures::{NONCE, SNP, file};
use serde_json::{Value, json};
use strongroom_appraisal::CorimPlatform;
use strongroom_artifact::manifest::{ManifestBuilder, NewLayer, Sealing};
use strongroom_artifact::{ArtifactId, DataKey, HashAlgorithm};
use strongroom_devkit::firmware::{IMAGE, KERNEL};
use strongroom_devkit::intel::{PckSpec, pem_chain, qe_identity, tcb_info};
use strongroom_devkit::{azure, event_log};
use strongroom_wire::audit::{Entry, VERSION};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{ResourcePath, SnpEvidence};
use strongroom_wire::snp::{CertificateKind, CertificateTable, Report, TableEntry};
use strongroom_wire::{attester, merkle};

pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "hardware" => hardware(),
        "firmware" => firmware(),
        "messages" => messages(),
        "tokens" => tokens(),
        "models" => models(),
        "published" => published(),
        "signers" => signers(),
        "endorsements" => endorsements(),
        "signed" => signed(),
        "snp_verify" => scripts(SNP.len(), &[&[0], &[1], &[2], &[3]], snp_verify::parts(SNP[0]).len()),
        "tdx_verify" => scripts(2, &[&[]], tdx_verify::parts("v4").len()),
        other => panic!("no target `{other}`"),
    }
}

/// Which parser, and its input.
fn chosen(inputs: Vec<(u8, Vec<u8>)>) -> Vec<Vec<u8>> {
    inputs.into_iter().map(|(parser, input)| [vec![parser], input].concat()).collect()
}

fn table() -> Vec<u8> {
    let entry = |(name, kind): (&str, CertificateKind)| TableEntry { kind, data: file(name).to_vec() };
    let kinds = [
        ("vcek-vek", CertificateKind::Vcek),
        ("ask", CertificateKind::Ask),
        ("ark", CertificateKind::Ark),
        ("crl", CertificateKind::Crl),
    ];
    CertificateTable { entries: kinds.map(entry).to_vec() }.encode().unwrap()
}

fn log() -> Vec<u8> {
    event_log::write(&[event_log::event(0, 8, 1), event_log::event(1, 0x8000_0003, 2), event_log::event(3, 13, 3)])
}

fn hcl() -> Vec<u8> {
    let runtime = core::str::from_utf8(file("azure-runtime")).unwrap();
    azure::hcl_report(azure::SNP, file("azure-report"), runtime).unwrap()
}

/// Base64url with padding, as Azure's attesters write it.
fn padded(bytes: &[u8]) -> String {
    to_base64(bytes).replace('+', "-").replace('/', "_")
}

fn firmware() -> Vec<Vec<u8>> {
    let mut longer = vec![0xee; 4096];
    longer.extend_from_slice(&IMAGE);
    let parts = [(0, IMAGE.to_vec()), (0, longer.clone()), (1, IMAGE.to_vec()), (1, longer), (2, KERNEL.to_vec())];
    chosen([&parts[..], &[(3, KERNEL.to_vec())]].concat())
}

fn hardware() -> Vec<Vec<u8>> {
    let mut message = file("azure-message").to_vec();
    let pcrs: Vec<String> = file("azure-pcrs").chunks(32).map(hex::encode).collect();
    let quote =
        json!({"signature": hex::encode(file("azure-signature")), "message": hex::encode(&message), "pcrs": pcrs});
    let document = json!({
        "version": 1, "hcl_report": padded(&hcl()), "tpm_quote": quote, "vcek": padded(file("azure-vek")), "td_quote": null,
    });
    let answer = attester::Quote { evidence: file("vcek-report").to_vec(), certificates: table() };
    let mut inputs: Vec<(u8, Vec<u8>)> = SNP.iter().map(|name| (0, file(&format!("{name}-report")).to_vec())).collect();
    inputs.extend([(1, table()), (2, file("v4-quote").to_vec()), (2, file("v5-quote").to_vec())]);
    inputs.push((3, message.clone()));
    message.extend(NONCE);
    inputs.extend([(3, message), (4, log()), (5, hcl()), (6, document.to_string().into_bytes())]);
    inputs.push((7, answer.encode().unwrap()));
    chosen(inputs)
}

fn key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
}

fn rsa_key() -> Value {
    let runtime: Value = serde_json::from_slice(file("azure-runtime")).unwrap();
    json!({"kty": "RSA", "alg": "RSA-OAEP-256", "n": runtime["keys"][0]["n"], "e": "AQAB"})
}

const TRUST: &str = "[[rule]]\nrepository = 'registry.example/models/*'\nthreshold = 1\n[[rule.signer]]\nname = 'release'\n\
    key = 'k'\n[[rule.statement-signer]]\nname = 'training'\nkey = 'l'\n";

fn snp_policy() -> String {
    let (measurement, deployment) = ("4d".repeat(48), "d0".repeat(32));
    format!(
        "version = 1\n[snp]\nmeasurement = {{ one-of = ['{measurement}'] }}\ndeployment = {{ exactly = '{deployment}' }}\n\
         tcb = {{ at-least = {{ bootloader = 4, tee = 0, snp = 24, microcode = 219 }} }}\n\
         product = {{ exactly = 'Milan' }}\nchip = {{ any = {{ because = 'x' }} }}\nvmpl = {{ exactly = 0 }}\n"
    )
}

fn tdx_policy() -> String {
    let any = "{ any = { because = 'x' } }";
    format!(
        "version = 1\n[tdx]\nmrtd = {any}\nrtmr0 = {any}\nrtmr1 = {any}\nrtmr2 = {any}\ndeployment = {any}\nppid = {any}\n\
         [[tdx.event]]\nrtmr = 1\ntype = 'EV_EFI_BOOT_SERVICES_APPLICATION'\ndigest = {{ one-of = ['{}'] }}\n\
         [model]\nmanifest = {{ exactly = '{}' }}\n",
        "72".repeat(48),
        Sha256([7; 32]).oci(),
    )
}

fn deployment() -> String {
    let trust = TRUST.replace("[[rule", "[[trust.rule");
    let digest = Sha256([7; 32]);
    let settings = format!(
        "version = 1\nroot = 'test:{digest}'\nattester = 'socket'\n[verifier]\nurl = 'https://verifier.example:1'\n\
         pin = '{digest}'\ntoken-key = 'AA=='\n[runtime]\nonnxruntime = '{digest}'\n[[registry]]\nhost = 'registry.example'\n\
         [[model]]\nname = 'm'\nreference = 'registry.example/models/m@{}'\n[[principal]]\nname = 'p'\nkey-sha256 = '{digest}'\n{trust}",
        digest.oci()
    );
    format!("version = '0.1.0'\nalgorithm = 'sha256'\n[data]\n\"strongroom.toml\" = '''\n{settings}'''\n")
        .replace("'socket'", "\"socket\"")
}

fn messages() -> Vec<Vec<u8>> {
    let report = Report::parse(file("vcek-report")).unwrap();
    let evidence = serde_json::to_value(SnpEvidence::from_report(&report, None).unwrap()).unwrap();
    let attestation = json!({
        "init-data": {"format": "toml", "body": "version = 1"},
        "runtime-data": {"nonce": "bm9uY2U=", "tee-pubkey": key()},
        "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""},
    });
    let jwe = json!({"protected": "e30", "encrypted_key": "AA", "iv": "AA", "ciphertext": "AA", "tag": "AA"});
    let error =
        json!({"type": "https://github.com/confidential-containers/kbs/errors/X", "detail": "x", "code": "malformed"});
    let claims = json!({
        "eat_profile": strongroom_wire::ear::PROFILE, "iss": "v", "aud": "a", "sub": "s", "jti": "j", "iat": 1, "exp": 2,
        "root": "amd", "cnf": {"jkt": "AA"}, "ear.verifier-id": {"developer": "d", "build": "b"},
        "submods": {"cpu0": {
            "ear.status": "affirming", "ear.trustworthiness-vector": {"hardware": 2}, "ear.appraisal-policy-id": "p",
            "ear.veraison.annotated-evidence": {
                "report_data": "00", "init_data": "00", "snp": {"debug": false},
                "runtime_data_claims": {"additional-evidence": "", "nonce": "n", "tee-pubkey": key()},
            },
        }},
    });
    let entry = Entry {
        v: VERSION,
        seq: 1,
        time: 2,
        kind: "release".into(),
        subject: "a/b/c".into(),
        code: String::new(),
        detail: json!({"k": 1}),
    };
    let (_, paths) = merkle::tree(&[[1; 32], [2; 32], [3; 32]]);
    let answer = json!({
        "v": 1, "platform": "snp", "evidence": to_base64(file("vcek-report")),
        "endorsements": [{"type": "certificate", "data": to_base64(file("vcek-vek"))}],
        "channel_key": to_base64(b"key"), "nonce": Sha256([1; 32]), "path": paths[0],
        "workload": {
            "deployment": to_base64(deployment().as_bytes()),
            "models": [{"name": "m", "manifest": Sha256([7; 32]), "statement": Sha256([8; 32])}],
        },
    });
    let release = format!("{}[release.trust]\n{}", snp_policy(), TRUST.replace("[rule", "[release.trust.rule"));
    let uri = ResourcePath::parse("models/mini-lm/v1.0").unwrap().uri();
    let texts =
        ["amd", "intel", "a/b/c", "malformed", &uri, &format!("test:{}", Sha256([7; 32])), &Sha256([7; 32]).oci()];
    let json = |value: &Value| value.to_string().into_bytes();
    let mut inputs = vec![
        (0, json(&json!({"version": "0.4.0", "tee": "snp", "extra-params": {}}))),
        (1, json(&attestation)),
        (2, json(&jwe)),
        (2, json(&error)),
        (2, json(&claims)),
        (2, json(&json!({"token": "t"}))),
        (3, json(&answer)),
        (4, entry.leaf().unwrap()),
        (5, deployment().into_bytes()),
        (6, TRUST.into()),
        (7, snp_policy().into_bytes()),
        (7, tdx_policy().into_bytes()),
        (8, release.into_bytes()),
    ];
    inputs.extend(texts.map(|text| (9, text.as_bytes().to_vec())));
    chosen(inputs)
}

fn tokens() -> Vec<Vec<u8>> {
    let header = strongroom_wire::bytes::to_base64url(br#"{"alg":"ES256","typ":"JWT"}"#);
    let token = format!("{header}.{header}.{}", "A".repeat(86));
    let jwe = json!({
        "protected": strongroom_wire::bytes::to_base64url(json!({"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": key()}).to_string().as_bytes()),
        "encrypted_key": "A".repeat(54), "iv": "A".repeat(16), "ciphertext": "AA", "tag": "A".repeat(22),
    });
    chosen(vec![
        (0, token.into_bytes()),
        (1, vec![]),
        (1, vec![1, 0, 200, 0, 3]),
        (2, vec![1, 0, 5, 0, 3, 10, 0, 0]),
        (3, jwe.to_string().into_bytes()),
        (4, vec![0, 1, 3, 2, 0, 1]),
        (4, vec![1, 10, 1, 0]),
        (5, key().to_string().into_bytes()),
        (5, rsa_key().to_string().into_bytes()),
        (6, vec![0x30, 0x59]),
    ])
}

fn models() -> Vec<Vec<u8>> {
    let key = DataKey::generate().unwrap();
    let id = ArtifactId::from_hex(&"ab".repeat(16)).unwrap();
    let sealing = Sealing { id, commitment: key.commitment(&id), key: ResourcePath::parse("a/b/c").unwrap() };
    let manifest = |sealing: Option<Sealing>, size: u64| {
        let mut builder = ManifestBuilder::new(sealing, HashAlgorithm::Sha256);
        for path in ["onnx/model.onnx", "config.json"] {
            let digest = Sha256([7; 32]);
            builder.push(NewLayer { path: path.into(), part: 1, parts: 1, plain_size: 100, digest, size });
        }
        builder.build().unwrap().manifest.raw().to_vec()
    };
    let part = |file: &str| {
        json!({"file": file, "size": 100, "sealed_size": 156, "associated_data": hex::encode(
            strongroom_artifact::seal::associated_data(&id, "config.json", 1, 1))})
    };
    let index = json!({
        "version": 1, "scheme": strongroom_artifact::seal::SCHEME, "artifact_id": id.to_string(),
        "key_commitment": hex::encode(key.commitment(&id)),
        "files": [{"path": "config.json", "size": 100, "parts": [part("config.json.sealed")]}],
    });
    let credentials = json!({"auths": {"registry.example": {"auth": to_base64(b"user:password")}}});
    let private = models::SIGNER.to_pkcs8_pem().unwrap();
    let texts = [
        "Bearer realm=\"https://auth.example/token\", service=\"registry\", Basic realm=\"x\"",
        "registry.example:5000/models/m:v1@sha256:0707070707070707070707070707070707070707070707070707070707070707",
        "onnx/model.onnx",
        "blake3",
    ];
    let mut inputs = vec![
        (0, manifest(None, 100)),
        (0, manifest(Some(sealing), 156)),
        (1, index.to_string().into_bytes()),
        (2, models::sound_bundle()),
        (2, models::payload(&models::sound_bundle())),
        (3, models::sound_statement()),
        (3, models::payload(&models::sound_statement())),
        (4, vec![1, 0, 100, 0, 1]),
        (5, vec![1, 0, 100, 0, 1]),
        (6, vec![2, 1, 0, 0, 0]),
        (7, vec![0]),
        (7, vec![1, 0, 60, 0, 1]),
        (8, private.expose().as_bytes().to_vec()),
        (8, models::SIGNER.public().pem().into_bytes()),
        (8, models::SIGNER.public().spki_der().to_vec()),
        (8, vec![7; 32]),
        (8, "07".repeat(32).into_bytes()),
        (8, include_bytes!("../../../artifact/tests/keys/p256.cosign.pem").to_vec()),
        (9, credentials.to_string().into_bytes()),
    ];
    inputs.extend(texts.map(|text| (9, text.as_bytes().to_vec())));
    chosen(inputs)
}

fn published() -> Vec<Vec<u8>> {
    let text = |value: Value| value.to_string().into_bytes();
    let envelope = json!({"payload": "e30=", "payloadType": "t", "signatures": [{"sig": "AA=="}]});
    let set = json!({
        "v": 1, "platform": "snp", "endorsement_key": true, "expires": 1_800_000_000,
        "endorsements": [{"type": "certificate", "data": to_base64(file("vcek-vek"))}],
    });
    chosen(vec![
        (0, text(envelope)),
        (1, vec![]),
        (1, vec![1, 0, 40, 0, 1]),
        (2, vec![]),
        (2, vec![1, 0, 40, 0, 1]),
        (3, text(published::values())),
        (3, vec![1, 0, 40, 0, 1]),
        (4, text(published::inventory())),
        (4, vec![1, 0, 40, 0, 1]),
        (5, published::sound_corim(CorimPlatform::Snp)),
        (5, published::sound_corim(CorimPlatform::Tdx)),
        (6, vec![0, 1, 0, 40, 0, 1]),
        (6, vec![1, 1, 0, 40, 0, 1]),
        (7, published::memory()),
        (8, text(set)),
        (8, text(published::inventory())),
        (9, published::sound_corim(CorimPlatform::Snp)),
        (10, vec![]),
        (10, vec![0, 1, 0, 40, 0, 1]),
        (10, vec![1, 1, 0, 40, 0, 1]),
        (11, published::sound_parts()),
    ])
}

fn signers() -> Vec<Vec<u8>> {
    let [good, stamped] = signers::sound_bundles();
    let authority = include_bytes!("../fixtures/authority.pem").to_vec();
    chosen(vec![
        (0, signers::sound_root()),
        (1, vec![]),
        (1, vec![1, 0, 100, 0, 1]),
        (2, good.clone()),
        (2, stamped),
        (3, vec![0]),
        (3, vec![1, 1, 0, 100, 0, 1]),
        (4, authority),
        (5, good),
        (5, models::sound_statement()),
    ])
}

fn endorsements() -> Vec<Vec<u8>> {
    let names =
        ["ark", "ask", "vcek-vek", "turin-vek", "vlek-vek", "crl", "intel-root", "pck", "tcb-signing", "collateral"];
    let mut inputs: Vec<(u8, Vec<u8>)> = names.iter().map(|name| (0, file(name).to_vec())).collect();
    let pem = pem_chain(&[file("vcek-vek"), file("ask"), file("ark")]).unwrap().into_bytes();
    inputs.extend([(0, table()), (0, pem), (2, file("ark").to_vec()), (3, log())]);
    inputs.extend((0..9).map(|name| (1, vec![name, 1, 0, 40, 0, 1])));
    chosen(inputs)
}

fn signed() -> Vec<Vec<u8>> {
    let window = 1_796_083_200..1_803_859_200;
    let bare = |value: Value| [b"{".to_vec(), value.to_string().into_bytes()].concat();
    chosen(vec![
        (0, vec![]),
        (0, vec![1, 0, 0x30, 0, 1]),
        (1, vec![3; 24]),
        (1, vec![]),
        (2, bare(tcb_info(&window))),
        (2, vec![0, 1, 0, 90, 0, 1]),
        (3, bare(qe_identity(&window))),
        (3, vec![0, 1, 0, 90, 0, 1]),
        (4, PckSpec::default().extensions().unwrap()),
        (4, vec![0, 1, 0, 30, 0, 1]),
    ])
}

/// Which evidence, `how` it is carried, judged now; unchanged, and with a bit of each part flipped.
fn scripts(guests: usize, how: &[&[u8]], parts: usize) -> Vec<Vec<u8>> {
    let guests = (0..guests).map(|guest| u8::try_from(guest).unwrap());
    let begun = guests.flat_map(|guest| how.iter().map(move |how| [&[guest][..], how, &[0]].concat()));
    let begun: Vec<Vec<u8>> = begun.collect();
    let flips = (0..parts).map(|part| [&begun[0][..], &[1, u8::try_from(part).unwrap(), 50, 0, 3]].concat());
    let flips: Vec<Vec<u8>> = flips.collect();
    begun.into_iter().chain(flips).collect()
}
