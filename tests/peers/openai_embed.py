#!/usr/bin/env python3
"""Asks an OpenAI-compatible endpoint for embeddings with OpenAI's own client.

Prints {"model": str, "embeddings": [[float, ...], ...], "prompt_tokens": int, "total_tokens": int}. Exit codes: 0 done,
1 the endpoint answered with an error, printed as {"status": int, "body": ...}; 3 no connection.
"""

import argparse
import json
import sys

import openai


def main():
    arguments = argparse.ArgumentParser(description="Embeddings by OpenAI's client.")
    arguments.add_argument("base_url", metavar="BASE_URL", help="ends in /v1")
    arguments.add_argument("api_key", metavar="API_KEY")
    arguments.add_argument("model", metavar="MODEL")
    arguments.add_argument("texts", metavar="TEXT", nargs="+")
    arguments.add_argument(
        "--encoding", choices=["float", "base64"], help="what to ask for; the client asks base64 by itself"
    )
    given = arguments.parse_args()

    client = openai.OpenAI(base_url=given.base_url, api_key=given.api_key, max_retries=0, timeout=60)
    asked = {"model": given.model, "input": given.texts}
    if given.encoding:
        asked["encoding_format"] = given.encoding
    try:
        answer = client.embeddings.create(**asked)
    except openai.APIStatusError as error:
        print(json.dumps({"status": error.status_code, "body": error.body}))
        return 1
    except openai.APIConnectionError as error:
        print(f"openai: {error}: {error.__cause__}", file=sys.stderr)
        return 3
    print(
        json.dumps(
            {
                "model": answer.model,
                "embeddings": [item.embedding for item in sorted(answer.data, key=lambda item: item.index)],
                "prompt_tokens": answer.usage.prompt_tokens,
                "total_tokens": answer.usage.total_tokens,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
