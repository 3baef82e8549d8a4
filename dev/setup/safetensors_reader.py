"""Reads 32-bit float tensors out of a safetensors file: u64le header length, JSON header, tensor data."""

import json
import math
import struct
from array import array


def parse_tensors(data):
    """Maps each F32 tensor's name to (shape, array of its values in row order); other types are left out."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        values = array("f", data[begin:end])
        if struct.pack("=H", 1) != struct.pack("<H", 1):
            values.byteswap()
        if len(values) != math.prod(entry["shape"]):
            raise ValueError(f"tensor `{name}` has {len(values)} values, its shape says {entry['shape']}")
        tensors[name] = (entry["shape"], values)
    return tensors
