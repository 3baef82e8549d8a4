use super::*;
use proptest::prelude::*;

/// A quote of that version and body whose every byte says where it stands, with `chain` as certification data.
fn quote(version: u16, body_type: u16, chain: &[u8]) -> Vec<u8> {
    let fill = |n: usize, from: usize| (from..from + n).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect::<Vec<_>>();
    let u32 = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut bytes = Vec::new();
    bytes.extend(version.to_le_bytes());
    bytes.extend([2, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(fill(36, 12));
    let body_len = body::length_of(body_type).unwrap();
    if version == 5 {
        bytes.extend(body_type.to_le_bytes());
        bytes.extend(u32(body_len));
    }
    bytes.extend(fill(body_len, 0));
    let mut inner = fill(384 + 64, 3);
    inner.extend([3, 0, 7, 8, 9, 5, 0]);
    inner.extend(u32(chain.len()));
    inner.extend(chain);
    let mut authentication = fill(128, 5);
    authentication.extend([6, 0]);
    authentication.extend(u32(inner.len()));
    authentication.extend(inner);
    bytes.extend(u32(authentication.len()));
    bytes.extend(authentication);
    bytes
}

fn code(bytes: &[u8]) -> Code {
    Quote::parse(bytes).expect_err("parsed").code
}

#[test]
fn quote_of_version_4_and_5_with_each_body_parses() {
    for (version, body_type) in [(4, 2), (5, 2), (5, 3), (5, 4)] {
        let bytes = quote(version, body_type, b"chain");
        let quote = Quote::parse(&bytes).unwrap();
        let start = if version == 5 { 54 } else { 48 };
        let body = &bytes[start..];
        assert_eq!((quote.header.version, quote.body_type), (version, body_type));
        assert_eq!(quote.signed(), &bytes[..start + body::length_of(body_type).unwrap()]);
        assert_eq!(quote.body.tee_tcb_svn, body[..16]);
        assert_eq!(quote.body.mrseam, body[16..64]);
        assert_eq!(quote.body.mrsignerseam, body[64..112]);
        assert_eq!(quote.body.td_attributes.0.to_le_bytes(), body[120..128]);
        assert_eq!(quote.body.xfam.0.to_le_bytes(), body[128..136]);
        assert_eq!(quote.body.mrtd, body[136..184]);
        assert_eq!(quote.body.mrconfigid, body[184..232]);
        assert_eq!(quote.body.rtmr[3], body[472..520]);
        assert_eq!(quote.body.report_data, body[520..584]);
        assert_eq!(quote.body.tee_tcb_svn2.is_some(), body_type >= 3);
        assert_eq!(quote.body.mrservicetd, (body_type >= 3).then(|| body[600..648].try_into().unwrap()));
        assert_eq!(
            quote.body.extended.map(|more| more.cur_servtd_attributes.to_vec()),
            (body_type == 4).then(|| body[877..885].to_vec())
        );
        assert_eq!(quote.authentication.qe_auth_data, [7, 8, 9]);
        assert_eq!(quote.authentication.certification, Certification::PckChain(b"chain".to_vec()));
    }
}

#[test]
fn fields_of_the_qe_report_stand_at_the_offsets_of_the_specification() {
    let quote = Quote::parse(&quote(4, 2, b"")).unwrap();
    let (report, raw) = (&quote.authentication.qe_report, quote.authentication.qe_report.raw());
    assert_eq!(report.miscselect, raw[16..20]);
    assert_eq!(report.attributes, raw[48..64]);
    assert_eq!(report.mrenclave, raw[64..96]);
    assert_eq!(report.mrsigner, raw[128..160]);
    assert_eq!(report.isv_prod_id.to_le_bytes(), raw[256..258]);
    assert_eq!(report.isv_svn.to_le_bytes(), raw[258..260]);
    assert_eq!(report.report_data, raw[320..384]);
}

#[test]
fn quote_cut_short_anywhere_refused() {
    let bytes = quote(5, 3, b"chain");
    for end in 0..bytes.len() {
        assert_eq!(code(&bytes[..end]), Code::Malformed, "{end}");
    }
}

#[test]
fn quote_with_zeros_behind_it_parses_and_with_anything_else_does_not() {
    let mut bytes = quote(4, 2, b"chain");
    bytes.extend([0; 32]);
    assert!(Quote::parse(&bytes).is_ok());
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(code(&bytes), Code::Malformed);
}

#[test]
fn header_of_another_version_tee_or_key_refused() {
    for (at, value, want) in [
        (0, 3, Code::VersionUnsupported),
        (0, 6, Code::VersionUnsupported),
        (2, 3, Code::SigningKeyUnsupported),
        (4, 0, Code::PlatformUnsupported),
    ] {
        let mut bytes = quote(4, 2, b"chain");
        bytes[at] = value;
        assert_eq!(code(&bytes), want, "{at} {value}");
    }
    let mut bytes = quote(4, 2, b"chain");
    assert!(Quote::parse(&bytes).unwrap().header.reserved_zero);
    bytes[8] = 1;
    assert!(!Quote::parse(&bytes).unwrap().header.reserved_zero);
}

#[test]
fn body_of_an_unknown_type_or_another_length_refused() {
    let mut bytes = quote(5, 3, b"chain");
    bytes[48] = 1;
    assert_eq!(code(&bytes), Code::PlatformUnsupported);
    let mut bytes = quote(5, 3, b"chain");
    bytes[50] ^= 1;
    assert_eq!(code(&bytes), Code::Malformed);
}

#[test]
fn certification_of_another_type_is_told_apart() {
    let mut bytes = quote(4, 2, b"chain");
    let at = 48 + 584 + 4 + 128;
    bytes[at] = 5;
    assert_eq!(code(&bytes), Code::Malformed);
    bytes[at] = 6;
    let inner = at + 6 + 384 + 64 + 5;
    bytes[inner] = 1;
    assert_eq!(Quote::parse(&bytes).unwrap().authentication.certification, Certification::Other(1));
}

#[test]
fn chain_or_authentication_data_over_its_limit_refused() {
    assert!(Quote::parse(&quote(4, 2, &vec![b'x'; crate::limits::PCK_CHAIN - 1000])).is_ok());
    assert_eq!(code(&quote(4, 2, &vec![b'x'; crate::limits::PCK_CHAIN + 1])), Code::TooLarge);
    assert_eq!(code(&vec![4; crate::limits::EVIDENCE + 1]), Code::TooLarge);
    let mut bytes = quote(4, 2, &[b'x'; 2000]);
    bytes[48 + 584 + 4 + 128 + 6 + 448 + 1] = 0xff;
    assert_eq!(code(&bytes), Code::TooLarge);
}

#[test]
fn quote_authentication_data_and_chain_of_the_longest_lengths_accepted_and_one_byte_more_refused() {
    let mut bytes = quote(4, 2, b"chain");
    bytes.resize(crate::limits::EVIDENCE, 0);
    assert!(Quote::parse(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(code(&bytes), Code::TooLarge);
    let chain = |length: usize| quote(4, 2, &vec![b'x'; length]);
    assert!(Quote::parse(&chain(crate::limits::PCK_CHAIN)).is_ok());
    assert_eq!(code(&chain(crate::limits::PCK_CHAIN + 1)), Code::TooLarge);
    // The same bytes with another border between authentication data and chain.
    let at = 48 + 584 + 4 + 128 + 6 + 448;
    let with = |length: usize| {
        let mut bytes = chain(4000);
        bytes[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        let inner = at + 2 + length;
        bytes[inner..inner + 2].copy_from_slice(&[5, 0]);
        let rest = u32::try_from(bytes.len() - inner - 6).unwrap();
        bytes[inner + 2..inner + 6].copy_from_slice(&rest.to_le_bytes());
        bytes
    };
    let longest = Quote::parse(&with(crate::limits::QE_AUTH_DATA)).unwrap();
    assert_eq!(longest.authentication.qe_auth_data.len(), crate::limits::QE_AUTH_DATA);
    assert_eq!(code(&with(crate::limits::QE_AUTH_DATA + 1)), Code::TooLarge);
}

/// The number of an attribute's bit, and who reads it.
type Reader = (u32, fn(TdAttributes) -> bool);

#[test]
fn each_attribute_answers_to_its_bit_alone() {
    let readers: [Reader; 7] = [
        (0, TdAttributes::debug),
        (17, TdAttributes::servtd_ext),
        (28, TdAttributes::sept_ve_disable),
        (29, TdAttributes::migratable),
        (30, TdAttributes::pks),
        (31, TdAttributes::key_locker),
        (63, TdAttributes::perfmon),
    ];
    for bit in 0..64 {
        for (own, read) in readers {
            assert_eq!(read(TdAttributes(1 << bit)), bit == own, "bit {bit} of {own}");
        }
    }
}

#[test]
fn each_bit_of_xfam_is_fixed_to_one_to_zero_or_free() {
    let free = [5, 6, 7, 8, 9, 11, 12, 14, 15, 17, 18, 19];
    for bit in 2..64u32 {
        assert_eq!(Xfam(3 | 1 << bit).fixed_bits_hold(), free.contains(&bit) || bit == 2, "{bit}");
    }
    for (low, held) in [(3, true), (2, false), (1, false), (0, false)] {
        assert_eq!(Xfam(low).fixed_bits_hold(), held, "{low}");
    }
}

#[test]
fn attribute_bits_have_the_places_of_the_specification() {
    let only = |bit: u32| TdAttributes(1 << bit);
    assert!(only(0).debug() && only(28).sept_ve_disable() && only(29).migratable() && only(30).pks());
    assert!(only(31).key_locker() && only(63).perfmon() && only(17).servtd_ext());
    let unnamed: Vec<u32> = (0..64).filter(|bit| only(*bit).unnamed() != 0).collect();
    assert_eq!(unnamed, (1..16).chain(18..27).chain(32..63).collect::<Vec<_>>());
}

#[test]
fn xfam_without_sse_or_with_an_unknown_feature_does_not_hold() {
    for (xfam, held) in
        [(0x0006_00e7, true), (0x3, true), (0x1, false), (0x2, false), (0x0006_00f7, false), (1 << 20 | 3, false)]
    {
        assert_eq!(Xfam(xfam).fixed_bits_hold(), held, "{xfam:#x}");
    }
}

#[test]
fn snp_report_does_not_look_like_a_quote() {
    assert!(looks_like_quote(&quote(4, 2, b"")) && looks_like_quote(&quote(5, 4, b"")));
    assert!(!looks_like_quote(&[5, 0, 0, 0, 0x81, 0, 0, 0]) && !looks_like_quote(&[4, 0]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let _ = Quote::parse(&bytes);
    }

    /// Damage behind a sound header reaches every length field.
    #[test]
    fn damaged_quotes_never_panic_and_keep_their_bytes(at in 0usize..1400, value: u8, version in 4u16..=5) {
        let mut bytes = quote(version, if version == 5 { 3 } else { 2 }, b"chain");
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(quote) = Quote::parse(&bytes) {
            prop_assert_eq!(quote.raw(), &bytes[..]);
        }
    }
}
