"""The size of every dimension of the inputs: the model's, the user's, or 1 for the batch."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from neo.contract.tensors import Dim, TensorSpec, is_dim_name
from neo.errors import InputSpecError

BATCH = "N"
"""What a first dimension without a name is called, in every input: mostly it is the batch."""


def fix_inputs(
    declared: tuple[TensorSpec, ...],
    given: tuple[TensorSpec, ...],
    dims: Mapping[str, int],
    *,
    nameless: Container[str] = (),
) -> tuple[TensorSpec, ...]:
    """The model's inputs (``declared``, in its order) with sizes from --input (``given``) and --dim (``dims``).

    A named first dimension without a size is the batch and becomes 1; any other needs a size. A name in --input, as in
    x=float32[N,3,8,8], stays dynamic unless --dim gives it a size. nameless: names that were made up by us, so two
    inputs with the same one may have different sizes. Raises InputSpecError for an unknown input or dimension, a dtype
    or shape that contradicts the model, and a dimension without a size.
    """
    described = _by_name(given, declared)
    for spec in declared:
        if spec.name in described:
            _check_fits(described[spec.name], spec)
    _check_dims(dims, (*declared, *given))
    bound = _bind(declared, described, dims, nameless)
    leading = {spec.shape[0] for spec in declared if spec.shape and isinstance(spec.shape[0], str)}
    sizes = {**dict.fromkeys(sorted(map(str, leading)), 1), **bound}
    fixed = tuple(
        described[spec.name].fixed(dims) if spec.name in described else _sized(spec, sizes) for spec in declared
    )
    open_specs = [spec for spec in fixed if spec.name not in described and _open(spec, bound)]
    if open_specs:
        raise _without_size(open_specs)
    return fixed


def name_dims(
    shapes: Mapping[str, Sequence[int | str | None]], taken: Container[str] = (), *, batch: bool = True
) -> tuple[dict[str, tuple[Dim, ...]], frozenset[str]]:
    """-> (tensor -> shape with a name for every dynamic dimension, names that were made up here).

    A dimension has no name if it is None, negative, or no identifier, as "?" or "floor(h/2)": exporters write those for
    unknown sizes, and two of them may differ. Each gets a name of its own, except that with ``batch`` the first
    dimensions of all tensors share the name N. taken: names that are in use already.
    """
    stated = {dim for shape in shapes.values() for dim in shape if isinstance(dim, str) and is_dim_name(dim)}
    made_up: set[str] = set()

    def named(tensor: str, axis: int, dim: int | str | None) -> Dim:
        if (isinstance(dim, int) and dim >= 0) or dim in stated:
            return dim
        if axis == 0 and batch and BATCH not in stated and BATCH not in taken:
            name = BATCH
        else:
            name = _label(tensor, axis)
            while name in stated or name in taken or name in made_up:
                name += "_"
        made_up.add(name)
        return name

    found = {tensor: tuple(named(tensor, *place) for place in enumerate(shape)) for tensor, shape in shapes.items()}
    return found, frozenset(made_up)


def dim_name(tensor: str, axis: int) -> str:
    """Name for a dynamic dimension without one: N for the first, else as in image_2."""
    return BATCH if axis == 0 else _label(tensor, axis)


def _label(tensor: str, axis: int) -> str:
    label = "".join(char if char.isascii() and char.isalnum() else "_" for char in tensor)[:64]
    return f"{label}_{axis}" if label[0].isalpha() else f"dim_{label}_{axis}"


def _by_name(given: tuple[TensorSpec, ...], declared: tuple[TensorSpec, ...]) -> dict[str, TensorSpec]:
    names = [spec.name for spec in declared]
    described: dict[str, TensorSpec] = {}
    for spec in given:
        if spec.name not in names:
            raise InputSpecError(
                f"--input names {spec.name!r}, which is no input of the model",
                hint=f"its inputs are: {'  '.join(map(str, declared)) or 'none'}",
            )
        if spec.name in described:
            raise InputSpecError(f"--input describes {spec.name!r} twice", hint="give it once")
        described[spec.name] = spec
    return described


def _check_fits(given: TensorSpec, declared: TensorSpec) -> None:
    same_rank = len(given.shape) == len(declared.shape)
    if given.dtype == declared.dtype and same_rank and all(map(_fits, given.shape, declared.shape)):
        return
    hint = f"the model declares {declared}"
    if same_rank and len(given.shape) == 4 and all(map(_fits, _as_nhwc(given.shape), declared.shape)):
        hint += ", which has the channels last"
    raise InputSpecError(f"input {given.name!r} does not fit the model: --input says {given}", hint=hint)


def _fits(given: Dim, declared: Dim) -> bool:
    if isinstance(declared, int):
        # some exporters write 0 for "any number"
        return given == declared or (declared == 0 and isinstance(given, int) and given >= 1)
    return not isinstance(given, int) or given >= 1


def _as_nhwc(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    batch, channels, height, width = shape
    return batch, height, width, channels


def _check_dims(dims: Mapping[str, int], specs: tuple[TensorSpec, ...]) -> None:
    known = dict.fromkeys(dim for spec in specs for dim in spec.dynamic_dims)
    for name, size in dims.items():
        if name not in known:
            raise InputSpecError(
                f"--dim names {name!r}, which is no dimension of the inputs",
                hint=f"dimensions with a name: {', '.join(known) or 'none'}",
            )
        if size < 1:
            raise InputSpecError(f"--dim {name}={size}: a size is 1 or more")


def _bind(
    declared: tuple[TensorSpec, ...],
    described: Mapping[str, TensorSpec],
    dims: Mapping[str, int],
    nameless: Container[str],
) -> dict[str, Dim]:
    """Declared name -> its size. Dimensions with the same name have the same size."""
    bound: dict[str, Dim] = dict(dims)
    for spec in declared:
        if spec.name not in described:
            continue
        for name, stated in zip(spec.shape, described[spec.name].fixed(dims).shape, strict=True):
            if isinstance(name, str) and bound.setdefault(name, stated) != stated and name not in nameless:
                raise InputSpecError(
                    f"dimension {name!r} gets two sizes: {bound[name]} and {stated}",
                    hint=f"the model gives this name to several dimensions; input {spec.name!r} is {spec}",
                )
    return bound


def _sized(spec: TensorSpec, sizes: Mapping[str, Dim]) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, tuple(sizes.get(d, d) if isinstance(d, str) else d for d in spec.shape))


def _open(spec: TensorSpec, bound: Mapping[str, Dim]) -> bool:
    """Is a dimension left without a size that the user has not declared dynamic through another input?"""
    return any(dim not in bound.values() for dim in spec.dynamic_dims)


def _without_size(specs: list[TensorSpec]) -> InputSpecError:
    names = dict.fromkeys(dim for spec in specs for dim in spec.dynamic_dims)
    inputs = "  ".join(map(str, specs))
    return InputSpecError(
        f"dimensions without a size: {', '.join(names)} in {inputs}",
        hint=f"give each a size: {' '.join(f'--dim {name}=SIZE' for name in names)}, or write the whole input as in"
        f" --input {specs[0].fixed(dict.fromkeys(names, 224))}",
        details={"dims": list(names)},
    )
