#!/usr/bin/env python3
"""A unified kernel image as LIEF, which is not ours, reads it: its Authenticode digest and its sections, whose contents are written
below a folder."""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["LIEF"])
import lief  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("image", type=Path)
parser.add_argument("folder", type=Path)
arguments = parser.parse_args()

image = lief.PE.parse(str(arguments.image))
sound, why_not = lief.PE.check_layout(image)
assert sound, why_not
for section in image.sections:
    (arguments.folder / section.name).write_bytes(bytes(section.content)[: section.virtual_size])
print(
    json.dumps(
        {
            "authenticode": image.authentihash(lief.PE.ALGORITHMS.SHA_256).hex(),
            "sections": [section.name for section in image.sections],
            "sizes": [section.virtual_size for section in image.sections],
        }
    )
)
