#!/usr/bin/env python3
"""Checks the models of the set-up with the reference implementations: their graphs are valid ONNX with fully inferred
shapes, and the embeddings mean what they should.

Takes the models' folders from MODEL_MINILM, MODEL_TINY and MODEL_MAGIKA.
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
from embed_reference import embed, load_session, load_tokenizer

# Two that say the same, and one that does not.
TEXTS = ["A cat sat on the mat.", "A feline rested upon the rug.", "Quarterly revenue grew by four percent."]


def embeddings(model):
    session = load_session(model)
    return np.array([embed(session, encoding) for encoding in load_tokenizer(model).encode_batch(TEXTS)])


def main():
    minilm, tiny, magika = (Path(os.environ[key]) for key in ("MODEL_MINILM", "MODEL_TINY", "MODEL_MAGIKA"))
    for model in (minilm, tiny, magika):
        onnx.checker.check_model(model / "model.onnx", full_check=True)
    for model, width in ((minilm, 384), (tiny, 32)):
        rows = embeddings(model)
        if rows.shape != (len(TEXTS), width) or not np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5):
            sys.exit(f"{model.name}: embeddings of shape {rows.shape} or not of length 1")
    same, other = (float(rows[0] @ rows[at]) for rows in [embeddings(minilm)] for at in (1, 2))
    if not (same > 0.5 and abs(other) < 0.2):
        sys.exit(f"{minilm.name}: cosines {same:.3f} of like and {other:.3f} of unlike texts")
    print(f"models: 3 graphs valid; cosines {same:.3f} of like and {other:.3f} of unlike texts")


if __name__ == "__main__":
    main()
