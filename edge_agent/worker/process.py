"""The worker process: loads one bundle and answers frames, so that a crash of model code kills this process only.

``python -m edge_agent.worker.process FD FOLDER THREADS``; FD is a socket inherited from the agent. The first frame goes
out when the model is loaded. The process ends when the socket does, so none outlives its agent.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from edge_agent.worker.frames import Arrays, Closed, receive_frame, send_frame
from neo.contract.fields import ContractError
from neo.errors import EngineError, NeoError
from neo.runtime import Predictor, load
from neo.runtime.golden import self_test

Request = tuple[Arrays, dict[str, Any]]


def main() -> None:
    fd, folder, threads = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    _die_before_the_agent()
    sock = socket.socket(fileno=fd)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(sock, requests), daemon=True).start()
    try:
        predictor = load(folder, threads or None)
    except NeoError as error:
        send_frame(sock, "outputs", {}, {"error": error.to_json()})
        return
    send_frame(sock, "outputs", {}, {"ready": True})
    # one request at a time, in the thread that loaded the model: engines ask for no more than that
    while True:
        _answer(sock, predictor, folder, *requests.get())


def _die_before_the_agent() -> None:
    """When memory runs out, the kernel takes the process with the highest score."""
    with contextlib.suppress(OSError):  # no such file in some containers
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def _read_requests(sock: socket.socket, requests: queue.SimpleQueue[Request]) -> None:
    try:
        while True:
            requests.put(receive_frame(sock, "inputs"))
    except (Closed, OSError, ContractError):
        # at once, also in the middle of a prediction: nobody waits for the answer any more
        os._exit(0)
    except BaseException:  # noqa: BLE001  no memory, say; without this thread the process would only look alive
        traceback.print_exc()
        os._exit(1)


def _answer(sock: socket.socket, predictor: Predictor, folder: Path, inputs: Arrays, header: dict[str, Any]) -> None:
    try:
        if header.get("op") == "self-test":
            parity = self_test(predictor, folder)
            send_frame(sock, "outputs", {}, {"parity": parity.to_json()})
        else:
            send_frame(sock, "outputs", predictor.predict(inputs), {})
    except NeoError as error:
        send_frame(sock, "outputs", {}, {"error": error.to_json()})
    except MemoryError as error:
        failure = EngineError(f"the model ran out of memory: {error}", hint="send a smaller batch")
        send_frame(sock, "outputs", {}, {"error": failure.to_json()})
    except OSError:
        raise  # the agent is gone
    except Exception as error:  # noqa: BLE001  engines raise what they like; it is this request's failure, not the process's
        failure = EngineError(f"the model failed with an unexpected {type(error).__name__}: {error}")
        send_frame(sock, "outputs", {}, {"error": failure.to_json()})


if __name__ == "__main__":
    main()
