"""Compares manifests with Kubernetes' own schemas, in which no unknown member passes.

Arguments: YAML files of any number of documents. Prints `KIND NAME` of each; the first that is none ends it with exit code 1.
"""

import sys

import kubernetes_validate
import yaml

VERSION = "1.37"


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for document in yaml.safe_load_all(file):
                try:
                    kubernetes_validate.validate(document, VERSION, strict=True)
                except Exception as error:  # every way in which it is none
                    sys.exit(f"{path}: {document.get('kind')}: {error}")
                print(document["kind"], document["metadata"]["name"])


if __name__ == "__main__":
    main()
