"""Writes ONNX models: the few protocol buffer messages of onnx.proto (IR version 8) that a feed-forward graph needs.

Standard library only, so that the bytes depend on this file and on the weights, and on no package's version.
This module does not run or check a graph; who builds one compares its hash with the lock file.
"""

import struct
from array import array

FLOAT = 1  # TensorProto.DataType
INT32 = 6
INT64 = 7

_ATTRIBUTE_FLOAT = 1  # AttributeProto.AttributeType
_ATTRIBUTE_INT = 2
_ATTRIBUTE_INTS = 7


def _varint(value):
    value &= (1 << 64) - 1  # negative int64 is sent as its two's complement
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(field, value):
    return _varint(field << 3) + _varint(value)


def _float(field, value):
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field, value):
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _attribute(name, value):
    """AttributeProto: name = 1, f = 2, i = 3, ints = 8, type = 20."""
    head = _bytes(1, name)
    if isinstance(value, float):
        return head + _float(2, value) + _integer(20, _ATTRIBUTE_FLOAT)
    if isinstance(value, int):
        return head + _integer(3, value) + _integer(20, _ATTRIBUTE_INT)
    return head + b"".join(_integer(8, item) for item in value) + _integer(20, _ATTRIBUTE_INTS)


def _value_info(name, element, shape):
    """ValueInfoProto; a dimension is a number, or the name of one that is known at run time."""
    dims = b"".join(_bytes(1, _bytes(2, d) if isinstance(d, str) else _integer(1, d)) for d in shape)
    tensor_type = _integer(1, element) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor_type))


class Graph:
    """A graph that is written down node by node, each after the nodes whose outputs it reads."""

    def __init__(self, name):
        self.name = name
        self._nodes = []
        self._initializers = []
        self._inputs = []
        self._outputs = []
        self._domains = set()

    def node(self, operator, inputs, output, *others, domain="", **attributes):
        """Appends a node and returns the name of its first output.

        NodeProto: input = 1, output = 2, name = 3, op_type = 4, attribute = 5, domain = 7.
        """
        parts = [_bytes(1, name) for name in inputs]
        parts += [_bytes(2, name) for name in (output, *others)]
        parts += [_bytes(3, f"{operator}_{output}"), _bytes(4, operator)]
        parts += [_bytes(5, _attribute(name, value)) for name, value in sorted(attributes.items())]
        if domain:
            parts.append(_bytes(7, domain))
            self._domains.add(domain)
        self._nodes.append(b"".join(parts))
        return output

    def tensor(self, name, shape, values):
        """Adds a constant of 32-bit floats. TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9."""
        return self._constant(name, shape, FLOAT, array("f", values))

    def integers(self, name, shape, values):
        """Adds a constant of 64-bit integers."""
        return self._constant(name, shape, INT64, array("q", values))

    def input(self, name, element, shape):
        self._inputs.append(_value_info(name, element, shape))

    def output(self, name, element, shape):
        self._outputs.append(_value_info(name, element, shape))

    def model(self, opset, producer):
        """ModelProto: ir_version = 1, producer_name = 2, graph = 7, opset_import = 8; of other domains version 1."""
        graph = b"".join(_bytes(1, node) for node in self._nodes)
        graph += _bytes(2, self.name)
        graph += b"".join(_bytes(5, tensor) for tensor in self._initializers)
        graph += b"".join(_bytes(11, value) for value in self._inputs)
        graph += b"".join(_bytes(12, value) for value in self._outputs)
        opsets = [_integer(2, opset)] + [_bytes(1, domain) + _integer(2, 1) for domain in sorted(self._domains)]
        return _integer(1, 8) + _bytes(2, producer) + _bytes(7, graph) + b"".join(_bytes(8, each) for each in opsets)

    def _constant(self, name, shape, element, values):
        if struct.pack("=H", 1) != struct.pack("<H", 1):
            values.byteswap()
        dims = b"".join(_integer(1, dim) for dim in shape)
        self._initializers.append(dims + _integer(2, element) + _bytes(8, name) + _bytes(9, values.tobytes()))
        return name
