#!/usr/bin/env python3
"""Classes of tokens by Python's ONNX Runtime and tokenizers, as transformers' TokenClassificationPipeline tells them.

INPUT.json is a list of texts; OUTPUT.json becomes {"none": [[entity, ...], ...], "simple": [[entity, ...], ...]}, one list
a text for each `aggregation_strategy`, with no label ignored. One text at a time, no padding.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from embed_reference import load_session, load_tokenizer


def run(session, encoding):
    row = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    feed = {each.name: np.array([row[each.name]], np.int64) for each in session.get_inputs()}
    logits = session.run(["logits"], feed)[0][0]
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def tokens(session, tokenizer, labels, text):
    """`aggregation_strategy="none"`."""
    encoding = tokenizer.encode(text)
    unknown = tokenizer.token_to_id(tokenizer.model.unk_token)
    entities = []
    for index, scores in enumerate(run(session, encoding)):
        if encoding.special_tokens_mask[index]:
            continue
        start, end = encoding.offsets[index]
        word = text[start:end] if encoding.ids[index] == unknown else tokenizer.id_to_token(encoding.ids[index])
        best = int(scores.argmax())
        entity = {"entity": labels[str(best)], "score": float(scores[best]), "index": index}
        entities.append({**entity, "word": word, "start": start, "end": end})
    return entities


def tag(label):
    """Whether it begins an entity, and of what kind that is."""
    return (label[0], label[2:]) if label[:2] in ("B-", "I-") else ("I", label)


def group(tokenizer, entities):
    return {
        "entity_group": entities[0]["entity"].split("-", 1)[-1],
        "score": float(np.mean([entity["score"] for entity in entities])),
        "word": tokenizer.decoder.decode([entity["word"] for entity in entities]),
        "start": entities[0]["start"],
        "end": entities[-1]["end"],
    }


def groups(tokenizer, entities):
    """`aggregation_strategy="simple"`."""
    grouped = []
    for entity in entities:
        begins, kind = tag(entity["entity"])
        if grouped and begins != "B" and kind == tag(grouped[-1][-1]["entity"])[1]:
            grouped[-1].append(entity)
        else:
            grouped.append([entity])
    return [group(tokenizer, entities) for entities in grouped]


def main():
    arguments = argparse.ArgumentParser(description="Classes of tokens by Python's ONNX Runtime.")
    arguments.add_argument("model", metavar="MODEL_DIR", type=Path)
    arguments.add_argument("input", metavar="INPUT.json", type=Path)
    arguments.add_argument("output", metavar="OUTPUT.json", type=Path)
    given = arguments.parse_args()

    labels = json.loads((given.model / "config.json").read_text())["id2label"]
    session, tokenizer = load_session(given.model), load_tokenizer(given.model)
    none = [tokens(session, tokenizer, labels, text) for text in json.loads(given.input.read_text())]
    simple = [groups(tokenizer, entities) for entities in none]
    given.output.write_text(json.dumps({"none": none, "simple": simple}))


if __name__ == "__main__":
    main()
