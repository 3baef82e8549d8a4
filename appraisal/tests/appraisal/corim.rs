//! Reference values as CoRIM: written ones read back, an independent reader agrees, and what a bundle cannot say is refused.

use super::reference_values::bundle;
use ::corim::validate::decode_and_validate_at;
use serde_json::Value;
use strongroom_appraisal::{CorimImport, CorimPlatform, ReferenceValues};
use strongroom_wire::{Code, limits};

const NOW: i64 = 1_000;

pub(crate) fn values() -> ReferenceValues {
    let mut bundle = bundle();
    // What CoRIM or a profile has no place for.
    bundle["snp"]["guests"][0]["inputs"] = Value::Object(serde_json::Map::new());
    bundle["tdx"]["guests"][0]["deployment"] = Value::Null;
    ReferenceValues::parse(bundle.to_string().as_bytes()).unwrap()
}

pub(crate) fn import(leave_out: &[String]) -> CorimImport<'_> {
    CorimImport { name: "image", version: 7, validity: None, product: Some("Milan"), leave_out }
}

pub(crate) fn code(corim: &[u8], import: &CorimImport<'_>) -> Option<Code> {
    ReferenceValues::from_corim(corim, import).err().map(|refusal| refusal.code)
}

/// The one place where `from` stands in `corim`, replaced by as many bytes.
fn replaced(corim: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<_> = (0..corim.len()).filter(|at| corim[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    let mut changed = corim.to_vec();
    for place in places {
        changed[place..place + to.len()].copy_from_slice(to);
    }
    changed
}

#[test]
fn written_corim_reads_back() {
    let values = values();
    for platform in [CorimPlatform::Snp, CorimPlatform::Tdx] {
        let read = ReferenceValues::from_corim(&values.to_corim(platform).unwrap(), &import(&[])).unwrap();
        let (snp, tdx) = (values.snp.clone(), values.tdx.clone());
        let want = match platform {
            CorimPlatform::Snp => ReferenceValues { tdx: None, ..values.clone() },
            CorimPlatform::Tdx => ReferenceValues { snp: None, ..values.clone() },
        };
        assert!(snp.is_some() && tdx.is_some());
        assert_eq!(read, want);
    }
}

#[test]
fn independent_reader_sees_the_same_values() {
    let values = values();
    let (map, comids) = decode_and_validate_at(&values.to_corim(CorimPlatform::Snp).unwrap(), NOW).unwrap();
    assert_eq!((map.id.to_string(), comids.len()), ("image/7".to_owned(), 2));
    let triples = comids[0].triples.reference_triples.as_ref().unwrap();
    let digests: Vec<_> = triples[0].1.iter().filter_map(|measurement| measurement.mval.digests.clone()).collect();
    assert_eq!(digests[0][0].1, values.snp.as_ref().unwrap().guests[0].measurement.0);

    let (_, comids) = decode_and_validate_at(&values.to_corim(CorimPlatform::Tdx).unwrap(), NOW).unwrap();
    let triples = comids[0].triples.reference_triples.as_ref().unwrap();
    let registers = triples[0].1[0].mval.integrity_registers.clone().unwrap();
    let guest = &values.tdx.as_ref().unwrap().guests[0];
    let want = [guest.rtmr0, guest.rtmr1, guest.rtmr2, guest.rtmr3].map(|rtmr| rtmr.unwrap().0.to_vec());
    assert_eq!(registers.0.into_values().map(|digests| digests[0].1.clone()).collect::<Vec<_>>(), want);
}

#[test]
fn other_measurements_refused_unless_they_are_left_out() {
    let corim = values().to_corim(CorimPlatform::Snp).unwrap();
    // 642, HOST_DATA, becomes 640, REPORT_DATA.
    let other = replaced(&corim, &[0x19, 0x02, 0x82], &[0x19, 0x02, 0x80]);
    assert_eq!(code(&corim, &import(&[])), None);
    assert_eq!(code(&other, &import(&[])), Some(Code::ReferenceValuesInvalid));
    let left_out = ["640".to_owned()];
    let read = ReferenceValues::from_corim(&other, &import(&left_out)).unwrap();
    assert_eq!(read.snp.unwrap().guests[0].deployment, None);
}

#[test]
fn exact_svn_other_profiles_and_classes_and_a_tcb_without_its_product_refused() {
    let corim = values().to_corim(CorimPlatform::Snp).unwrap();
    let exact = replaced(&corim, &[0xd9, 0x02, 0x29], &[0xd9, 0x02, 0x28]);
    let profile = replaced(&corim, b"tag:amd.com", b"tag:amd.org");
    let class = replaced(&corim, &[0x9c, 0x78, 0x03, 0x01], &[0x9c, 0x78, 0x03, 0x03]);
    // 2.16.840.1.113741.1.16.1 becomes ….2.
    let intel = values().to_corim(CorimPlatform::Tdx).unwrap();
    assert_eq!(code(&intel, &import(&[])), None);
    let arc = replaced(&intel, &[0x4d, 0x01, 0x10, 0x01], &[0x4d, 0x01, 0x10, 0x02]);
    for changed in [exact, profile, class, arc] {
        assert_eq!(code(&changed, &import(&[])), Some(Code::ReferenceValuesInvalid));
    }
    let unnamed = CorimImport { product: None, ..import(&[]) };
    assert_eq!(code(&corim, &unnamed), Some(Code::ReferenceValuesInvalid));
}

#[test]
fn document_that_a_profile_has_no_place_for_is_not_written() {
    let values = ReferenceValues::parse(bundle().to_string().as_bytes()).unwrap();
    assert_eq!(values.to_corim(CorimPlatform::Tdx).unwrap_err().code, Code::ReferenceValuesInvalid);
    assert!(values.to_corim(CorimPlatform::Snp).is_ok());
}

#[test]
fn cut_longer_nested_and_repeating_items_refused() {
    let corim = values().to_corim(CorimPlatform::Snp).unwrap();
    for length in 0..corim.len() {
        assert_eq!(code(&corim[..length], &import(&[])), Some(Code::Malformed), "{length}");
    }
    let longer = [corim.as_slice(), &[0]].concat();
    let nested = [vec![0x81; limits::CORIM_DEPTH], vec![0]].concat();
    let twice = vec![0xa2, 0, 0, 0, 0];
    let indefinite = vec![0x9f, 0xff];
    let huge = vec![0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bad in [longer, nested, twice, indefinite, huge] {
        assert_eq!(code(&bad, &import(&[])), Some(Code::Malformed), "{bad:?}");
    }
    assert_eq!(code(&vec![0; limits::CORIM + 1], &import(&[])), Some(Code::TooLarge));
}

/// The written CoRIM with one more member of its outermost map.
fn with_member(key: u8) -> Vec<u8> {
    let mut corim = values().to_corim(CorimPlatform::Snp).unwrap();
    // Tag 501 in three bytes, then a map of four.
    assert_eq!(corim[..4], [0xd9, 0x01, 0xf5, 0xa4]);
    corim[3] = 0xa5;
    corim.extend([key, 0x80]);
    corim
}

#[test]
fn members_that_say_nothing_of_a_guest_accepted_and_others_refused_unless_they_are_left_out() {
    assert_eq!(code(&with_member(5), &import(&[])), None);
    for key in [2, 6] {
        assert_eq!(code(&with_member(key), &import(&[])), Some(Code::ReferenceValuesInvalid), "{key}");
        assert_eq!(code(&with_member(key), &import(&[format!("corim-{key}")])), None, "{key}");
    }
}

#[test]
fn name_that_leaves_nothing_out_refused() {
    let left_out = |name: &str| code(&with_member(2), &import(&["corim-2".to_owned(), name.to_owned()]));
    assert_eq!(left_out("642"), None);
    for name in ["643", "instance", "comid-3", "corim-6", ""] {
        assert_eq!(left_out(name), Some(Code::ReferenceValuesInvalid), "{name}");
    }
}

#[test]
fn tcb_of_the_product_s_layout_accepted_and_of_another_refused() {
    let corim = values().to_corim(CorimPlatform::Snp).unwrap();
    let of = |product| CorimImport { product: Some(product), ..import(&[]) };
    assert_eq!(code(&corim, &of("Milan")), None);
    // Milan's SNP component stands where Turin's layout has a reserved byte.
    assert_eq!(code(&corim, &of("Turin")), Some(Code::ReferenceValuesInvalid));
}
