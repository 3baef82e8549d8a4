"""A chat model for fast tests: two layers of Llama with fixed pseudo-random weights, and a tokenizer of bytes.

What it says means nothing, but it is the same everywhere, and other prompts give other answers. The graph has the inputs
and outputs of a decoder of ONNX Runtime GenAI, past and present included; its attention is `GroupQueryAttention`. Its
template knows of tools, and writes them as Hermes and Qwen models are taught.
"""

import json
import math
import random
from array import array

from onnx_writer import FLOAT, INT32, INT64, Graph

OPSET = 17
SEED = 20261122
HIDDEN, HEADS, KV_HEADS, WIDTH, INNER, LAYERS, CONTEXT = 32, 2, 1, 16, 64, 2, 1024
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# Not special: they are text to whoever reads an answer.
ADDED = ["<tool_call>", "</tool_call>"]
# Pairs that are one token, so that tokens begin and end where a grammar's symbols do not.
MERGES = ['" :', '" ,', '{ "', '" }', '} }', 'Ġ "', '": Ġ"', '", Ġ"', "t h", "e r", "i n", "r u", "ru e", "t rue", "1 0"]
TEMPLATE = """{%- if tools %}
{{- '<|im_start|>system\\n# Tools\\n<tools>' }}
{%- for tool in tools %}
{{- '\\n' }}{{ tool | tojson }}
{%- endfor %}
{{- '\\n</tools><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for call in message.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}{{ call.function.arguments | tojson }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
README = """# tiny-chat

A test model of Strongroom: Llama of two layers with pseudo-random weights. What it says carries no meaning.
"""


def _letters():
    """GPT-2's letter of each byte: printable ones are themselves, and the others follow 255 in their order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(0x100 + n) for n, b in enumerate(others)}}


def _tokenizer():
    letters = _letters()
    words = [letters[byte] for byte in range(0x100)] + [merge.replace(" ", "") for merge in MERGES]
    vocabulary = {word: index for index, word in enumerate(words)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": len(words) + index, "content": content, **flags, "special": content in SPECIAL}
        for index, content in enumerate(SPECIAL + ADDED)
    ]
    tokenizer = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": MERGES},
    }
    return tokenizer, len(words) + len(added)


class _Decoder:
    """Writes one decoder."""

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self.source = random.Random(SEED)  # `random()` of a seeded generator is the same in every Python 3
        self.graph = Graph("llama")
        self.node = self.graph.node

    def uniform(self, count, bound):
        return array("f", ((2.0 * self.source.random() - 1.0) * bound for _ in range(count)))

    def linear(self, x, rows, columns, out):
        weights = self.uniform(rows * columns, math.sqrt(3.0 / rows))
        kernel = self.graph.tensor(f"{out}.weight", [rows, columns], weights)
        return self.node("MatMul", [x, kernel], out)

    def norm(self, x, out):
        scale = self.graph.tensor(f"{out}.weight", [HIDDEN], [1.0] * HIDDEN)
        return self.node("SimplifiedLayerNormalization", [x, scale], out, axis=-1, epsilon=1e-5, stash_type=1)

    def positions(self):
        """Cosines and sines of RoPE, and how many tokens each row has."""
        angles = [at / 10000.0 ** (2 * pair / WIDTH) for at in range(CONTEXT) for pair in range(WIDTH // 2)]
        self.graph.tensor("cos", [CONTEXT, WIDTH // 2], map(math.cos, angles))
        self.graph.tensor("sin", [CONTEXT, WIDTH // 2], map(math.sin, angles))
        self.graph.integers("axis_1", [1], [1])
        self.graph.integers("one", [], [1])
        self.node("ReduceSum", ["attention_mask", "axis_1"], "count", keepdims=0)
        self.node("Sub", ["count", "one"], "last")
        self.node("Cast", ["last"], "last.32", to=INT32)
        self.node("Shape", ["attention_mask"], "mask.shape")
        self.node("Gather", ["mask.shape", "one"], "total", axis=0)
        self.node("Cast", ["total"], "total.32", to=INT32)

    def layer(self, x, index):
        at = f"layer.{index}"
        y = self.norm(x, f"{at}.attention.norm")
        query = self.linear(y, HIDDEN, HEADS * WIDTH, f"{at}.query")
        key = self.linear(y, HIDDEN, KV_HEADS * WIDTH, f"{at}.key")
        value = self.linear(y, HIDDEN, KV_HEADS * WIDTH, f"{at}.value")
        past = [f"past_key_values.{index}.{part}" for part in ("key", "value")]
        present = [f"present.{index}.{part}" for part in ("key", "value")]
        inputs = [query, key, value, *past, "last.32", "total.32", "cos", "sin"]
        heads = {"num_heads": HEADS, "kv_num_heads": KV_HEADS, "do_rotary": 1}
        self.node("GroupQueryAttention", inputs, f"{at}.context", *present, domain="com.microsoft", **heads)
        attended = self.linear(f"{at}.context", HEADS * WIDTH, HIDDEN, f"{at}.attended")
        x = self.node("Add", [x, attended], f"{at}.attended.sum")
        y = self.norm(x, f"{at}.inner.norm")
        gate = self.linear(y, HIDDEN, INNER, f"{at}.gate")
        self.node("Sigmoid", [gate], f"{at}.gate.open")
        self.node("Mul", [gate, f"{at}.gate.open"], f"{at}.silu")
        inner = self.linear(y, HIDDEN, INNER, f"{at}.inner")
        self.node("Mul", [f"{at}.silu", inner], f"{at}.gated")
        return self.node("Add", [x, self.linear(f"{at}.gated", INNER, HIDDEN, f"{at}.outer")], f"{at}.outer.sum")

    def write(self):
        g = self.graph
        g.input("input_ids", INT64, ["batch", "sequence"])
        g.input("attention_mask", INT64, ["batch", "total_sequence"])
        g.output("logits", FLOAT, ["batch", 1, self.vocabulary])
        for index in range(LAYERS):
            for part in ("key", "value"):
                g.input(f"past_key_values.{index}.{part}", FLOAT, ["batch", KV_HEADS, "past_sequence", WIDTH])
                g.output(f"present.{index}.{part}", FLOAT, ["batch", KV_HEADS, "total_sequence", WIDTH])
        self.positions()
        words = g.tensor("words", [self.vocabulary, HIDDEN], self.uniform(self.vocabulary * HIDDEN, 1.0))
        x = self.node("Gather", [words, "input_ids"], "hidden")
        for index in range(LAYERS):
            x = self.layer(x, index)
        # The logits of the last position alone.
        g.integers("from_last", [1], [-1])
        g.integers("to_end", [1], [(1 << 63) - 1])
        self.node("Slice", [x, "from_last", "to_end", "axis_1"], "hidden.last")
        self.linear(self.norm("hidden.last", "hidden.norm"), HIDDEN, self.vocabulary, "logits")
        return g.model(OPSET, "strongroom")


def _json(value):
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def build():
    """The model's files, as a map from path to bytes."""
    tokenizer, vocabulary = _tokenizer()
    ids = {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "head_dim": WIDTH,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "max_position_embeddings": CONTEXT,
        "model_type": "llama",
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": vocabulary,
    }
    return {
        "README.md": README.encode(),
        "chat_template.jinja": TEMPLATE.encode(),
        "config.json": _json(config),
        "model.onnx": _Decoder(vocabulary).write(),
        "tokenizer.json": _json(tokenizer),
    }
