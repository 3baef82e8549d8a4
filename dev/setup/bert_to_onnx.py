"""A BERT encoder with mean pooling, as an ONNX graph of standard operators (opset 17).

Inputs, all int64 [batch, sequence]: `input_ids`, `attention_mask`, `token_type_ids`. Outputs, float:
`last_hidden_state` [batch, sequence, hidden] and `sentence_embedding` [batch, hidden], the mean over the tokens whose
mask is 1, L2-normalised, as sentence-transformers' modules Transformer, Pooling (mean) and Normalize give it. Where the
configuration has labels (`id2label`), the output is `logits` alone: [batch, sequence, labels], as
BertForTokenClassification's, where `architectures` says so, else [batch, labels], as BertForSequenceClassification's.

The graph is the plain one on purpose: ONNX Runtime fuses what it wants by itself, and runs the hand-fused form slower.
"""

import math
import struct
from array import array

from onnx_writer import FLOAT, INT64, Graph

OPSET = 17
LOWEST_FLOAT = -3.4028234663852886e38  # added to the attention score of a padding token


def _f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def _transposed(rows, columns, values):
    out = array("f", bytes(4 * rows * columns))
    for row in range(rows):
        out[row::rows] = values[row * columns : (row + 1) * columns]
    return out


class _Encoder:
    """Writes one encoder; `weights` maps the names of Hugging Face's BertModel to (shape, values)."""

    def __init__(self, config, weights):
        if config["hidden_act"] != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("only the exact gelu and absolute positions are written")
        self.config = config
        self.weights = {name.removeprefix("bert."): tensor for name, tensor in weights.items()}
        self.hidden = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.graph = Graph("bert")
        self.node = self.graph.node

    def weight(self, name):
        shape, values = self.weights[name]
        return self.graph.tensor(name, shape, values)

    def linear(self, x, name, out):
        (rows, columns), values = self.weights[f"{name}.weight"]
        kernel = self.graph.tensor(f"{name}.weight", [columns, rows], _transposed(rows, columns, values))
        self.node("MatMul", [x, kernel], f"{out}.product")
        return self.node("Add", [f"{out}.product", self.weight(f"{name}.bias")], out)

    def layer_norm(self, x, name, out):
        inputs = [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", inputs, out, axis=-1, epsilon=float(self.config["layer_norm_eps"]))

    def constants(self):
        g = self.graph
        g.tensor("one", [], [1.0])
        g.tensor("half", [], [0.5])
        g.tensor("sqrt2", [], [_f32(math.sqrt(2.0))])
        g.tensor("lowest", [], [LOWEST_FLOAT])
        g.tensor("scale", [], [_f32(1.0 / math.sqrt(self.hidden // self.heads))])
        g.tensor("least_count", [], [_f32(1e-9)])
        g.tensor("least_norm", [], [_f32(1e-12)])
        g.integers("index_1", [], [1])
        g.integers("axis_0", [1], [0])
        g.integers("axis_1", [1], [1])
        g.integers("axis_last", [1], [-1])
        g.integers("axes_1_2", [2], [1, 2])
        g.integers("split_heads", [4], [0, 0, self.heads, self.hidden // self.heads])
        g.integers("join_heads", [3], [0, 0, self.hidden])

    def embeddings(self):
        self.node("Gather", [self.weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
        self.node("Gather", [self.weight("embeddings.token_type_embeddings.weight"), "token_type_ids"], "types")
        self.node("Shape", ["input_ids"], "input_shape")
        self.node("Gather", ["input_shape", "index_1"], "length", axis=0)
        self.node("Unsqueeze", ["length", "axis_0"], "lengths")
        positions = self.weight("embeddings.position_embeddings.weight")
        self.node("Slice", [positions, "axis_0", "lengths", "axis_0"], "positions")
        self.node("Add", ["words", "types"], "words_and_types")
        self.node("Add", ["words_and_types", "positions"], "embedded")
        return self.layer_norm("embedded", "embeddings.LayerNorm", "hidden.0")

    def mask(self):
        """[batch, 1, 1, sequence]: 0 for a token, the lowest float for padding."""
        self.node("Unsqueeze", ["attention_mask", "axes_1_2"], "mask.wide")
        self.node("Cast", ["mask.wide"], "mask.float", to=FLOAT)
        self.node("Sub", ["one", "mask.float"], "mask.padding")
        self.node("Mul", ["mask.padding", "lowest"], "mask")

    def attention(self, x, name, at):
        def project(part, order):
            self.linear(x, f"{name}.self.{part}", f"{at}.{part}")
            self.node("Reshape", [f"{at}.{part}", "split_heads"], f"{at}.{part}.split")
            return self.node("Transpose", [f"{at}.{part}.split"], f"{at}.{part}.heads", perm=order)

        query = project("query", [0, 2, 1, 3])
        key = project("key", [0, 2, 3, 1])
        value = project("value", [0, 2, 1, 3])
        self.node("MatMul", [query, key], f"{at}.product")
        self.node("Mul", [f"{at}.product", "scale"], f"{at}.scaled")
        self.node("Add", [f"{at}.scaled", "mask"], f"{at}.masked")
        self.node("Softmax", [f"{at}.masked"], f"{at}.shares", axis=-1)
        self.node("MatMul", [f"{at}.shares", value], f"{at}.context")
        self.node("Transpose", [f"{at}.context"], f"{at}.context.rows", perm=[0, 2, 1, 3])
        self.node("Reshape", [f"{at}.context.rows", "join_heads"], f"{at}.context.joined")
        return self.linear(f"{at}.context.joined", f"{name}.output.dense", f"{at}.attended")

    def gelu(self, x, at):
        self.node("Div", [x, "sqrt2"], f"{at}.gelu.argument")
        self.node("Erf", [f"{at}.gelu.argument"], f"{at}.gelu.erf")
        self.node("Add", [f"{at}.gelu.erf", "one"], f"{at}.gelu.gate")
        self.node("Mul", [x, f"{at}.gelu.gate"], f"{at}.gelu.double")
        return self.node("Mul", [f"{at}.gelu.double", "half"], f"{at}.gelu")

    def layer(self, x, index, out):
        name, at = f"encoder.layer.{index}", f"layer.{index}"
        attended = self.attention(x, f"{name}.attention", at)
        self.node("Add", [attended, x], f"{at}.attended.sum")
        y = self.layer_norm(f"{at}.attended.sum", f"{name}.attention.output.LayerNorm", f"{at}.attended.norm")
        inner = self.linear(y, f"{name}.intermediate.dense", f"{at}.inner")
        outer = self.linear(self.gelu(inner, at), f"{name}.output.dense", f"{at}.outer")
        self.node("Add", [outer, y], f"{at}.outer.sum")
        return self.layer_norm(f"{at}.outer.sum", f"{name}.output.LayerNorm", out)

    def pooling(self):
        self.node("Unsqueeze", ["attention_mask", "axis_last"], "pool.mask.wide")
        self.node("Cast", ["pool.mask.wide"], "pool.mask", to=FLOAT)
        self.node("Mul", ["last_hidden_state", "pool.mask"], "pool.kept")
        self.node("ReduceSum", ["pool.kept", "axis_1"], "pool.sum", keepdims=0)
        self.node("ReduceSum", ["pool.mask", "axis_1"], "pool.count.raw", keepdims=0)
        self.node("Max", ["pool.count.raw", "least_count"], "pool.count")
        self.node("Div", ["pool.sum", "pool.count"], "pool.mean")
        self.node("Mul", ["pool.mean", "pool.mean"], "pool.squares")
        self.node("ReduceSum", ["pool.squares", "axis_last"], "pool.norm.squared", keepdims=1)
        self.node("Sqrt", ["pool.norm.squared"], "pool.norm.raw")
        self.node("Max", ["pool.norm.raw", "least_norm"], "pool.norm")
        self.node("Div", ["pool.mean", "pool.norm"], "sentence_embedding")

    def classes(self):
        self.graph.integers("index_0", [], [0])
        self.node("Gather", ["last_hidden_state", "index_0"], "first", axis=1)
        self.node("Tanh", [self.linear("first", "pooler.dense", "pooler.inner")], "pooler")
        self.linear("pooler", "classifier", "logits")

    def write(self):
        of_tokens = tells_tokens(self.config)
        layers = self.config["num_hidden_layers"]
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            self.graph.input(name, INT64, ["batch", "sequence"])
        labels = self.config.get("id2label")
        if labels:
            self.graph.output("logits", FLOAT, ["batch", *(["sequence"] if of_tokens else []), len(labels)])
        else:
            self.graph.output("last_hidden_state", FLOAT, ["batch", "sequence", self.hidden])
            self.graph.output("sentence_embedding", FLOAT, ["batch", self.hidden])
        self.constants()
        self.mask()
        x = self.embeddings()
        for index in range(layers):
            x = self.layer(x, index, "last_hidden_state" if index == layers - 1 else f"hidden.{index + 1}")
        if of_tokens:
            self.linear("last_hidden_state", "classifier", "logits")
        elif labels:
            self.classes()
        else:
            self.pooling()
        return self.graph.model(OPSET, "strongroom")


def tells_tokens(config):
    """Whether a model with this config.json tells the classes of tokens."""
    return any(name.endswith("ForTokenClassification") for name in config.get("architectures", []))


def convert(config, weights):
    """The bytes of the ONNX model; the same for the same `config` (config.json) and `weights`."""
    return _Encoder(config, weights).write()
