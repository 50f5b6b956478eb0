"""Hypothesis strategies for everything that the contract can say."""

from __future__ import annotations

import string

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from neo.contract.device import Accelerator, AcceleratorNeed, Capabilities, Gpu, Processor, Requirements, Target
from neo.contract.labels import BY_POSITION, BY_VALUE, OutputLabels
from neo.contract.manifest import MAX_CHUNK_BYTES, Alternative, ChunkTable, Manifest
from neo.contract.messages import (
    PHASES,
    Assignment,
    Chunk,
    DesiredModel,
    DesiredState,
    DeviceState,
    DocumentId,
    Live,
    LiveModel,
    Missing,
    MissingChunks,
    NumberedChunk,
    Presence,
    Refusal,
    Report,
    RollCall,
    Want,
)
from neo.contract.oci import MANIFEST_TYPE, Descriptor, ImageIndex, ImageManifest
from neo.contract.parity import Tolerance
from neo.contract.tensors import DTYPES, NUMBERS, TensorSpec

_letters = string.ascii_letters + string.digits
# text that UTF-8 can carry: no lone surrogates
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.builds(str.__add__, st.sampled_from(_letters), st.text(_letters + "._-", max_size=63))
hex64 = st.binary(min_size=32, max_size=32).map(bytes.hex)
digests = hex64.map("sha256:".__add__)
sizes = st.integers(0, (1 << 63) - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
versions = st.lists(st.integers(0, 99), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
json_objects = st.dictionaries(texts, json_values, max_size=5)

dims = st.integers(0, 1 << 40) | st.sampled_from(["N", "batch", "seq_len", "N + 1"])
tensor_specs = st.builds(
    TensorSpec,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.sampled_from(sorted(DTYPES)),
    st.lists(dims, max_size=5).map(tuple),
)
tolerances = st.builds(Tolerance, numbers.map(abs), numbers.map(abs))

descriptors = st.builds(Descriptor, texts, digests, sizes, st.dictionaries(texts, texts, max_size=3), texts)
image_manifests = st.builds(
    ImageManifest,
    texts,
    descriptors,
    st.lists(descriptors, max_size=4).map(tuple),
    st.none() | descriptors,
    st.dictionaries(texts, texts, max_size=3),
)
image_indexes = st.builds(
    ImageIndex, st.lists(descriptors, max_size=4).map(tuple), texts, st.dictionaries(texts, texts, max_size=3)
)

capabilities_of_compute = st.builds("{}.{}".format, st.integers(3, 12), st.integers(0, 9))
code = {
    "kind": names,
    "archs": st.lists(capabilities_of_compute, max_size=3).map(tuple),
    "ptx": st.just("") | capabilities_of_compute,
    "driver": st.just("") | versions,
}
accelerator_needs = st.builds(AcceleratorNeed, **code, memory_bytes=sizes)
accelerators = st.builds(Accelerator, **code, memory_mib=sizes)
gpus = st.builds(Gpu, names, texts, capabilities_of_compute, versions, sizes)
requirements = st.builds(
    Requirements,
    texts,
    texts,
    st.lists(texts, max_size=4).map(tuple),
    versions,
    st.dictionaries(names, versions.map(">=".__add__), max_size=2),
    st.lists(accelerator_needs, max_size=2).map(tuple),
)
labels = st.builds(
    OutputLabels, texts, st.sampled_from([BY_VALUE, BY_POSITION]), st.lists(texts, max_size=4).map(tuple)
)
wanted_versions = st.just("") | versions | versions.map(">=".__add__)
alternatives = st.builds(Alternative, names, wanted_versions, texts, requirements, names)
chunk_tables = st.builds(ChunkTable, digests, digests, st.integers(1, MAX_CHUNK_BYTES))
manifests = st.builds(
    Manifest,
    names,
    names,
    names,
    requirements,
    names,
    wanted_versions,
    texts,
    texts,
    st.lists(tensor_specs, max_size=3).map(tuple),
    st.lists(tensor_specs, max_size=3).map(tuple),
    tolerances,
    st.lists(labels, max_size=2).map(tuple),
    st.dictionaries(texts, texts, max_size=2),
    st.lists(alternatives, max_size=2).map(tuple),
    st.lists(chunk_tables, max_size=2).map(tuple),
)
processors = st.builds(
    Processor,
    arch=texts,
    mcpu=texts,
    features=st.lists(texts, max_size=3).map(tuple),
    attrs=st.lists(texts, max_size=3).map(tuple),
    vector_bits=st.integers(1, 2048),
    vector_registers=st.integers(1, 64),
    cores=st.integers(1, 512),
    l1d_kib=sizes,
    l2_kib=sizes,
    l3_kib=sizes,
)
targets = st.builds(
    Target,
    name=names,
    description=texts,
    cpu=processors,
    glibc=versions,
    engines=st.none() | st.lists(texts, max_size=3).map(tuple),
    accelerators=st.lists(accelerators, max_size=2).map(tuple),
)
capabilities = st.builds(
    Capabilities,
    names,
    texts,
    texts,
    texts,
    texts,
    st.lists(texts, max_size=4).map(tuple),
    sizes,
    sizes,
    sizes,
    st.dictionaries(texts, texts, max_size=3),
    st.lists(gpus, max_size=2).map(tuple),
)

assignments = st.builds(
    Assignment,
    names,
    texts,
    st.builds(Descriptor, st.just(MANIFEST_TYPE), digests, sizes),
    descriptors,
    names,
    numbers,
)
device_states = st.builds(
    DeviceState,
    names,
    st.sampled_from(PHASES),
    texts,
    st.none() | st.builds(Live, digests, texts, texts, numbers),
    sizes,
    sizes,
    st.none() | json_objects,
    texts,
    numbers,
)
nonces = st.from_regex(r"[0-9a-f]{16}", fullmatch=True)
runs = st.lists(st.tuples(st.integers(0, 1 << 39), st.integers(1, 1 << 40)), max_size=4).map(tuple)
missing_chunks = st.builds(MissingChunks, digests, runs)
numbers = st.integers(0, (1 << 63) - 1)
numbered_chunks = st.one_of(
    st.builds(NumberedChunk, digests, numbers, numbers, st.binary(min_size=1, max_size=200)),
    st.builds(NumberedChunk, digests, numbers, numbers, st.just(b""), asks=st.just(value=True)),
    st.builds(NumberedChunk, digests, numbers, numbers, st.just(b""), absent=nonces),
)
chunks = st.builds(Chunk, digests, sizes, st.binary(max_size=200)) | st.builds(
    Chunk, digests, sizes, st.just(b""), st.just(value=True)
)

# class -> what it can be; every one has from_bytes and to_bytes
lines = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=40)
desired_models = st.builds(
    DesiredModel, lines, descriptors, st.none() | descriptors, st.none() | descriptors, names, json_objects
)
desired_states = st.builds(
    DesiredState,
    names,
    names,
    st.integers(1, (1 << 63) - 1),
    numbers,
    numbers,
    st.dictionaries(names, desired_models, max_size=3),
    st.lists(names, max_size=3).map(tuple),
    lines,
)
reports = st.builds(
    Report,
    fleet=names,
    device=names,
    session=names,
    sequence=sizes,
    phase=st.sampled_from(PHASES),
    document=st.none() | st.builds(DocumentId, sizes, digests),
    live=st.dictionaries(names, st.builds(LiveModel, digests, lines, lines, numbers), max_size=3),
    done_bytes=sizes,
    total_bytes=sizes,
    stalled=st.booleans(),
    error=st.none() | json_objects,
    retry_at=st.none() | numbers,
    refusal=st.none() | st.builds(Refusal, digests, json_objects),
    refused=sizes,
    notes=st.lists(lines, max_size=3).map(tuple),
    url=lines,
    at=numbers,
    assignment=lines,
)
DOCUMENTS: dict[type, st.SearchStrategy] = {
    Manifest: manifests,
    Capabilities: capabilities,
    ImageManifest: image_manifests,
    ImageIndex: image_indexes,
    Presence: st.builds(Presence, st.booleans(), names, numbers),
    RollCall: st.builds(RollCall, names, st.booleans()),
    Assignment: assignments,
    DeviceState: device_states,
    Missing: st.builds(
        Missing,
        names,
        nonces,
        sizes,
        st.lists(missing_chunks, max_size=3).map(tuple),
    ),
    NumberedChunk: numbered_chunks,
    Want: st.builds(Want, names, digests, sizes, st.integers(1, 64 << 20)),
    Chunk: chunks,
    DesiredState: desired_states,
    Report: reports,
}

_array_shapes = st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
number_arrays = st.sampled_from(sorted(NUMBERS)).flatmap(lambda dtype: st_numpy.arrays(np.dtype(dtype), _array_shapes))
string_arrays = st_numpy.arrays(np.dtype(object), _array_shapes, elements=texts)
arrays = number_arrays | string_arrays
