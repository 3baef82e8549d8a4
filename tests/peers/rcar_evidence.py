"""SNP evidence for the KBS attestation protocol: got from a security processor, and put into its JSON form.

The JSON is that of `AttestationReport` and `CertTableEntry` as the Rust crate `sev` serialises them.
"""

import socket
import struct
import uuid

REPORT_LENGTH = 1184
FIRST_TURIN_FAMILY = 0x1A
CERTIFICATES = {
    "c0b406a4-a803-4952-9743-3fb6014cd0ae": "ARK",
    "4ab7b379-bbac-4fe4-a02f-05aef327c782": "ASK",
    "63da758d-e664-4564-adc5-f4b93be8accd": "VCEK",
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1": "VLEK",
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea": "CRL",
}


class NoEvidence(Exception):
    """The security processor's answer is not what its protocol says."""


def fetch(path, report_data):
    """One report over `report_data` (64 bytes), and the certificate table, from the Unix socket at `path`."""
    with socket.socket(socket.AF_UNIX) as processor:
        processor.connect(path)
        processor.sendall(report_data)
        with processor.makefile("rb") as answer:
            parts = [_part(answer), _part(answer)]
            if answer.read(1):
                raise NoEvidence("bytes behind the certificate table")
    return parts


def _part(answer):
    (length,) = struct.unpack(">I", _exactly(answer, 4))
    return _exactly(answer, length)


def _exactly(answer, length):
    data = answer.read(length)
    if len(data) != length:
        raise NoEvidence(f"answer ends after {len(data)} of {length} bytes")
    return data


def to_json(report, table):
    """`primary_evidence` of an SNP guest."""
    return {"attestation_report": report_json(report), "cert_chain": certificates_json(table) or None}


def report_json(raw):
    """Offsets of ATTESTATION_REPORT, SEV-SNP firmware ABI (56860), versions 2 to 5."""
    if len(raw) != REPORT_LENGTH:
        raise NoEvidence(f"report has {len(raw)} bytes, not {REPORT_LENGTH}")

    def u32(at):
        return struct.unpack_from("<I", raw, at)[0]

    def u64(at):
        return struct.unpack_from("<Q", raw, at)[0]

    def octets(at, length):
        return list(raw[at : at + length])

    version = u32(0x000)
    names_cpu, names_mitigations = version >= 3, version >= 5
    turin = names_cpu and raw[0x188] >= FIRST_TURIN_FAMILY

    def tcb(at):
        b = raw[at : at + 8]
        if turin:
            return {"fmc": b[0], "bootloader": b[1], "tee": b[2], "snp": b[3], "microcode": b[7]}
        return {"fmc": None, "bootloader": b[0], "tee": b[1], "snp": b[6], "microcode": b[7]}

    def firmware(at):
        return {"major": raw[at + 2], "minor": raw[at + 1], "build": raw[at]}

    return {
        "version": version,
        "guest_svn": u32(0x004),
        "policy": u64(0x008),
        "family_id": octets(0x010, 16),
        "image_id": octets(0x020, 16),
        "vmpl": u32(0x030),
        "sig_algo": u32(0x034),
        "current_tcb": tcb(0x038),
        "plat_info": u64(0x040),
        "key_info": u32(0x048),
        "report_data": octets(0x050, 64),
        "measurement": octets(0x090, 48),
        "host_data": octets(0x0C0, 32),
        "id_key_digest": octets(0x0E0, 48),
        "author_key_digest": octets(0x110, 48),
        "report_id": octets(0x140, 32),
        "report_id_ma": octets(0x160, 32),
        "reported_tcb": tcb(0x180),
        "cpuid_fam_id": raw[0x188] if names_cpu else None,
        "cpuid_mod_id": raw[0x189] if names_cpu else None,
        "cpuid_step": raw[0x18A] if names_cpu else None,
        "chip_id": octets(0x1A0, 64),
        "committed_tcb": tcb(0x1E0),
        "current": firmware(0x1E8),
        "committed": firmware(0x1EC),
        "launch_tcb": tcb(0x1F0),
        "launch_mit_vector": u64(0x1F8) if names_mitigations else None,
        "current_mit_vector": u64(0x200) if names_mitigations else None,
        "signature": {"r": octets(0x2A0, 72), "s": octets(0x2E8, 72)},
    }


def certificates_json(table):
    """Entries of GUID, u32le offset, u32le length up to a zero one (GHCB specification, SNP Extended Guest Request)."""
    entries = []
    for at in range(0, len(table), 24):
        guid, offset, length = table[at : at + 16], *struct.unpack_from("<II", table, at + 16)
        if guid == bytes(16):
            break
        if offset + length > len(table):
            raise NoEvidence(f"certificate at {offset} of {length} bytes, the table has {len(table)}")
        entries.append({"cert_type": _certificate_type(guid), "data": list(table[offset : offset + length])})
    return entries


def _certificate_type(guid):
    # Hosts fill tables in either byte order: as the GUID's text reads, and with its first three parts little-endian.
    for reading in (uuid.UUID(bytes=guid), uuid.UUID(bytes_le=guid)):
        if str(reading) in CERTIFICATES:
            return CERTIFICATES[str(reading)]
    return {"OTHER": str(uuid.UUID(bytes=guid))}
