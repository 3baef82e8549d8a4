//! What others publish and a policy names: signed reference values and inventories, CoRIM, sets of endorsements; and the memory
//! of what was seen of them. A changed document is never taken for the signed one, and a well signed one may say anything.

use super::super::fixtures::NOW;
use super::super::mutation::Script;
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_appraisal::{
    CorimImport, CorimPlatform, CorimSigner, DocumentKey, Policy, ReferenceValues, Seen, SignedDocument as _,
};
use strongroom_artifact::SigningKey;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::endorsements::EndorsementSet;
use strongroom_wire::inventory::Inventory;

static PUBLISHER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

/// A policy that takes values and machines from what the publisher signed.
static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let (take, any) = ("{ reference-values = 'image' }", "{ any = { because = 'fuzzing' } }");
    let signers = format!("signers = {{ keys = ['''{}'''] }}", PUBLISHER.public().pem());
    let text = format!(
        "version = 1\n[[reference-values]]\nname = 'image'\n{signers}\n[[inventory]]\nname = 'fleet'\n{signers}\n\
         [snp]\nmeasurement = {take}\ndeployment = {any}\ntcb = {take}\nproduct = {take}\nchip = {{ inventory = 'fleet' }}\n\
         [tdx]\nmrtd = {take}\nrtmr0 = {take}\nrtmr1 = {take}\nrtmr2 = {take}\ndeployment = {any}\nppid = {any}\n"
    );
    Policy::parse(text.as_bytes()).unwrap()
});

pub fn run(input: &[u8]) {
    let all = [
        envelope,
        changed_values,
        changed_inventory,
        any_values,
        any_inventory,
        corim,
        changed_corim,
        seen,
        set,
        signed_corim,
        changed_signed_corim,
        any_signed_corim,
    ];
    super::choose(input, &all);
}

/// Reference values of one guest of each kind.
pub fn values() -> Value {
    let label = json!({"image": "guest", "version": "1"});
    let hex = |digit: &str| digit.repeat(96);
    json!({
        "format": 1, "name": "image", "version": 7, "issued": NOW - 10, "expires": NOW + 10,
        "snp": {
            "product": "Milan", "tcb": {"bootloader": 3, "tee": 0, "snp": 8, "microcode": 115},
            "guests": [{"label": label, "measurement": hex("1"), "inputs": {"kernel": "9".repeat(64)}}],
        },
        "tdx": {"guests": [
            {"label": label, "mrtd": hex("3"), "rtmr0": hex("4"), "rtmr1": hex("5"), "rtmr2": hex("6")},
        ]},
    })
}

/// An inventory of one machine.
pub fn inventory() -> Value {
    let machine = json!({"label": "host", "chip": "0a".repeat(64), "from": NOW - 5, "until": NOW + 5});
    json!({"v": 1, "name": "fleet", "version": 7, "issued": NOW - 10, "expires": NOW + 10, "machines": [machine]})
}

/// [`values`] as CoRIM.
pub fn sound_corim(platform: CorimPlatform) -> Vec<u8> {
    ReferenceValues::parse(values().to_string().as_bytes()).unwrap().to_corim(platform).unwrap()
}

/// A memory of some documents.
pub fn memory() -> Vec<u8> {
    let mut seen = Seen::default();
    POLICY
        .with_reference_values(
            &[&signed(ReferenceValues::PAYLOAD_TYPE, values().to_string().as_bytes())],
            &mut seen,
            NOW,
        )
        .unwrap();
    seen.to_json().unwrap()
}

fn signed(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut envelope = Envelope { payload_type: kind.to_owned(), payload: payload.to_vec(), signatures: Vec::new() };
    let signature = PUBLISHER.sign(&envelope.signed_bytes()).unwrap();
    envelope.signatures.push(signature);
    envelope.to_json().unwrap()
}

fn takes_values(envelope: &[u8]) -> bool {
    let mut seen = Seen::default();
    let taken = POLICY.with_reference_values(&[envelope], &mut seen, NOW).is_ok();
    assert_eq!(seen == Seen::default(), !taken, "what is refused leaves no trace");
    taken
}

fn takes_inventory(envelope: &[u8]) -> bool {
    let mut seen = Seen::default();
    let taken = POLICY.with_inventories(&[envelope], &mut seen, NOW).is_ok();
    assert_eq!(seen == Seen::default(), !taken, "what is refused leaves no trace");
    taken
}

