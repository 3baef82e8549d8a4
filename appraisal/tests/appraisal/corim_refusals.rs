//! What an import of CoRIM refuses: each case is the written CoRIM with one thing changed in it, beside the unchanged one.

use super::corim::{import, values};
use ::corim::cbor;
use ::corim::cbor::value::Value;
use strongroom_appraisal::{CorimImport, CorimPlatform, ReferenceValues};
use strongroom_wire::Code;

const INVALID: Option<Code> = Some(Code::ReferenceValuesInvalid);

/// Where something stands: keys of maps and places in lists, through tags.
type Path<'a> = &'a [i128];

/// The class of the first triple of a CoMID, its environment, and its first measurement.
const TRIPLE: Path<'_> = &[4, 0, 0];
const ENVIRONMENT: Path<'_> = &[4, 0, 0, 0];
const CLASS: Path<'_> = &[4, 0, 0, 0, 0];
const MEASUREMENTS: Path<'_> = &[4, 0, 0, 1];

fn at<'a>(item: &'a mut Value, path: Path<'_>) -> &'a mut Value {
    let Value::Tag(_, inner) = item else {
        let [first, rest @ ..] = path else { return item };
        return match item {
            Value::Map(entries) => {
                let place = entries.iter_mut().find(|(key, _)| *key == Value::Integer(*first));
                at(&mut place.unwrap_or_else(|| panic!("no {path:?}")).1, rest)
            }
            Value::Array(items) => at(&mut items[usize::try_from(*first).unwrap()], rest),
            other => panic!("{other:?} has no {path:?}"),
        };
    };
    at(inner, path)
}

/// The written CoRIM with `edit` made to its outermost map.
fn corim_with(platform: CorimPlatform, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut corim: Value = cbor::decode(&values().to_corim(platform).unwrap()).unwrap();
    edit(at(&mut corim, &[]));
    cbor::encode(&corim).unwrap()
}

/// The written CoRIM with `edit` made to its first CoMID.
fn comid_with(platform: CorimPlatform, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    corim_with(platform, |corim| {
        let Value::Bytes(bytes) = at(corim, &[1, 0]) else { panic!("a CoMID") };
        let mut comid: Value = cbor::decode(bytes).unwrap();
        edit(&mut comid);
        *bytes = cbor::encode(&comid).unwrap();
    })
}

fn insert(map: &mut Value, key: i128, value: Value) {
    let Value::Map(entries) = map else { panic!("a map: {map:?}") };
    entries.push((Value::Integer(key), value));
}

fn remove(map: &mut Value, key: i128) {
    let Value::Map(entries) = map else { panic!("a map: {map:?}") };
    let before = entries.len();
    entries.retain(|(own, _)| *own != Value::Integer(key));
    assert_eq!(entries.len() + 1, before);
}

fn push_copy(list: &mut Value) {
    let Value::Array(items) = list else { panic!("a list: {list:?}") };
    items.push(items[0].clone());
}

fn path(base: Path<'_>, rest: Path<'_>) -> Vec<i128> {
    [base, rest].concat()
}

