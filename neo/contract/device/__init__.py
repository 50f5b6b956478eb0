"""Target: what a bundle is built for. Capabilities: what a device is. ``mismatches`` holds one against the other."""

from neo.contract.device.accelerators import Accelerator, AcceleratorNeed, Gpu
from neo.contract.device.capabilities import Capabilities
from neo.contract.device.requirements import Requirements, mismatches, processor_mismatches
from neo.contract.device.target import Processor, Target
from neo.contract.names import is_name, parse_name, parse_version, parse_wanted_version

__all__ = [
    "Accelerator",
    "AcceleratorNeed",
    "Capabilities",
    "Gpu",
    "Processor",
    "Requirements",
    "Target",
    "is_name",
    "mismatches",
    "parse_name",
    "parse_version",
    "parse_wanted_version",
    "processor_mismatches",
]
