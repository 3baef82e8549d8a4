#!/usr/bin/env python3
"""Answers of a form and calls of tools by OpenAI's client: what it parses of them, as JSON on standard output."""

import argparse
import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel


class Report(BaseModel):
    """What an answer is to be."""

    mood: Literal["calm", "alarm"]
    sure: bool


class Weather(BaseModel):
    """A tool."""

    city: Literal["Oslo", "Bergen"]
    days: int


def main():
    arguments = argparse.ArgumentParser(description="Answers of a form by OpenAI's client.")
    arguments.add_argument("base_url", metavar="BASE_URL", help="ends in /v1")
    arguments.add_argument("api_key", metavar="API_KEY")
    arguments.add_argument("model", metavar="MODEL")
    given = arguments.parse_args()

    client = openai.OpenAI(base_url=given.base_url, api_key=given.api_key, max_retries=0, timeout=300)
    asked = {"model": given.model, "messages": [{"role": "user", "content": "?"}], "temperature": 0}
    tools = [openai.pydantic_function_tool(Weather)]
    try:
        report = client.chat.completions.parse(**asked, response_format=Report).choices[0].message.parsed
        with client.chat.completions.stream(**asked, tools=tools, tool_choice="required") as stream:
            streamed = stream.get_final_completion().choices[0]
        named = {"type": "function", "function": {"name": "Weather"}}
        demanded = client.chat.completions.parse(**asked, tools=tools, tool_choice=named).choices[0]
    except openai.APIConnectionError as error:
        print(f"openai: {error}: {error.__cause__}", file=sys.stderr)
        return 3
    call, forced = streamed.message.tool_calls[0], demanded.message.tool_calls[0]
    done = {
        "report": report.model_dump(),
        "finish": streamed.finish_reason,
        "said": streamed.message.content,
        "called": call.function.parsed_arguments.model_dump(),
        "demanded": forced.function.parsed_arguments.model_dump(),
    }
    print(json.dumps(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