fn code(corim: &[u8], leave_out: &[&str]) -> Option<Code> {
    let leave_out: Vec<String> = leave_out.iter().map(ToString::to_string).collect();
    ReferenceValues::from_corim(corim, &import(&leave_out)).err().map(|refusal| refusal.code)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A change, by a name for whoever sees it fail.
type Edit = (&'static str, fn(&mut Value));

fn assert_refused(platform: CorimPlatform, cases: &[Edit]) {
    assert_eq!(code(&comid_with(platform, |_| ()), &[]), None);
    for (what, edit) in cases {
        assert_eq!(code(&comid_with(platform, edit), &[]), INVALID, "{what}");
    }
}

#[test]
fn corim_with_one_thing_wrong_refused() {
    let with = |edit: fn(&mut Value)| code(&corim_with(CorimPlatform::Snp, edit), &[]);
    let cases: [Edit; 7] = [
        ("no tags", |corim| remove(corim, 1)),
        ("tags that are no list", |corim| *at(corim, &[1]) = text("tags")),
        ("a tag that is no CoMID", |corim| *at(corim, &[1]) = Value::Array(vec![Value::Bytes(vec![])])),
        ("a CoMID that is no byte string", |corim| *at(corim, &[1, 0]) = text("CoMID")),
        ("no profile", |corim| remove(corim, 3)),
        ("profile that is no URI", |corim| *at(corim, &[3]) = Value::Integer(1)),
        ("a key that is no number", |corim| {
            let Value::Map(entries) = corim else { panic!("a map") };
            entries.push((text("more"), Value::Null));
        }),
    ];
    assert_eq!(with(|_| ()), None);
    for (what, edit) in cases {
        assert_eq!(with(edit), INVALID, "{what}");
    }
    // The draft allows a list of profiles; the first is the one that the values are of.
    let listed = |corim: &mut Value| {
        let Value::Map(entries) = corim else { panic!("a map") };
        let profile = &mut entries.iter_mut().find(|(key, _)| *key == Value::Integer(3)).unwrap().1;
        *profile = Value::Array(vec![profile.clone()]);
    };
    assert_eq!(with(listed), None);
}

#[test]
fn validity_of_the_corim_or_the_caller_s_accepted_and_none_or_half_of_one_refused() {
    let none = corim_with(CorimPlatform::Snp, |corim| remove(corim, 4));
    let half = corim_with(CorimPlatform::Snp, |corim| remove(at(corim, &[4]), 0));
    let untagged = corim_with(CorimPlatform::Snp, |corim| {
        *at(corim, &[4]) =
            Value::Map(vec![(Value::Integer(0), Value::Integer(1)), (Value::Integer(1), Value::Integer(2))]);
    });
    for corim in [none, half, untagged] {
        assert_eq!(code(&corim, &[]), INVALID);
        let given = CorimImport { validity: Some((10, 20)), ..import(&[]) };
        let read = ReferenceValues::from_corim(&corim, &given).unwrap();
        assert_eq!((read.issued, read.expires), (10, 20));
    }
}

#[test]
fn comid_with_one_thing_wrong_refused() {
    assert_refused(
        CorimPlatform::Snp,
        &[
            ("no identity", |comid| remove(comid, 1)),
            ("identity that is no text", |comid| *at(comid, &[1, 0]) = Value::Bytes(vec![0; 16])),
            ("no triples", |comid| remove(comid, 4)),
            ("triples that are no map", |comid| *at(comid, &[4]) = Value::Array(vec![])),
            ("endorsed values", |comid| insert(at(comid, &[4]), 1, Value::Array(vec![]))),
            ("reference triples that are no list", |comid| *at(comid, &[4, 0]) = Value::Null),
            ("a triple of one", |comid| *at(comid, TRIPLE) = Value::Array(vec![Value::Map(vec![])])),
            ("a triple of three", |comid| push_copy(at(comid, TRIPLE))),
            ("measurements that are no list", |comid| *at(comid, MEASUREMENTS) = Value::Map(vec![])),
        ],
    );
}

#[test]
fn environment_with_one_thing_wrong_refused() {
    assert_refused(
        CorimPlatform::Snp,
        &[
            ("no class", |comid| remove(at(comid, ENVIRONMENT), 0)),
            ("class without an id", |comid| remove(at(comid, CLASS), 0)),
            ("class of a vendor too", |comid| insert(at(comid, CLASS), 1, text("AMD"))),
            ("class whose id is no OID", |comid| *at(comid, CLASS) = Value::Map(vec![(Value::Integer(0), text("a"))])),
        ],
    );
    assert_refused(
        CorimPlatform::Tdx,
        &[
            ("another vendor", |comid| *at(comid, &path(CLASS, &[1])) = text("Intel")),
            ("another model", |comid| *at(comid, &path(CLASS, &[2])) = text("TDX SEAM")),
            ("no model", |comid| remove(at(comid, CLASS), 2)),
            ("class of a layer too", |comid| insert(at(comid, CLASS), 3, Value::Integer(0))),
        ],
    );
}

/// What a bundle cannot say: refused, unless whoever imports it says that it is left out.
#[test]
fn what_a_bundle_cannot_say_refused_unless_it_is_left_out() {
    let environment = |key: i128| move |comid: &mut Value| insert(at(comid, ENVIRONMENT), key, Value::Integer(0));
    for platform in [CorimPlatform::Snp, CorimPlatform::Tdx] {
        let cases = [
            ("instance", comid_with(platform, environment(1))),
            ("group", comid_with(platform, environment(2))),
            ("environment-3", comid_with(platform, environment(3))),
            ("comid-3", comid_with(platform, |comid| insert(comid, 3, Value::Array(vec![])))),
        ];
        for (name, corim) in cases {
            assert_eq!(code(&corim, &[]), INVALID, "{name}");
            assert_eq!(code(&corim, &[name]), None, "{name}");
            // What is not there is not left out.
            assert_eq!(code(&comid_with(platform, |_| ()), &[name]), INVALID, "{name}");
        }
    }
    let stepping = comid_with(CorimPlatform::Tdx, |comid| {
        insert(at(comid, &path(MEASUREMENTS, &[0, 1])), -82, Value::Integer(1));
    });
    assert_eq!((code(&stepping, &[]), code(&stepping, &["-82"])), (INVALID, None));
}

#[test]
fn snp_measurement_with_one_thing_wrong_refused() {
    // 641, then 642, then 647: key and values of each.
    assert_refused(
        CorimPlatform::Snp,
        &[
            ("no measurement of the launch", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0])) = at(comid, &path(MEASUREMENTS, &[1])).clone();
            }),
            ("key that is no number", |comid| *at(comid, &path(MEASUREMENTS, &[0, 0])) = text("641")),
            ("no values", |comid| remove(at(comid, &path(MEASUREMENTS, &[0])), 1)),
            ("who may authorise it", |comid| insert(at(comid, &path(MEASUREMENTS, &[0])), 2, Value::Array(vec![]))),
            ("two values", |comid| insert(at(comid, &path(MEASUREMENTS, &[0, 1])), 11, text("name"))),
            ("one measurement twice", |comid| push_copy(at(comid, MEASUREMENTS))),
            ("two digests", |comid| push_copy(at(comid, &path(MEASUREMENTS, &[0, 1, 2])))),
            ("digest of another algorithm", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0, 1, 2, 0, 0])) = Value::Integer(1);
            }),
            ("digest that is too short", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0, 1, 2, 0, 1])) = Value::Bytes(vec![1; 32]);
            }),
            ("HOST_DATA that is too long", |comid| {
                *at(comid, &path(MEASUREMENTS, &[1, 1, 4])) = Value::Bytes(vec![0xdd; 33]);
            }),
            ("HOST_DATA without its tag", |comid| {
                *at(comid, &path(MEASUREMENTS, &[1, 1])) =
                    Value::Map(vec![(Value::Integer(4), Value::Bytes(vec![0xdd; 32]))]);
            }),
            ("negative TCB", |comid| *at(comid, &path(MEASUREMENTS, &[2, 1, 1])) = Value::Integer(-1)),
        ],
    );
}

