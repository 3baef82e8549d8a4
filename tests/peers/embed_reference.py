#!/usr/bin/env python3
"""Sentence embeddings by Python's ONNX Runtime and tokenizers: the plain reference, one text at a time, no padding.

INPUT.json is a list of texts; OUTPUT.json becomes {"embeddings": [[float, ...], ...], "tokens": [int, ...]}, where
`tokens` counts what is left of each text after truncation, special tokens included.

A text is cut to the first of these that the model states: `truncation` of tokenizer.json, `max_seq_length` of
sentence_bert_config.json, `max_position_embeddings` of config.json.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def load_tokenizer(model):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    if tokenizer.truncation is None:
        tokenizer.enable_truncation(stated_length(model))
    return tokenizer


def stated_length(model):
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("config.json", "max_position_embeddings")):
        path = model / name
        stated = json.loads(path.read_text()).get(key) if path.exists() else None
        if stated is not None:
            return stated
    sys.exit("the model states no longest text")


def load_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])


def embed(session, encoding):
    row = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    wanted = {each.name for each in session.get_inputs()}
    feed = {name: np.array([values], np.int64) for name, values in row.items() if name in wanted}
    return session.run(["sentence_embedding"], feed)[0][0].tolist()


def main():
    arguments = argparse.ArgumentParser(description="Sentence embeddings by Python's ONNX Runtime.")
    arguments.add_argument("model", metavar="MODEL_DIR", type=Path)
    arguments.add_argument("input", metavar="INPUT.json", type=Path)
    arguments.add_argument("output", metavar="OUTPUT.json", type=Path)
    given = arguments.parse_args()

    tokenizer = load_tokenizer(given.model)
    encodings = tokenizer.encode_batch(json.loads(given.input.read_text()))
    session = load_session(given.model)
    embeddings = [embed(session, encoding) for encoding in encodings]
    answer = {"embeddings": embeddings, "tokens": [len(encoding.ids) for encoding in encodings]}
    given.output.write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