fn envelope(input: &[u8]) {
    assert!(!takes_values(input) && !takes_inventory(input), "a document of nobody's");
    if let Ok(envelope) = Envelope::parse(input) {
        assert_eq!(Envelope::parse(&envelope.to_json().unwrap()).unwrap(), envelope);
    }
}

/// `sound` with what the script spells: the envelope's parts, then its text.
fn changed(kind: &str, sound: &[u8], input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut script = Script::new(input);
    let envelope = Envelope::parse(&signed(kind, sound)).unwrap();
    let mut parts = [envelope.payload, envelope.payload_type.into_bytes(), envelope.signatures[0].clone()];
    script.change(&mut parts, &[sound, kind.as_bytes()]);
    let [payload, payload_type, signature] = parts;
    let payload_type = String::from_utf8(payload_type).ok()?;
    let mut text = [Envelope { payload_type, payload, signatures: vec![signature] }.to_json().ok()?];
    script.change(&mut text, &[sound, kind.as_bytes()]);
    let [text] = text;
    let payload = Envelope::parse(&text).ok()?.payload;
    Some((text, payload))
}

fn changed_values(input: &[u8]) {
    let sound = values().to_string().into_bytes();
    let Some((envelope, payload)) = changed(ReferenceValues::PAYLOAD_TYPE, &sound, input) else { return };
    assert!(!takes_values(&envelope) || payload == sound, "taken after it was changed");
}

fn changed_inventory(input: &[u8]) {
    let sound = inventory().to_string().into_bytes();
    let Some((envelope, payload)) = changed(Inventory::PAYLOAD_TYPE, &sound, input) else { return };
    assert!(!takes_inventory(&envelope) || payload == sound, "taken after it was changed");
}

/// The input, or what it spells of the sound document, well signed.
fn any_values(input: &[u8]) {
    let payload = said(&values(), input);
    // A document of one kind is never one of the other, whoever signed it.
    assert!(!takes_values(&signed(Inventory::PAYLOAD_TYPE, &payload)));
    if takes_values(&signed(ReferenceValues::PAYLOAD_TYPE, &payload)) {
        let values = ReferenceValues::parse(&payload).unwrap();
        assert!(values.name == "image" && (values.issued..=values.expires).contains(&NOW));
        assert_eq!(ReferenceValues::parse(&values.to_json().unwrap()).unwrap(), values);
    }
}

fn any_inventory(input: &[u8]) {
    let payload = said(&inventory(), input);
    assert!(!takes_inventory(&signed(ReferenceValues::PAYLOAD_TYPE, &payload)));
    if takes_inventory(&signed(Inventory::PAYLOAD_TYPE, &payload)) {
        let inventory = Inventory::parse(&payload).unwrap();
        assert!(inventory.name == "fleet" && (inventory.issued..=inventory.expires).contains(&NOW));
    }
}

fn said(sound: &Value, input: &[u8]) -> Vec<u8> {
    if input.first() == Some(&b'{') {
        return input.to_vec();
    }
    let sound = sound.to_string().into_bytes();
    let mut changed = [sound.clone()];
    Script::new(input).change(&mut changed, &[&sound]);
    let [changed] = changed;
    changed
}

fn corim(input: &[u8]) {
    for product in [None, Some("Milan"), Some("Turin")] {
        let validity = Some((NOW - 10, NOW + 10));
        let import = CorimImport { name: "image", version: 7, validity, product, leave_out: &[] };
        let Ok(values) = ReferenceValues::from_corim(input, &import) else { continue };
        assert_eq!((values.name.as_str(), values.version), ("image", 7));
        assert_eq!(ReferenceValues::parse(&values.to_json().unwrap()).unwrap(), values);
        let platform = if values.snp.is_some() { CorimPlatform::Snp } else { CorimPlatform::Tdx };
        if let Ok(written) = values.to_corim(platform) {
            let again = ReferenceValues::from_corim(&written, &import).unwrap();
            assert_eq!((again.snp.is_some(), again.tdx.is_some()), (values.snp.is_some(), values.tdx.is_some()));
        }
    }
}

fn changed_corim(input: &[u8]) {
    let mut script = Script::new(input);
    let platform = [CorimPlatform::Snp, CorimPlatform::Tdx][usize::from(script.byte() % 2)];
    let sound = sound_corim(platform);
    let mut changed = [sound.clone()];
    script.change(&mut changed, &[&sound]);
    corim(&changed[0]);
}

/// The key, as documents are verified with it.
static KEY: LazyLock<DocumentKey> =
    LazyLock::new(|| DocumentKey::from_pem(PUBLISHER.public().pem().as_bytes()).unwrap());