#[test]
fn tdx_measurement_with_one_thing_wrong_refused() {
    assert_refused(
        CorimPlatform::Tdx,
        &[
            ("two measurements", |comid| push_copy(at(comid, MEASUREMENTS))),
            ("no measurement", |comid| *at(comid, MEASUREMENTS) = Value::Array(vec![])),
            ("measurement with a key", |comid| insert(at(comid, &path(MEASUREMENTS, &[0])), 0, Value::Integer(1))),
            ("no MRTD", |comid| remove(at(comid, &path(MEASUREMENTS, &[0, 1])), -83)),
            ("MRTD of another length", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0, 1, -83, 1])) = Value::Bytes(vec![3; 32]);
            }),
            ("value that is no number", |comid| {
                let Value::Map(entries) = at(comid, &path(MEASUREMENTS, &[0, 1])) else { panic!("a map") };
                entries.push((text("mrtd"), Value::Null));
            }),
            ("fifth register", |comid| {
                let registers = at(comid, &path(MEASUREMENTS, &[0, 1, 14]));
                let digests = at(registers, &[3]).clone();
                insert(registers, 4, digests);
            }),
            ("register of two digests", |comid| push_copy(at(comid, &path(MEASUREMENTS, &[0, 1, 14, 1])))),
            ("registers that are no map", |comid| *at(comid, &path(MEASUREMENTS, &[0, 1, 14])) = Value::Null),
            ("evaluation number that is exact", |comid| {
                let numbers = vec![
                    (Value::Integer(-83), at(comid, &path(MEASUREMENTS, &[0, 1, -83])).clone()),
                    (Value::Integer(-86), Value::Integer(18)),
                ];
                *at(comid, &path(MEASUREMENTS, &[0, 1])) = Value::Map(numbers);
            }),
            ("evaluation number that is at most", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0, 1, -86, 0])) = Value::Integer(4);
            }),
            ("evaluation number beyond 32 bits", |comid| {
                *at(comid, &path(MEASUREMENTS, &[0, 1, -86, 1])) = Value::Integer(1 << 32);
            }),
        ],
    );
}

