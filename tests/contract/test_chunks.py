"""The grid that every blob is cut on, and the table of its chunks."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo.contract.chunks import CHUNK_BYTES, chunk_count, chunk_span, is_chunk, read_table, write_table
from neo.contract.fields import ContractError
from neo.contract.messages import MAX_PAYLOAD_BYTES


def test_a_chunk_fits_the_payload_limit_with_room_for_headers_and_topic() -> None:
    assert CHUNK_BYTES + 1024 < MAX_PAYLOAD_BYTES


@given(st.integers(0, 1 << 40))
def test_chunks_cover_a_blob_once(size: int) -> None:
    count = chunk_count(size)
    assert (count == 0) == (size == 0)
    if count:
        assert chunk_span(0, size)[0] == 0
        offset, length = chunk_span(count - 1, size)
        assert offset + length == size
        assert 0 < length <= CHUNK_BYTES
        assert chunk_span(count // 2, size)[0] == count // 2 * CHUNK_BYTES


@given(st.integers(0, 3 * CHUNK_BYTES), st.integers(0, 255))
def test_a_table_knows_its_chunks_and_no_others(size: int, byte: int) -> None:
    data = bytes([byte]) * size
    digests = read_table(write_table(io.BytesIO(data)), size)
    for index, digest in enumerate(digests):
        offset, length = chunk_span(index, size)
        chunk = data[offset : offset + length]
        assert digest == hashlib.sha256(chunk).digest()
        assert is_chunk(chunk, index, digests)
        assert not is_chunk(chunk[:-1] + bytes([byte ^ 1]), index, digests)


@given(st.binary(max_size=100), st.integers(0, 1 << 40))
def test_a_table_of_another_length_is_refused(table: bytes, size: int) -> None:
    if len(table) != 32 * chunk_count(size):
        with pytest.raises(ContractError, match="chunk table"):
            read_table(table, size)
