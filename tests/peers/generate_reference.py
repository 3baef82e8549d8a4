#!/usr/bin/env python3
"""Greedy generation by Python's ONNX Runtime: the plain reference, one prompt at a time, whole, its cache handed on.

INPUT.json is a list of {"prompt": [int, ...], "most": int}, of tokens; OUTPUT.json becomes a list of {"tokens": [int, ...],
"gaps": [float, ...]}: what comes after each prompt, up to and with the token that ends it or `most`, and by how much each token's
logit is above the next best one's.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime


def load_session(model):
    return onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])


def steps(session, prompt, most, ends):
    """Yields each token, with the gap to the next best."""
    past = {
        each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
        for each in session.get_inputs()
        if each.name.startswith("past_key_values.")
    }
    names = ["logits"] + [name.replace("past_key_values", "present") for name in past]
    ids, length = np.array([prompt], np.int64), len(prompt)
    for _ in range(most):
        mask = np.ones((1, length), np.int64)
        logits, *present = session.run(names, {"input_ids": ids, "attention_mask": mask, **past})
        logits = logits[0, -1]
        token = int(logits.argmax())
        first, second = np.partition(logits, -2)[[-1, -2]]
        yield token, float(first - second)
        if token in ends:
            return
        past = dict(zip(past, present))
        ids, length = np.array([[token]], np.int64), length + 1


def main():
    arguments = argparse.ArgumentParser(description="Greedy generation by Python's ONNX Runtime.")
    arguments.add_argument("model", metavar="MODEL_DIR", type=Path)
    arguments.add_argument("input", metavar="INPUT.json", type=Path)
    arguments.add_argument("output", metavar="OUTPUT.json", type=Path)
    given = arguments.parse_args()

    config = json.loads((given.model / "config.json").read_text())
    ends = np.atleast_1d(config["eos_token_id"]).tolist()
    session = load_session(given.model)
    asked = json.loads(given.input.read_text())
    answers = [list(steps(session, each["prompt"], each["most"], ends)) for each in asked]
    written = [{"tokens": [token for token, _ in answer], "gaps": [gap for _, gap in answer]} for answer in answers]
    given.output.write_text(json.dumps(written))


if __name__ == "__main__":
    main()