#[test]
fn digest_under_the_algorithm_s_name_and_mrtd_as_a_list_of_one_accepted() {
    let named =
        comid_with(CorimPlatform::Snp, |comid| *at(comid, &path(MEASUREMENTS, &[0, 1, 2, 0, 0])) = text("sha-384"));
    let other =
        comid_with(CorimPlatform::Snp, |comid| *at(comid, &path(MEASUREMENTS, &[0, 1, 2, 0, 0])) = text("sha-512"));
    assert_eq!(code(&other, &[]), INVALID);
    let listed = comid_with(CorimPlatform::Tdx, |comid| {
        let mrtd = at(comid, &path(MEASUREMENTS, &[0, 1, -83]));
        *mrtd = Value::Array(vec![mrtd.clone()]);
    });
    for (corim, platform) in [(named, CorimPlatform::Snp), (listed, CorimPlatform::Tdx)] {
        let want = ReferenceValues::from_corim(&values().to_corim(platform).unwrap(), &import(&[])).unwrap();
        assert_eq!(ReferenceValues::from_corim(&corim, &import(&[])).unwrap(), want);
    }
}

#[test]
fn identity_without_our_form_is_named_by_the_tag_s_version() {
    let named = |id: &str| {
        let corim = comid_with(CorimPlatform::Snp, |comid| *at(comid, &[1, 0]) = text(id));
        let label = ReferenceValues::from_corim(&corim, &import(&[])).unwrap().snp.unwrap().guests[0].label.clone();
        (label.image, label.version)
    };
    assert_eq!(named("guest 1.2"), ("guest".to_owned(), "1.2".to_owned()));
    assert_eq!(named("guest"), ("guest".to_owned(), "7".to_owned()));
}

#[test]
fn floors_that_differ_between_guests_refused() {
    let other = comid_with(CorimPlatform::Snp, |comid| {
        let Value::Integer(floor) = at(comid, &path(MEASUREMENTS, &[2, 1, 1])) else { panic!("a number") };
        *floor += 1;
    });
    assert_eq!(code(&other, &[]), INVALID);
    let two = |second: i128| {
        corim_with(CorimPlatform::Tdx, |corim| {
            push_copy(at(corim, &[1]));
            let Value::Bytes(bytes) = at(corim, &[1, 1]) else { panic!("a CoMID") };
            let mut comid: Value = cbor::decode(bytes).unwrap();
            *at(&mut comid, &path(MEASUREMENTS, &[0, 1, -86, 1])) = Value::Integer(second);
            *bytes = cbor::encode(&comid).unwrap();
        })
    };
    assert_eq!([18, 19].map(|second| code(&two(second), &[])), [None, INVALID]);
}
