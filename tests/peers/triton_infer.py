#!/usr/bin/env python3
"""Runs tensors through a served model with the Open Inference Protocol's own client, and through the same graph with Python's
ONNX Runtime.

INPUTS.json says of each input {"shape": [int, ...], "low": number, "high": number}; the numbers between are drawn with a fixed
seed, in the type that the server's metadata names. Prints {"metadata": ..., "server": ..., "furthest": float, "runs": int,
"refused": {...}}, where `furthest` is how far any element of any answer is from the reference, over all ways to send and to ask
for tensors. Exit codes: 0 done, 1 the client raised what it should not have.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, triton_to_np_dtype


def draw(given, datatype, source):
    """Numbers of the datatype between the bounds, and of integers never the upper one."""
    dtype, shape = triton_to_np_dtype(datatype), given["shape"]
    if np.issubdtype(dtype, np.integer):
        return np.asarray(source.integers(given["low"], given["high"], shape, dtype=dtype))
    return np.asarray(source.uniform(given["low"], given["high"], shape), dtype=dtype)


def as_input(name, tensor, datatype, binary):
    made = triton.InferInput(name, list(tensor.shape), datatype)
    made.set_data_from_numpy(tensor, binary_data=binary)
    return made


def distance(result, want):
    got = {name: result.as_numpy(name) for name in want}
    for name, tensor in want.items():
        if got[name].shape != tensor.shape or got[name].dtype != tensor.dtype:
            sys.exit(f"{name}: {got[name].dtype} of {got[name].shape}, not {tensor.dtype} of {tensor.shape}")
    if not all(np.isfinite(tensor).all() for tensor in got.values()):
        sys.exit("an element that is no number")
    return max(float(np.abs(got[name] - want[name]).max()) for name in want)


def refusal(call):
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    sys.exit("a call that should have been refused was answered")


def main():
    arguments = argparse.ArgumentParser(description="Inference by tritonclient, beside ONNX Runtime.")
    arguments.add_argument("address", metavar="HOST:PORT")
    arguments.add_argument("key", metavar="API_KEY")
    arguments.add_argument("model", metavar="MODEL")
    arguments.add_argument("graph", metavar="MODEL.onnx", type=Path)
    arguments.add_argument("inputs", metavar="INPUTS.json", type=Path)
    given = arguments.parse_args()

    client = triton.InferenceServerClient(given.address, concurrency=4)

    def known():
        # A new one for each call: the client writes into it.
        return {"headers": {"authorization": f"Bearer {given.key}"}}

    alive = [client.is_server_live(), client.is_server_ready(), client.is_model_ready(given.model, **known())]
    if not all(alive):
        sys.exit(f"not alive: {alive}")
    metadata = client.get_model_metadata(given.model, **known())
    types = {each["name"]: each["datatype"] for each in metadata["inputs"]}
    source = np.random.default_rng(20240601)
    feeds = {name: draw(how, types[name], source) for name, how in json.loads(given.inputs.read_text()).items()}

    session = onnxruntime.InferenceSession(given.graph, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    want = dict(zip(names, session.run(names, feeds)))

    results = []
    version = metadata["versions"][0]
    for binary_in in (True, False):
        inputs = [as_input(name, tensor, types[name], binary_in) for name, tensor in feeds.items()]
        for binary_out in (True, False):
            asked = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in reversed(names)]
            results.append(client.infer(given.model, inputs, outputs=asked, request_id="7", **known()))
            if results[-1].get_response()["id"] != "7":
                sys.exit("another request's id")
        results.append(client.infer(given.model, inputs, model_version=version, **known()))
        # Several at once, on connections of their own.
        waiting = [client.async_infer(given.model, inputs, **known()) for _ in range(4)]
        results += [each.get_result() for each in waiting]
    one = client.infer(given.model, inputs, outputs=[triton.InferRequestedOutput(names[-1])], **known())
    furthest = max([distance(result, want) for result in results] + [distance(one, {names[-1]: want[names[-1]]})])

    refused = {
        "stranger": refusal(lambda: client.infer(given.model, inputs)),
        "model": refusal(lambda: client.infer("another", inputs, **known())),
        "version": refusal(lambda: client.infer(given.model, inputs, model_version="1", **known())),
        "inputs": refusal(lambda: client.infer(given.model, [], **known())),
        "output": refusal(
            lambda: client.infer(given.model, inputs, outputs=[triton.InferRequestedOutput("another")], **known())
        ),
    }
    server = client.get_server_metadata(**known())
    print(
        json.dumps(
            {
                "metadata": metadata,
                "server": server,
                "furthest": furthest,
                "runs": len(results) + 1,
                "refused": refused,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