/// [`values`] as CoRIM of that platform, signed.
pub fn sound_signed_corim(platform: CorimPlatform) -> Vec<u8> {
    let values = ReferenceValues::parse(values().to_string().as_bytes()).unwrap();
    values.to_signed_corim(platform, &KEY, "publisher", |message| PUBLISHER.sign(message)).unwrap()
}

/// What a signed CoRIM comes to before the publisher's key.
fn read_signed(input: &[u8]) -> Option<(ReferenceValues, CorimSigner)> {
    let import = CorimImport { name: "image", version: 7, validity: None, product: Some("Milan"), leave_out: &[] };
    let keys = core::slice::from_ref(&*KEY);
    ReferenceValues::from_signed_corim(input, keys, &import, NOW).ok()
}

fn signed_corim(input: &[u8]) {
    assert!(read_signed(input).is_none(), "signed by nobody");
}

fn changed_signed_corim(input: &[u8]) {
    let mut script = Script::new(input);
    let platform = [CorimPlatform::Snp, CorimPlatform::Tdx][usize::from(script.byte() % 2)];
    let sound = sound_signed_corim(platform);
    let mut changed = [sound.clone()];
    script.change(&mut changed, &[&sound]);
    // `s` and `n - s` are signatures of one message.
    assert!(
        read_signed(&changed[0]).is_none_or(|read| Some(read) == read_signed(&sound)),
        "taken after it was changed"
    );
}

/// Header and content that say anything, well signed: the header first, whose length is the input's first byte.
fn any_signed_corim(input: &[u8]) {
    let Some((length, rest)) = input.split_first() else { return };
    let (header, content) = rest.split_at(usize::from(*length).min(rest.len()));
    let bytes = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap();
        [&[0x5a][..], &length.to_be_bytes(), bytes].concat()
    };
    let short = |bytes: &[u8]| match u8::try_from(bytes.len()) {
        Ok(length @ 0..24) => [&[0x40 | length][..], bytes].concat(),
        Ok(length) => [&[0x58, length][..], bytes].concat(),
        Err(_) => {
            let length = u16::try_from(bytes.len()).unwrap();
            [&[0x59][..], &length.to_be_bytes(), bytes].concat()
        }
    };
    // RFC 9052 §4.4, in shortest form as it is made by who verifies.
    let message = [&[0x84, 0x6a][..], b"Signature1", &short(header), &[0x40], &short(content)].concat();
    let signature = fixed(&PUBLISHER.sign(&message).unwrap());
    let signed = [&[0xd2, 0x84][..], &bytes(header), &[0xa0], &bytes(content), &bytes(&signature)].concat();
    if let Some((values, signer)) = read_signed(&signed) {
        assert!(!signer.name.is_empty() && signer.key == KEY.fingerprint());
        assert_eq!(ReferenceValues::parse(&values.to_json().unwrap()).unwrap(), values);
    }
}

/// `r ‖ s` of a signature on P-256 in DER.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut number = || {
        let (head, tail) = rest.split_at(2);
        let (value, tail) = tail.split_at(usize::from(head[1]));
        rest = tail;
        let value = value.strip_prefix(&[0]).unwrap_or(value);
        [vec![0; 32 - value.len()], value.to_vec()].concat()
    };
    [number(), number()].concat()
}

/// Header and content of the sound signed CoRIM, as [`any_signed_corim`] takes them.
pub fn sound_parts() -> Vec<u8> {
    let sound = sound_signed_corim(CorimPlatform::Snp);
    // Tag, list of four, then a byte string whose length is one byte.
    let length = usize::from(sound[3]);
    let content = sound_corim(CorimPlatform::Snp);
    [&sound[3..4 + length], &content].concat()
}

fn seen(input: &[u8]) {
    let Ok(seen) = Seen::parse(input) else { return };
    assert_eq!(Seen::parse(&seen.to_json().unwrap()).unwrap(), seen);
    for (kind, subject, number) in seen.iter() {
        let mut raised = seen.clone();
        assert!(number == 0 || raised.check_and_raise(kind, subject, number - 1).is_err(), "went back");
        assert_eq!(raised, seen);
    }
}

fn set(input: &[u8]) {
    if let Ok(set) = EndorsementSet::parse(input) {
        let written = serde_json::to_vec(&set).unwrap();
        assert_eq!(EndorsementSet::parse(&written).unwrap(), set);
    }
    if let Ok(inventory) = Inventory::parse(input) {
        assert!(!inventory.name.is_empty());
    }
}
