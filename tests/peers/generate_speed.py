#!/usr/bin/env python3
"""How many tokens a second Python's ONNX Runtime generates: greedy, one prompt, its cache handed on; printed.

Counted is what comes after the first token.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import onnxruntime


def load_session(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model / "model.onnx", options, providers=["CPUExecutionProvider"])


def tokens(session, prompt, most):
    past = {
        each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
        for each in session.get_inputs()
        if each.name.startswith("past_key_values.")
    }
    names = ["logits"] + [name.replace("past_key_values", "present") for name in past]
    ids, length = np.array([prompt], np.int64), len(prompt)
    for _ in range(most):
        logits, *present = session.run(
            names, {"input_ids": ids, "attention_mask": np.ones((1, length), np.int64), **past}
        )
        token = int(logits[0, -1].argmax())
        yield token
        past = dict(zip(past, present))
        ids, length = np.array([[token]], np.int64), length + 1


def main():
    arguments = argparse.ArgumentParser(description="Tokens a second of Python's ONNX Runtime.")
    arguments.add_argument("model", metavar="MODEL_DIR", type=Path)
    arguments.add_argument("prompt", metavar="TOKEN,...")
    arguments.add_argument("most", metavar="TOKENS", type=int)
    arguments.add_argument("threads", metavar="THREADS", type=int)
    given = arguments.parse_args()

    session = load_session(given.model, given.threads)
    prompt = [int(token) for token in given.prompt.split(",")]
    list(tokens(session, prompt, 4))
    answer = tokens(session, prompt, given.most)
    next(answer)
    began = time.perf_counter()
    count = sum(1 for _ in answer)
    print(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
