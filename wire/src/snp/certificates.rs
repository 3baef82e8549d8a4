//! The certificate table that a host hands its guest (GHCB specification, "SNP Extended Guest Request"): entries of GUID,
//! offset and length, closed by a zero entry, then the certificates. Integers are little-endian. GUIDs are written in the
//! byte order of their text, as AMD's own tools do, and read in that order or in the mixed-endian one that some hosts use:
//! the two never collide, and what an entry is called decides nothing about whether it is trusted.

use crate::bytes::Cursor;
use crate::{Code, Refusal, Result, limits};

const ENTRY_LEN: usize = 24;

/// What an entry holds, by GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateKind {
    /// AMD root key.
    Ark,
    /// AMD SEV key, signs VCEKs.
    Ask,
    /// AMD SEV VLEK key, signs VLEKs.
    Asvk,
    /// The chip's endorsement key.
    Vcek,
    /// A provider's endorsement key.
    Vlek,
    /// A revocation list.
    Crl,
    /// Something else.
    Other([u8; 16]),
}

/// GUIDs as their text reads, in the byte order of that text.
const KINDS: &[(CertificateKind, [u8; 16])] = &[
    (CertificateKind::Vcek, *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd"),
    (CertificateKind::Vlek, *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1"),
    (CertificateKind::Ask, *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82"),
    (CertificateKind::Ark, *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae"),
    (CertificateKind::Crl, *b"\x92\xf8\x1b\xc3\x58\x11\x4d\x3d\x97\xff\xd1\x9f\x88\xdc\x67\xea"),
];

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// What it holds.
    pub kind: CertificateKind,
    /// DER.
    pub data: Vec<u8>,
}

/// A parsed table, in the order of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateTable {
    /// The entries.
    pub entries: Vec<TableEntry>,
}

impl CertificateKind {
    fn of(guid: [u8; 16]) -> Self {
        let same = |known: [u8; 16]| known == guid || mixed(known) == guid;
        KINDS.iter().find(|(_, known)| same(*known)).map_or(Self::Other(guid), |(kind, _)| *kind)
    }

    fn guid(self) -> [u8; 16] {
        match self {
            Self::Other(guid) => guid,
            // The table has one GUID for the intermediate, whether ASK or ASVK.
            Self::Asvk => Self::Ask.guid(),
            kind => KINDS.iter().find(|(known, _)| *known == kind).map_or([0; 16], |(_, guid)| *guid),
        }
    }
}

/// GUIDs store their first three parts little-endian (RFC 9562 §4 names the difference).
const fn mixed(text: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = text;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

impl CertificateTable {
    /// Parses a table. An empty input is an empty table; bytes behind the certificates (page padding) are passed over.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > limits::CERTIFICATE_TABLE {
            return Err(Refusal::too_large("certificate table", bytes.len(), limits::CERTIFICATE_TABLE));
        }
        let mut entries = Vec::new();
        if bytes.is_empty() {
            return Ok(Self { entries });
        }
        let mut at = Cursor::new(bytes, "certificate table");
        loop {
            let guid: [u8; 16] = at.array()?;
            let offset = usize::try_from(at.u32_le()?).unwrap_or(usize::MAX);
            let length = usize::try_from(at.u32_le()?).unwrap_or(usize::MAX);
            if guid == [0; 16] && offset == 0 && length == 0 {
                return Ok(Self { entries });
            }
            if entries.len() == limits::CERTIFICATE_TABLE_ENTRIES {
                return Err(Refusal::too_large("certificate table entries", "more", limits::CERTIFICATE_TABLE_ENTRIES));
            }
            let end = offset.saturating_add(length);
            let data = bytes.get(offset..end).ok_or_else(|| {
                Refusal::new(Code::Malformed, "certificate table entry outside the table")
                    .got(format!("{offset}..{end}"))
                    .want(format!("within {}", bytes.len()))
            })?;
            entries.push(TableEntry { kind: CertificateKind::of(guid), data: data.to_vec() });
        }
    }

    /// The bytes of the table, certificates packed behind the entries.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let too_long = |e| Refusal::malformed("certificate table", e);
        let mut offset = ENTRY_LEN.saturating_mul(self.entries.len().saturating_add(1));
        let mut head = Vec::new();
        let mut body = Vec::new();
        for entry in &self.entries {
            head.extend_from_slice(&entry.kind.guid());
            head.extend_from_slice(&u32::try_from(offset).map_err(too_long)?.to_le_bytes());
            head.extend_from_slice(&u32::try_from(entry.data.len()).map_err(too_long)?.to_le_bytes());
            body.extend_from_slice(&entry.data);
            offset = offset.saturating_add(entry.data.len());
        }
        head.extend_from_slice(&[0; ENTRY_LEN]);
        head.append(&mut body);
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn guid_of_the_vcek_read_in_both_byte_orders() {
        let table = CertificateTable { entries: vec![TableEntry { kind: CertificateKind::Vcek, data: vec![9] }] };
        let mut bytes = table.encode().unwrap();
        assert_eq!(hex::encode(&bytes[..16]), "63da758de6644564adc5f4b93be8accd");
        assert_eq!(CertificateTable::parse(&bytes).unwrap(), table);
        bytes[..16].copy_from_slice(&hex::decode("8d75da6364e66445adc5f4b93be8accd").unwrap());
        assert_eq!(CertificateTable::parse(&bytes).unwrap(), table);
        bytes[0] ^= 1;
        assert!(matches!(CertificateTable::parse(&bytes).unwrap().entries[0].kind, CertificateKind::Other(_)));
    }

    #[test]
    fn entry_that_ends_at_the_table_accepted_and_one_past_it_refused() {
        let table = CertificateTable { entries: vec![TableEntry { kind: CertificateKind::Ark, data: vec![1, 2, 3] }] };
        let mut bytes = table.encode().unwrap();
        assert_eq!(CertificateTable::parse(&bytes).unwrap(), table);
        bytes[20] += 1;
        assert_eq!(CertificateTable::parse(&bytes).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn table_at_its_limits_accepted_and_above_them_refused() {
        let some = |count: usize| {
            let entry = TableEntry { kind: CertificateKind::Ark, data: vec![1] };
            CertificateTable { entries: vec![entry; count] }.encode().unwrap()
        };
        let mut bytes = some(limits::CERTIFICATE_TABLE_ENTRIES);
        bytes.resize(limits::CERTIFICATE_TABLE, 0);
        assert_eq!(CertificateTable::parse(&bytes).unwrap().entries.len(), limits::CERTIFICATE_TABLE_ENTRIES);
        bytes.push(0);
        assert_eq!(CertificateTable::parse(&bytes).unwrap_err().code, Code::TooLarge);
        let more = some(limits::CERTIFICATE_TABLE_ENTRIES + 1);
        assert_eq!(CertificateTable::parse(&more).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn only_an_entry_of_zeros_alone_closes_the_table() {
        let entry = |guid: u8, offset: u32, length: u32| {
            [&[guid; 16][..], &offset.to_le_bytes(), &length.to_le_bytes()].concat()
        };
        for (guid, offset, length) in [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)] {
            let bytes = [entry(guid, offset, length), entry(0, 0, 0)].concat();
            let entries = CertificateTable::parse(&bytes).unwrap().entries;
            let kinds: Vec<CertificateKind> = entries.iter().map(|entry| entry.kind).collect();
            assert_eq!(kinds, [CertificateKind::Other([guid; 16])], "{guid} {offset} {length}");
        }
        assert_eq!(CertificateTable::parse(&entry(0, 0, 0)).unwrap(), CertificateTable::default());
        assert_eq!(CertificateTable::parse(&[]).unwrap(), CertificateTable::default());
    }

    #[test]
    fn table_without_its_closing_entry_refused() {
        let table = CertificateTable { entries: vec![TableEntry { kind: CertificateKind::Ark, data: vec![] }] };
        let bytes = table.encode().unwrap();
        assert_eq!(CertificateTable::parse(&bytes[..ENTRY_LEN]).unwrap_err().code, Code::Malformed);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = CertificateTable::parse(&bytes);
        }

        #[test]
        fn table_survives_encode_and_parse(datas in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6)) {
            let entries = datas.into_iter().map(|data| TableEntry { kind: CertificateKind::Crl, data }).collect();
            let table = CertificateTable { entries };
            prop_assert_eq!(CertificateTable::parse(&table.encode().unwrap()).unwrap(), table);
        }
    }
}
