#!/usr/bin/env python3
"""Asks an OpenAI-compatible endpoint for text with OpenAI's own client, in each of its ways.

Prints {"chat": {...}, "streamed": {...}, "asynchronous": [str, ...], "seeded": [str, str], "after_cancel": str, "completion": {...},
"refused": int}: the same chat whole, in pieces and four times at once; twice with one seed; again after a stream was left after its
first pieces; a completion; and the status of a request that asks for what is not served. Exit codes: 0 done, 3 no connection.
"""

import argparse
import asyncio
import json
import sys

import openai


def chat(model):
    messages = [{"role": "user", "content": "Count from one to ten in words"}]
    return {"model": model, "messages": messages, "max_tokens": 24}


def whole(client, model, **more):
    answer = client.chat.completions.create(**chat(model), **more)
    return {
        "text": answer.choices[0].message.content,
        "finish": answer.choices[0].finish_reason,
        "usage": answer.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}),
        "fingerprint": answer.system_fingerprint,
    }


def streamed(client, model):
    pieces, finish, usage = [], None, None
    stream = client.chat.completions.create(
        **chat(model), temperature=0, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    return {
        "text": "".join(pieces),
        "pieces": sum(1 for piece in pieces if piece),
        "finish": finish,
        "usage": usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"}),
    }


def left_early(client, model):
    asked = {**chat(model), "max_tokens": None}
    with client.chat.completions.create(**asked, temperature=0, stream=True) as stream:
        for _ in zip(range(3), stream):
            pass


async def asynchronous(settings, model):
    async with openai.AsyncOpenAI(**settings) as client:
        asked = [client.chat.completions.create(**chat(model), temperature=0) for _ in range(4)]
        return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]


def completion(client, model):
    answer = client.completions.create(model=model, prompt="one, two, three,", max_tokens=6, temperature=0, stop=["six"])
    return {"text": answer.choices[0].text, "finish": answer.choices[0].finish_reason}


def refused(client, model):
    try:
        client.chat.completions.create(**chat(model), logprobs=True)
    except openai.BadRequestError as error:
        return error.status_code
    return 200


def main():
    arguments = argparse.ArgumentParser(description="Generated text by OpenAI's client.")
    arguments.add_argument("base_url", metavar="BASE_URL", help="ends in /v1")
    arguments.add_argument("api_key", metavar="API_KEY")
    arguments.add_argument("model", metavar="MODEL")
    given = arguments.parse_args()

    settings = {"base_url": given.base_url, "api_key": given.api_key, "max_retries": 0, "timeout": 300}
    client = openai.OpenAI(**settings)
    try:
        done = {
            "chat": whole(client, given.model, temperature=0),
            "streamed": streamed(client, given.model),
            "asynchronous": asyncio.run(asynchronous(settings, given.model)),
            "seeded": [whole(client, given.model, seed=7)["text"] for _ in range(2)],
        }
        left_early(client, given.model)
        done["after_cancel"] = whole(client, given.model, temperature=0)["text"]
        done["completion"] = completion(client, given.model)
        done["refused"] = refused(client, given.model)
    except openai.APIConnectionError as error:
        print(f"openai: {error}: {error.__cause__}", file=sys.stderr)
        return 3
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
