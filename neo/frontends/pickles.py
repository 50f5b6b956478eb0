"""What a pickle would build, read from its opcodes: nothing is unpickled and nothing is imported."""

from __future__ import annotations

import io
import pickletools
import re

MAX_PICKLE_BYTES = 32 << 20

# what torch.save writes for tensors, their containers and plain numbers; none of these runs code of the file's author
_WEIGHTS_ONLY = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_\w+|torch\.nn\.parameter\.\w+|torch\.\w*Storage"
    r"|torch\.storage\.\w+|torch\.Size|torch\.device|torch\.Tensor|torch\.(b?float|u?int|complex|q?u?int)\w*|torch\.bool"
    r"|torch\.serialization\._get_layout|collections\.OrderedDict|collections\.defaultdict"
    r"|numpy\.[\w.]*(scalar|dtype|ndarray|_reconstruct)|_codecs\.encode|(builtins|__builtin__)\.(set|dict|list|int|float)"
)
_STRINGS = frozenset(["SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"])


def names_in_pickle(data: bytes, *, streams: int = 1) -> tuple[str, ...]:
    """The classes and functions, as "module.name", that ``streams`` consecutive pickles in data refer to.

    Reads as far as the opcodes make sense: a damaged or cut pickle gives what came before the damage.
    """
    names: dict[str, None] = {}
    stream = io.BytesIO(data[:MAX_PICKLE_BYTES])
    for _ in range(streams):
        # STACK_GLOBAL takes its two strings from the stack, where they came directly or from the memo
        recent: list[str] = []
        memo: dict[int, str] = {}
        try:
            for opcode, argument, _position in pickletools.genops(stream):
                if opcode.name in _STRINGS:
                    recent.append(str(argument))
                elif opcode.name == "MEMOIZE":
                    memo[len(memo)] = recent[-1] if recent else ""
                elif opcode.name in {"BINPUT", "LONG_BINPUT"} and recent:
                    memo[int(str(argument))] = recent[-1]
                elif opcode.name in {"BINGET", "LONG_BINGET"}:
                    recent.append(memo.get(int(str(argument)), ""))
                elif opcode.name in {"GLOBAL", "INST"}:
                    names[str(argument).replace(" ", ".")] = None
                elif opcode.name == "STACK_GLOBAL":
                    names[".".join(recent[-2:])] = None
        except ValueError:
            break
    return tuple(names)


def classes_beyond_weights(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are more than tensors and containers: loading them runs somebody's Python."""
    return tuple(name for name in names if not _WEIGHTS_ONLY.fullmatch(name))
