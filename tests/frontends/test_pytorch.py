from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from neo.errors import InputSpecError, ModelError, ParityError, UnsupportedModel, UntrustedModel, UsageError
from neo.frontends.pt2_archive import refuse_code
from tests.frontends.conftest import Convert

IMAGE = "image=float32[1,3,8,8]"
# whichever test comes first waits for all models to be made
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize(("name", "flags"), [("classifier.pt2", ()), ("traced.pt", ()), ("scripted.pt", (IMAGE,))])
def test_every_kind_of_program_answers_as_before(
    torch_models: Path, through_sandbox: Convert, name: str, flags: tuple[str, ...]
) -> None:
    converted = through_sandbox(torch_models / name, *flags)
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [IMAGE, "output=float32[1,5]"]
    assert converted.framework.startswith("pytorch ")
    assert converted.reference == converted.framework
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    for sample in converted.samples:
        assert sample.outputs["output"].sum() == pytest.approx(1.0, abs=1e-5)
    assert not np.array_equal(converted.samples[0].inputs["image"], converted.samples[1].inputs["image"])


@pytest.mark.parametrize(
    ("flags", "dims", "input_", "output"),
    [
        ((), {}, IMAGE, "output=float32[1,5]"),
        ((), {"N": 4}, "image=float32[4,3,8,8]", "output=float32[4,5]"),
        (("image=float32[B,3,8,8]",), {}, "image=float32[B,3,8,8]", "output=float32[B,5]"),
    ],
)
def test_a_dynamic_batch_is_one_or_what_the_user_says(
    torch_models: Path, through_sandbox: Convert, flags: tuple[str, ...], dims: dict[str, int], input_: str, output: str
) -> None:
    converted = through_sandbox(torch_models / "dynamic.pt2", *flags, dims=dims)
    assert [str(converted.inputs[0]), str(converted.outputs[0])] == [input_, output]
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


def test_a_size_that_the_program_was_not_exported_for_is_refused(torch_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(InputSpecError, match="'N' of input 'image' is 17; the program was exported for 1 to 16"):
        through_sandbox(torch_models / "dynamic.pt2", dims={"N": 17})


def test_nested_outputs_and_constants_leave_only_tensors_with_names(
    torch_models: Path, through_sandbox: Convert
) -> None:
    converted = through_sandbox(torch_models / "tokens.pt2")
    assert [str(spec) for spec in converted.inputs] == ["tokens=int64[2,5]", "mask=bool[2,5]"]
    assert [str(spec) for spec in converted.outputs] == ["linear=float32[2,16]", "tokens_0=int64[2]"]
    for sample in converted.samples:
        np.testing.assert_array_equal(sample.outputs["linear"].argmax(1), sample.outputs["tokens_0"])


def test_a_traced_program_takes_another_size_than_the_recorded_one(
    torch_models: Path, through_sandbox: Convert
) -> None:
    converted = through_sandbox(torch_models / "traced.pt", "image=float32[2,3,16,12]")
    assert str(converted.inputs[0]) == "image=float32[2,3,16,12]"


def test_torchscript_without_input_gets_the_flag_with_the_arguments_name(
    torch_models: Path, through_sandbox: Convert
) -> None:
    with pytest.raises(InputSpecError, match="missing: image") as caught:
        through_sandbox(torch_models / "scripted.pt")
    assert "--input image=float32[1,3,224,224]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "flag", "says"),
    [
        ("classifier.pt2", "image=float32[1,3,9,8]", "does not fit the model"),
        ("classifier.pt2", "picture=float32[1,3,8,8]", "'picture', which is no input"),
        ("traced.pt", "image=float32[1,4,8,8]", "does not work for the input image=float32[1,4,8,8]"),
        ("traced.pt", "image=int64[1,3,8,8]", "does not work for the input image=int64[1,3,8,8]"),
    ],
)
def test_a_wrong_input_is_an_inputspecerror(
    torch_models: Path, through_sandbox: Convert, name: str, flag: str, says: str
) -> None:
    with pytest.raises(InputSpecError) as caught:
        through_sandbox(torch_models / name, flag)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bessel.pt2", "prims.bessel_j0 has no ONNX equivalent (node 'bessel_j0')"),
        ("custom.pt2", "PyTorch itself does not have: mylib.sine.default"),
    ],
)
def test_an_operator_without_equivalent_is_named(
    torch_models: Path, through_sandbox: Convert, name: str, says: str
) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        through_sandbox(torch_models / name)
    assert says in caught.value.message


def test_a_model_that_draws_random_numbers_fails_parity(torch_models: Path, through_sandbox: Convert) -> None:
    with pytest.raises(ParityError, match="output 'output' of the converted model differs by"):
        through_sandbox(torch_models / "noise.pt2")


@pytest.mark.parametrize("name", ["state_dict.pt", "old_state_dict.pt", "checkpoint.pt"])
def test_weights_alone_are_called_a_state_dict(torch_models: Path, through_sandbox: Convert, name: str) -> None:
    with pytest.raises(ModelError, match="is a state_dict: weights without the program") as caught:
        through_sandbox(torch_models / name)
    assert type(caught.value) is ModelError


@pytest.mark.parametrize("name", ["module.pt", "knows.pt", "knows.pkl"])
def test_pickled_objects_are_refused_unread(torch_models: Path, through_sandbox: Convert, name: str) -> None:
    with pytest.raises(UntrustedModel, match="would run code from the file"):
        through_sandbox(torch_models / name)
    assert not (torch_models / "pwned").exists()


