#!/usr/bin/env python3
"""Computes SNP launch digests with `sev-snp-measure`.

Reads a list of cases from standard input: `ovmf`, `vcpus`, `vcpu_type`, `vmm`, `features`, and `kernel`, `initrd` and
`append`, of which any may be null. Prints the list of digests; of a case that was refused, null.
"""

import json
import sys

from sevsnpmeasure import guest
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vcpu_types import CPU_SIGS
from sevsnpmeasure.vmm_types import VMMType

VMM = {"qemu": VMMType.QEMU, "ec2": VMMType.ec2, "gce": VMMType.gce}


def digest(case):
    try:
        return guest.calc_launch_digest(
            SevMode.SEV_SNP,
            case["vcpus"],
            CPU_SIGS[case["vcpu_type"]],
            case["ovmf"],
            case["kernel"],
            case["initrd"],
            case["append"],
            case["features"],
            vmm_type=VMM[case["vmm"]],
        ).hex()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return None


json.dump([digest(case) for case in json.load(sys.stdin)], sys.stdout)
