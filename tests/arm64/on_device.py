"""Run by the emulated Python: ``on_device.py FD``. Opens engine folders and answers with them, as a worker on a device
does.

Requests come as frames of ``edge_agent.worker.frames`` through the inherited socket FD, and each has one answer:
"open" {"folder", "threads"} -> {"engine": its number, "takes", "gives"}; "run" {"engine"} with an array for every
input -> one for every output; "mapped" -> {"files": those that are mapped into memory}. Errors come as {"error"}.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

from edge_agent.worker.frames import Arrays, Closed, receive_frame, send_frame
from neo.errors import NeoError
from neo.runtime import load_engine
from neo.runtime.load import Engine

ENGINES: list[Engine] = []


def answer(arrays: Arrays, request: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    if request["op"] == "open":
        engine = load_engine(Path(request["folder"]), request["threads"])
        ENGINES.append(engine)
        inputs, outputs = ([spec.to_json() for spec in specs] for specs in (engine.inputs, engine.outputs))
        return {}, {"engine": len(ENGINES) - 1, "takes": inputs, "gives": outputs}
    if request["op"] == "mapped":
        maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        return {}, {"files": sorted({line.split()[-1] for line in maps})}
    engine = ENGINES[request["engine"]]
    found = engine.run([arrays[spec.name] for spec in engine.inputs])
    return {spec.name: array for spec, array in zip(engine.outputs, found, strict=True)}, {}


def main() -> None:
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        while True:
            try:
                arrays, request = receive_frame(sock, "inputs")
            except Closed:
                return
            try:
                send_frame(sock, "outputs", *answer(arrays, request))
            except NeoError as error:
                send_frame(sock, "outputs", {}, {"error": error.to_json()})


if __name__ == "__main__":
    main()
