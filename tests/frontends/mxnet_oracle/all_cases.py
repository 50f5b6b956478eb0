"""Every file of cases, read into one table."""

import deformable_cases
import detection_cases
import indexing_cases
import layer_cases
import matrix_cases
import numpy_cases
import recurrent_cases
import tensor_cases
from case_table import CASES

__all__ = ["CASES"]

for cases in (
    layer_cases,
    tensor_cases,
    indexing_cases,
    recurrent_cases,
    detection_cases,
    deformable_cases,
    matrix_cases,
    numpy_cases,
):
    for add in cases.GROUPS:
        add()
