#!/usr/bin/env python3
"""Classes by Python's ONNX Runtime and tokenizers: the plain reference, one text at a time, no padding.

INPUT.json is a list of texts; OUTPUT.json becomes a list of how likely each label is, by softmax.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from embed_reference import load_session, load_tokenizer


def classify(session, encoding):
    row = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    feed = {each.name: np.array([row[each.name]], np.int64) for each in session.get_inputs()}
    logits = session.run(["logits"], feed)[0][0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    return (shares / shares.sum()).tolist()


def main():
    arguments = argparse.ArgumentParser(description="Classes by Python's ONNX Runtime.")
    arguments.add_argument("model", metavar="MODEL_DIR", type=Path)
    arguments.add_argument("input", metavar="INPUT.json", type=Path)
    arguments.add_argument("output", metavar="OUTPUT.json", type=Path)
    given = arguments.parse_args()

    session = load_session(given.model)
    encodings = load_tokenizer(given.model).encode_batch(json.loads(given.input.read_text()))
    given.output.write_text(json.dumps([classify(session, encoding) for encoding in encodings]))


if __name__ == "__main__":
    main()
