#!/usr/bin/env python3
"""Unloads a served model and loads it again with the Open Inference Protocol's own client.

Prints {"before": [index, ready], "unloaded": [index, ready], "loaded": [index, ready], "refused": str}, the last being what the client
raises where a load is asked for with Triton's own parameters. Exit codes: 0 done, 1 the client raised what it should not have.
"""

import argparse
import json
import sys

import tritonclient.http as triton
from tritonclient.utils import InferenceServerException


def main():
    arguments = argparse.ArgumentParser(description="Load and unload by tritonclient.")
    arguments.add_argument("address", metavar="HOST:PORT")
    arguments.add_argument("key", metavar="API_KEY")
    arguments.add_argument("model", metavar="MODEL")
    given = arguments.parse_args()
    headers = {"Authorization": f"Bearer {given.key}"}
    # A change may take as long as a model does.
    client = triton.InferenceServerClient(given.address, network_timeout=120.0)

    def seen():
        return [client.get_model_repository_index(headers=headers), client.is_model_ready(given.model, headers=headers)]

    found = {"before": seen()}
    client.unload_model(given.model, headers=headers)
    found["unloaded"] = seen()
    client.load_model(given.model, headers=headers)
    found["loaded"] = seen()
    try:
        client.load_model(given.model, headers=headers, config="{}")
        sys.exit("a load that should have been refused was made")
    except InferenceServerException as error:
        found["refused"] = error.message()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
