"""What the engines are held to on this machine, they are held to on a device: the tests are those of tests/engines,
with devices for the fixture ``agrees``.

Odd shapes run on the processor with the fewest instructions; bfloat16 on one that has it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neo.contract.precision import BF16
from neo.targets import load_target
from tests.arm64.emulation import ARM_TARGETS, Device
from tests.engines.conftest import Check, Run, engine, make_check, make_run  # noqa: F401  a fixture
from tests.engines.test_attention import (  # noqa: F401  tests
    test_attention_of_any_shape,
    test_keys_that_are_masked_out_have_no_say,
)
from tests.engines.test_bfloat16 import (  # noqa: F401  tests
    test_convolutions_multiply_bfloat16_exactly,
    test_depthwise_convolutions_read_bfloat16,
    test_images_and_odd_numbers_of_channels,
    test_products_multiply_bfloat16_exactly,
    test_values_between_operators_are_rounded_once,
)
from tests.engines.test_convolutions import (  # noqa: F401  tests
    test_convolutions_of_any_shape,
    test_depthwise_convolutions_of_any_shape,
    test_the_first_layer_of_a_network_for_images,
    test_transposed_convolutions_of_any_shape,
    test_winograd_convolutions_of_any_shape,
)
from tests.engines.test_engines import (  # noqa: F401  tests
    test_a_classifier_answers_as_the_unoptimised_graph,
    test_a_residual_block_with_strides_and_groups,
    test_a_transformer_block,
    test_one_tensor_can_be_input_weight_and_output,
    test_operators_of_any_number_of_inputs,
    test_the_number_of_threads_does_not_change_the_answer,
)
from tests.engines.test_lowering_functions import (  # noqa: F401  tests
    test_a_vectorised_function_is_as_good_as_float32,
    test_an_index_out_of_bounds_reads_no_foreign_memory,
    test_the_extreme_of_infinities_is_infinite,
)
from tests.engines.test_recurrent import (  # noqa: F401  tests
    test_a_recurrent_cell_answers_as_onnx_runtime,
    test_recurrent_cells_of_any_shape,
    test_threads_share_the_rows_of_a_batch_and_the_directions,
    test_threads_share_the_units_of_a_long_step,
    test_two_layers_feed_each_other,
)
from tests.engines.test_schedules import (  # noqa: F401  tests
    test_concatenations_of_any_shape,
    test_matmuls_of_any_shape,
    test_poolings_of_any_shape,
    test_rows_of_any_shape,
)
from tests.engines.test_shifts import (  # noqa: F401  a test
    test_amounts_outside_of_the_number_leave_what_the_sign_fills_in,
)
from tests.engines.test_transpose import test_an_engine_transposes  # noqa: F401  a test

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PLAIN = "aarch64"
(WITH_BFLOAT16,) = [name for name in ARM_TARGETS if BF16.runs_on(load_target(name).cpu)]


@pytest.fixture
def agrees(device_of: Callable[[str], Device], tmp_path: Path, request: pytest.FixtureRequest) -> Check:
    """Build an engine for an ARM target, run it on a device, and hold its answer against ONNX Runtime here."""
    parameters = getattr(request.node, "callspec", None)
    is_bf16 = parameters is not None and parameters.params.get("precision") == BF16
    target = WITH_BFLOAT16 if is_bf16 or "bfloat16" in request.function.__module__ else PLAIN
    return make_check(tmp_path, target, device_of(target).open_engine)


@pytest.fixture
def run_tvm(device_of: Callable[[str], Device], tmp_path: Path) -> Run:
    """The answer of a device's tvm engine to one input."""
    return make_run(tmp_path, PLAIN, device_of(PLAIN).open_engine)