def replace_member(source: Path, target: Path, ending: str, content: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            new.writestr(member, content if member.filename.endswith(ending) else old.read(member))
    return target


def test_a_pickle_smuggled_into_a_program_is_not_unpickled(
    torch_models: Path, tmp_path: Path, through_sandbox: Convert
) -> None:
    payload = (torch_models / "knows.pt").read_bytes()
    program = replace_member(torch_models / "classifier.pt2", tmp_path / "m.pt2", "sample_inputs/model.pt", payload)
    with pytest.raises(UntrustedModel, match="pickled Python objects"):
        through_sandbox(program)
    assert not (torch_models / "pwned").exists()


def test_a_size_that_is_python_is_not_evaluated(torch_models: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    source = torch_models / "dynamic.pt2"
    with zipfile.ZipFile(source) as archive:
        name = next(name for name in archive.namelist() if name.endswith("models/model.json"))
        text = archive.read(name).decode()
    mark = tmp_path / "pwned"
    expression = json.dumps(f"open('{mark}', 'w')")
    start = text.index('"expr_str": ') + len('"expr_str": ')
    _old, end = json.JSONDecoder().raw_decode(text[start:])
    evil = text[:start] + expression + text[start + end :]
    program = replace_member(source, tmp_path / "m.pt2", "models/model.json", evil.encode())
    with pytest.raises(UntrustedModel, match="more than arithmetic"):
        through_sandbox(program)
    assert not mark.exists()


@pytest.mark.parametrize(
    "expression", ["a.b", "open('x')", "(open)('x')", "f('a')('b')", "__import__('os')", "x['a']", "lambda: 1"]
)
def test_only_arithmetic_passes_for_a_size(expression: str) -> None:
    refuse_code(Path("m.pt2"), [{"expr_str": "Max(1, 2*Symbol('s0', integer=True)) // 3 + 0.5"}])
    with pytest.raises(UntrustedModel):
        refuse_code(Path("m.pt2"), [{"expr_str": expression}])


@pytest.mark.parametrize(("name", "flags"), [("classifier.pt2", ()), ("traced.pt", (IMAGE,))])
def test_one_flipped_bit_is_noticed(
    torch_models: Path, tmp_path: Path, through_sandbox: Convert, name: str, flags: tuple[str, ...]
) -> None:
    with zipfile.ZipFile(torch_models / name) as archive:
        member = max((info for info in archive.infolist() if not info.compress_type), key=lambda info: info.file_size)
    content = bytearray((torch_models / name).read_bytes())
    # the fixed part of a member's header has 30 bytes, its name and PyTorch's padding follow
    place = (
        member.header_offset
        + 30
        + len(member.filename)
        + int.from_bytes(content[member.header_offset + 28 : member.header_offset + 30], "little")
    )
    content[place] ^= 1
    (tmp_path / name).write_bytes(bytes(content))
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        through_sandbox(tmp_path / name, *flags)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_attention_with_a_learnt_bias_answers_as_before(tmp_path: Path, through_sandbox: Convert) -> None:
    torch = pytest.importorskip("torch")

    class Windows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias, self.project = torch.nn.Parameter(torch.randn(25, 3)), torch.nn.Linear(12, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            bias = self.bias.view(5, 5, 3).permute(2, 0, 1).contiguous().unsqueeze(0)
            heads = self.project(x).view(2, 5, 3, 4).transpose(1, 2)
            found = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=bias)
            return found.transpose(1, 2).contiguous().view(2, 5, 12)

    with torch.no_grad():
        torch.export.save(torch.export.export(Windows().eval(), (torch.zeros(2, 5, 12),)), tmp_path / "windows.pt2")
    converted = through_sandbox(tmp_path / "windows.pt2")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
class TestExportProgram:
    def test_a_module_becomes_a_program_and_keeps_its_mode(self, tmp_path: Path, through_sandbox: Convert) -> None:
        torch = pytest.importorskip("torch")
        from neo.frontends.torch_module import export_program

        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
        for number, example in enumerate([torch.ones(1, 3), (torch.ones(1, 3),), {"input": torch.ones(1, 3)}]):
            path = tmp_path / f"{number}.pt2"
            export_program(module, example, path)
            assert module.training
        converted = through_sandbox(path)
        assert str(converted.inputs[0]) == "input=float32[1,3]"
        sample = converted.samples[0]
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(sample.inputs["input"]))
        np.testing.assert_allclose(sample.outputs["output"], expected.numpy(), rtol=1e-5)

    def test_a_choice_by_value_is_refused_with_its_line(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from neo.frontends.torch_module import export_program

        class Chooses(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x + 1 if x.sum() > 0 else x - 1

        with pytest.raises(UnsupportedModel, match=r"cannot follow Chooses\.forward \(.*test_pytorch\.py, line \d+\)"):
            export_program(Chooses(), torch.ones(3), tmp_path / "m.pt2")
        assert not (tmp_path / "m.pt2").exists()

    def test_other_example_inputs_are_a_usage_error(self, tmp_path: Path) -> None:
        torch = pytest.importorskip("torch")
        from neo.frontends.torch_module import export_program

        with pytest.raises(UsageError, match="example_inputs is a int"):
            export_program(torch.nn.ReLU(), 3, tmp_path / "m.pt2")
