"""Models for fast tests, which embed sentences, or tell their class or that of their tokens.

Each is two layers of BERT with fixed pseudo-random weights.

The first has the file layout of all-MiniLM-L6-v2 and a tokenizer cut out of that model's. Its embeddings mean nothing, but
they are different for different texts and the same everywhere. Unlike MiniLM's, its tokenizer.json sets no
truncation, so `max_seq_length` of sentence_bert_config.json is what limits a text.
"""

import json
import math
import random
import string
from array import array

from bert_to_onnx import convert, tells_tokens

WORDS = 1600
SEED = 20240601
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONFIG = {
    "architectures": ["BertModel"],
    "hidden_act": "gelu",
    "hidden_size": 32,
    "intermediate_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
}
MAX_SEQ_LENGTH = 48
CLASSES = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "calm", "1": "alarm", "2": "noise"},
    "label2id": {"calm": 0, "alarm": 1, "noise": 2},
    "problem_type": "single_label_classification",
}
CLASSES_README = """# tiny-classes

A test model of Strongroom: BERT of two layers with pseudo-random weights. The classes it tells carry no meaning.
"""
TOKENS = {
    "architectures": ["BertForTokenClassification"],
    "id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC", "4": "I-LOC"},
    "label2id": {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3, "I-LOC": 4},
}
TOKENS_README = """# tiny-tokens

A test model of Strongroom: BERT of two layers with pseudo-random weights. The names that it finds carry no meaning.
"""
README = """# tiny-embed

A test model of Strongroom: BERT of two layers with pseudo-random weights. Its embeddings carry no meaning.
"""


def _vocabulary(full):
    """Special tokens, every ASCII letter, digit and sign, whole and as a word's tail, then the commonest words."""
    signs = [c for c in string.printable if c.isprintable() and not c.isspace() and not c.isupper()]
    tails = [f"##{c}" for c in string.ascii_lowercase + string.digits]
    ordered = sorted(full, key=full.get)  # BERT's vocabulary is ordered by frequency
    words = [w for w in ordered if len(w) > 1 and w.isascii() and w.isalpha()][:WORDS]
    kept = SPECIAL + [token for token in signs + tails + words if token in full]
    return {token: index for index, token in enumerate(kept)}


def _tokenizer(full):
    cut = json.loads(json.dumps(full))
    vocabulary = _vocabulary(full["model"]["vocab"])
    cut["model"]["vocab"] = vocabulary
    cut["truncation"] = None
    cut["padding"] = None
    for added in cut["added_tokens"]:
        added["id"] = vocabulary[added["content"]]
    for name, special in cut["post_processor"]["special_tokens"].items():
        special["ids"] = [vocabulary[name]]
    return cut


def _weights(config):
    source = random.Random(SEED)  # `random()` of a seeded generator is the same in every Python 3

    def uniform(shape, bound):
        return shape, array("f", ((2.0 * source.random() - 1.0) * bound for _ in range(math.prod(shape))))

    def constant(size, value):
        return [size], array("f", [value]) * size

    hidden, inner = config["hidden_size"], config["intermediate_size"]
    weights = {
        "embeddings.word_embeddings.weight": uniform([config["vocab_size"], hidden], 1.0),
        "embeddings.position_embeddings.weight": uniform([config["max_position_embeddings"], hidden], 0.25),
        "embeddings.token_type_embeddings.weight": uniform([config["type_vocab_size"], hidden], 0.25),
    }

    def linear(name, rows, columns):
        weights[f"{name}.weight"] = uniform([rows, columns], math.sqrt(3.0 / columns))
        weights[f"{name}.bias"] = uniform([rows], 0.1)

    def layer_norm(name):
        weights[f"{name}.weight"] = constant(hidden, 1.0)
        weights[f"{name}.bias"] = constant(hidden, 0.0)

    layer_norm("embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", hidden, hidden)
        layer_norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", inner, hidden)
        linear(f"{layer}.output.dense", hidden, inner)
        layer_norm(f"{layer}.output.LayerNorm")
    if "id2label" in config:
        if not tells_tokens(config):
            linear("pooler.dense", hidden, hidden)
        linear("classifier", len(config["id2label"]), hidden)
    return weights


def _json(value):
    return (json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()


def build(minilm):
    """The model's files, as a map from path to bytes; `minilm` maps the paths of the real model to its bytes."""
    tokenizer = _tokenizer(json.loads(minilm["tokenizer.json"]))
    config = {**CONFIG, "vocab_size": len(tokenizer["model"]["vocab"])}
    pooling = {**json.loads(minilm["1_Pooling/config.json"]), "word_embedding_dimension": config["hidden_size"]}
    names = {**json.loads(minilm["tokenizer_config.json"]), "model_max_length": MAX_SEQ_LENGTH}
    names.pop("name_or_path")
    return {
        "1_Pooling/config.json": _json(pooling),
        "README.md": README.encode(),
        "config.json": _json(config),
        "model.onnx": convert(config, _weights(config)),
        "modules.json": minilm["modules.json"],
        "sentence_bert_config.json": _json({"do_lower_case": False, "max_seq_length": MAX_SEQ_LENGTH}),
        "special_tokens_map.json": minilm["special_tokens_map.json"],
        "tokenizer.json": _json(tokenizer),
        "tokenizer_config.json": _json(names),
    }


def _labelled(minilm, labels, readme):
    tokenizer = _tokenizer(json.loads(minilm["tokenizer.json"]))
    config = {**CONFIG, **labels, "vocab_size": len(tokenizer["model"]["vocab"])}
    return {
        "README.md": readme.encode(),
        "config.json": _json(config),
        "model.onnx": convert(config, _weights(config)),
        "tokenizer.json": _json(tokenizer),
    }


def build_classes(minilm):
    """The files of the model that tells classes."""
    return _labelled(minilm, CLASSES, CLASSES_README)


def build_tokens(minilm):
    """The files of the model that tells the classes of tokens."""
    return _labelled(minilm, TOKENS, TOKENS_README)
