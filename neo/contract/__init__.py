"""What the builder and the device both say: bytes <-> frozen dataclasses, no I/O."""
