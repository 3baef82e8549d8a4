#!/usr/bin/env python3
"""Validates answers by their JSON schemas, with `jsonschema`.

ANSWERS.json is a list of pairs of a schema and a text. Each schema has to be one of draft 2020-12, and to refuse something: an
answer of it that is another type of JSON.
"""

import json
import sys
from pathlib import Path

from jsonschema import Draft202012Validator

OTHERS = [None, True, 1, "another answer", [[]], {"other": {}}]


def main():
    answers = json.loads(Path(sys.argv[1]).read_text())
    for schema, text in answers:
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        if all(validator.is_valid(other) for other in OTHERS):
            sys.exit(f"{schema}: refuses nothing")
        for error in validator.iter_errors(json.loads(text)):
            sys.exit(f"{schema}: {text!r}: {error.message}")
    print(f"{len(answers)} answers follow their schemas")


if __name__ == "__main__":
    main()
