"""The demo's processes: one that ends by itself is named."""

from __future__ import annotations

import pytest

from neo.demo.processes import naming_who_ended, start
from neo.errors import DeviceError, WaitTimeout


def test_a_process_that_ended_is_named_in_place_of_what_followed_from_it(tmp_path):
    agent = start("agent", ["no_such_module_of_ours"], tmp_path)
    agent.process.wait(20)
    with (
        pytest.raises(DeviceError, match=r"the agent ended with exit code 1: .*no_such_module_of_ours") as caught,
        naming_who_ended([agent]),
    ):
        raise WaitTimeout("device demo has not finished")
    assert isinstance(caught.value.__cause__, WaitTimeout)


def test_while_all_run_an_error_stays_what_it_is(tmp_path):
    running = start("broker", ["http.server", "--bind", "127.0.0.1", "0"], tmp_path)
    try:
        with pytest.raises(WaitTimeout), naming_who_ended([running]):
            raise WaitTimeout("device demo has not finished")
    finally:
        running.stop()
