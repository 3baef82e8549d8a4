#!/usr/bin/env python3
"""MRTD, RTMR1 and RTMR2 of a TD, a second time: written from Intel's and Microsoft's documents, to compare with ours.

It goes other ways where there are any: the TDVF descriptor is found by the GUID before it instead of through the table at
the image's end, and a PE image is hashed by cutting out what does not count. Where the kernel is signed, the SHA-256 digest
that its signature states must be the one that this computes. Where a firmware names the initrd, and whether it takes the
kernel's own file, is read from its code.
"""

import argparse
import hashlib
import json
import lzma
import struct
import uuid
from pathlib import Path

TDVF = uuid.UUID("e9eaf9f3-168e-44d5-a8eb-7f4d8738f6ae").bytes_le
LZMA = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
PAGE, CHUNK = 0x1000, 0x100


def block(name, address):
    return name.ljust(16, b"\0") + struct.pack("<Q", address).ljust(112, b"\0")


def mrtd(image, by_section):
    at = image.index(TDVF) + len(TDVF)
    signature, _, version, count = struct.unpack_from("<4sIII", image, at)
    assert (signature, version) == (b"TDVF", 1)
    transcript = []
    for index in range(count):
        offset, length, address, size, _, attributes = struct.unpack_from("<IIQQII", image, at + 16 + 32 * index)
        contents = image[offset : offset + length].ljust(size, b"\0")
        added = [] if attributes & 2 else [block(b"MEM.PAGE.ADD", address + page) for page in range(0, size, PAGE)]
        measured = [
            b"".join(
                block(b"MR.EXTEND", address + chunk) + contents[chunk : chunk + CHUNK]
                for chunk in range(page, page + PAGE, CHUNK)
            )
            for page in (range(0, size, PAGE) if attributes & 1 else ())
        ]
        if by_section or not measured:
            transcript += added + measured
        else:
            transcript += [part for pair in zip(added, measured, strict=True) for part in pair]
    return hashlib.sha384(b"".join(transcript)).digest()


def code(image):
    """The volumes that the image has as one compressed section (UEFI PI 1.8, volume 3, EFI_SECTION_GUID_DEFINED)."""
    at = image.index(LZMA)
    # After the section's GUID: where its data begins, from four bytes before the GUID where its size has 24 bits, from eight
    # where it has 32.
    header = 8 if image[at - 8 : at - 5] == b"\xff\xff\xff" else 4
    start = at - header + struct.unpack_from("<H", image, at + 16)[0]
    return lzma.LZMADecompressor(format=lzma.FORMAT_ALONE).decompress(image[start:])


def habits(image):
    volumes = code(image)
    places = {"first": b"initrd=initrd \0", "last": b" initrd=initrd\0"}
    [place] = [place for place, text in places.items() if text in volumes]
    return {"initrd": place, "takes_file": b"etc/boot/" in volumes}


def counted(image):
    """What Authenticode hashes of a PE image, as one string of bytes, and its certificate table."""
    pe = struct.unpack_from("<I", image, 0x3C)[0]
    optional = pe + 24
    wide = struct.unpack_from("<H", image, optional)[0] == 0x20B
    entry = optional + (112 if wide else 96) + 4 * 8
    place, length = struct.unpack_from("<II", image, entry)
    checksum = optional + 64
    # In a sound image sections follow the headers without gaps, so that cutting is all there is to do.
    body = image[: len(image) - length]
    return body[:checksum] + body[checksum + 4 : entry] + body[entry + 8 :], image[place : place + length]


def patched(kernel, initrd, memory):
    kernel = bytearray(kernel)
    assert kernel[0x202:0x206] == b"HdrS"
    kernel[0x210] = 0xB0
    kernel[0x211] |= 0x80
    struct.pack_into("<H", kernel, 0x224, 0x20000 - 0x10000 - 0x200)
    struct.pack_into("<I", kernel, 0x228, 0x20000)
    if initrd is not None:
        low = memory if memory < 0xB0000000 else 0x80000000
        below_4g = struct.unpack_from("<H", kernel, 0x236)[0] & 2
        limit = 0xFFFFFFFF if below_4g else struct.unpack_from("<I", kernel, 0x22C)[0]
        limit = min(limit, low - 0x28000 - 1)
        struct.pack_into("<II", kernel, 0x218, (limit - len(initrd)) // PAGE * PAGE, len(initrd))
    return bytes(kernel)


def replay(*events):
    register = bytes(48)
    for digest in events:
        register = hashlib.sha384(register + digest).digest()
    return register.hex()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--firmware", type=Path, required=True)
    parser.add_argument("--kernel", type=Path)
    parser.add_argument("--initrd", type=Path)
    parser.add_argument("--append", default="")
    parser.add_argument("--memory", type=int, default=0, help="MiB")
    parser.add_argument("--habits", action="store_true")
    options = parser.parse_args()
    firmware = options.firmware.read_bytes()
    answer = {"page": mrtd(firmware, False).hex(), "section": mrtd(firmware, True).hex()}
    if options.habits:
        answer["habits"] = habits(firmware)
    if options.kernel:
        sha384 = lambda data: hashlib.sha384(data).digest()
        kernel = options.kernel.read_bytes()
        initrd = options.initrd.read_bytes() if options.initrd else None
        content, certificates = counted(kernel)
        answer["signed"] = hashlib.sha256(content).digest() in certificates if certificates else None
        steps = [b"Calling EFI Application from Boot Option", bytes(4), b"Exit Boot Services Invocation"]
        steps = [sha384(step) for step in [*steps, b"Exit Boot Services Returned with Success"]]
        answer["as-given"] = replay(sha384(content), *steps)
        answer["patched"] = replay(sha384(counted(patched(kernel, initrd, options.memory << 20))[0]), *steps)
        before, after = ("initrd=initrd ", " initrd=initrd") if initrd else ("", "")
        for place, line in (("first", before + options.append), ("last", options.append + after)):
            events = [sha384((line + "\0").encode("utf-16-le"))] if line else []
            answer[place] = replay(*events, *([sha384(initrd)] if initrd else []))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
