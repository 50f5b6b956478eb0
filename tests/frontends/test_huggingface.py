"""Folders of transformers, with small random models: the classes that config.json names, their inputs and outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neo.errors import InputSpecError, ModelError, UnsupportedModel, UntrustedModel
from tests.frontends.conftest import Convert

pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MAKE = """
import sys
import torch
import transformers as t
from transformers.models.whisper.modeling_whisper import WhisperEncoder

torch.manual_seed(0)
small = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
distil = dict(dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64)
gpt2 = dict(n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)
t5 = dict(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
swin = dict(image_size=32, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 2], window_size=4)
convnext = dict(image_size=32, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)
whisper = dict(d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, num_mel_bins=16,
    max_source_positions=50, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, vocab_size=100,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
backbone = t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"])
detr = dict(use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=backbone, d_model=32,
    encoder_layers=1, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
    decoder_ffn_dim=64, num_queries=6)
models = {
    "bert": lambda: t.BertForSequenceClassification(t.BertConfig(vocab_size=100, max_position_embeddings=64, **small)),
    "distilbert": lambda: t.DistilBertModel(t.DistilBertConfig(vocab_size=100, **distil)),
    "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=100, **gpt2)),
    "vit": lambda: t.ViTForImageClassification(t.ViTConfig(image_size=32, patch_size=8, **small)),
    "swin": lambda: t.SwinForImageClassification(t.SwinConfig(**swin)),
    "convnext": lambda: t.ConvNextForImageClassification(t.ConvNextConfig(**convnext)),
    "whisper-encoder": lambda: WhisperEncoder(t.WhisperConfig(**whisper)),
    "detr": lambda: t.DetrForObjectDetection(t.DetrConfig(**detr)),
    "yolos": lambda: t.YolosForObjectDetection(
        t.YolosConfig(image_size=[32, 32], patch_size=8, num_detection_tokens=5, **small)
    ),
    "t5-encoder": lambda: t.T5EncoderModel(t.T5Config(**t5)),
    "t5": lambda: t.T5ForConditionalGeneration(t.T5Config(**t5)),
}
for name in models:
    model = models[name]().eval()
    model.save_pretrained(f"{sys.argv[1]}/{name}")
"""
TOKENS = "input_ids=int64[1,sequence] attention_mask=int64[1,sequence]"
BOXES = "logits=float32[1,6,3] pred_boxes=float32[1,6,4]"
PIXELS = "pixel_values=float32[1,3,32,32]"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MAKE, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize(
    ("name", "dims", "inputs", "outputs"),
    [
        ("bert", {}, f"{TOKENS} token_type_ids=int64[1,sequence]", "logits=float32[1,2]"),
        ("distilbert", {}, TOKENS, "last_hidden_state=float32[1,sequence,32]"),
        ("gpt2", {"sequence": 12}, TOKENS.replace("sequence", "12"), "logits=float32[1,12,100]"),
        ("vit", {"N": 2}, PIXELS.replace("[1", "[2"), "logits=float32[2,2]"),
        ("swin", {}, PIXELS, "logits=float32[1,2]"),
        ("convnext", {}, PIXELS, "logits=float32[1,2]"),
        ("whisper-encoder", {}, "input_features=float32[1,16,100]", "last_hidden_state=float32[1,50,32]"),
        (
            "detr",
            {"height": 48, "width": 64},
            "pixel_values=float32[1,3,48,64]",
            f"{BOXES} last_hidden_state=float32[1,6,32] encoder_last_hidden_state=float32[1,48,32]",
        ),
        (
            "yolos",
            {},
            PIXELS,
            "logits=float32[1,5,3] pred_boxes=float32[1,5,4] last_hidden_state=float32[1,22,32]",
        ),
        ("t5-encoder", {}, TOKENS, "last_hidden_state=float32[1,sequence,32]"),
        (
            "t5",
            {"sequence": 8, "decoder_sequence": 4},
            f"{TOKENS} decoder_input_ids=int64[1,4]".replace("sequence", "8"),
            "logits=float32[1,4,100] encoder_last_hidden_state=float32[1,8,32]",
        ),
    ],
)
def test_a_folder_answers_as_transformers_does(
    folders: Path, through_sandbox: Convert, name: str, dims: dict[str, int], inputs: str, outputs: str
) -> None:
    converted = through_sandbox(folders / name, dims=dims)
    assert " ".join(map(str, converted.inputs)) == inputs
    assert " ".join(map(str, converted.outputs)) == outputs
    assert converted.reference.startswith("transformers ")
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    architecture = json.loads((folders / name / "config.json").read_text())["architectures"][0]
    assert converted.notes[0] == f"the folder holds a {architecture}"
    masks = [sample.inputs["attention_mask"] for sample in converted.samples if "attention_mask" in sample.inputs]
    assert all(mask[:, 0].all() and mask.max() == 1 for mask in masks)


def test_one_described_input_sizes_the_others(folders: Path, through_sandbox: Convert) -> None:
    converted = through_sandbox(folders / "bert", "input_ids=int64[2,9]")
    assert {spec.shape for spec in converted.inputs} == {(2, 9)}
    assert not np.array_equal(converted.samples[0].inputs["input_ids"], converted.samples[1].inputs["input_ids"])


@pytest.mark.parametrize(
    ("name", "flags", "dims", "says"),
    [
        ("detr", (), {}, "dimensions without a size: height, width"),
        ("bert", ("input_ids=int64[1,65]",), {}, "does not work for the input"),
        ("bert", ("tokens=int64[1,8]",), {}, "which BertForSequenceClassification does not take"),
        ("vit", (), {"sequence": 3}, "'sequence', which is no dimension"),
    ],
)
def test_a_wrong_input_is_an_inputspecerror(
    folders: Path, through_sandbox: Convert, name: str, flags: tuple[str, ...], dims: dict[str, int], says: str
) -> None:
    with pytest.raises(InputSpecError) as caught:
        through_sandbox(folders / name, *flags, dims=dims)
    assert says in caught.value.message
    assert caught.value.hint


def changed(folder: Path, target: Path, **settings: object) -> Path:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | settings))
    return target


def test_weights_that_transformers_would_make_up_are_refused(
    folders: Path, tmp_path: Path, through_sandbox: Convert
) -> None:
    folder = changed(folders / "distilbert", tmp_path / "d", architectures=["DistilBertForMaskedLM"])
    with pytest.raises(ModelError, match=r"lacks .* of the weights of DistilBertForMaskedLM: vocab_"):
        through_sandbox(folder)


def test_code_in_the_folder_is_not_run(folders: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    folder = changed(
        folders / "bert", tmp_path / "b", model_type="ours", auto_map={"AutoConfig": "ours.C", "AutoModel": "ours.M"}
    )
    (folder / "ours.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    with pytest.raises(UntrustedModel, match="defined by code in the folder"):
        through_sandbox(folder)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"model_type": "nobodys"}, "does not know the model"), ({"architectures": ["BertForFlying"]}, "BertForFlying")],
)
def test_an_unknown_model_is_unsupported(
    folders: Path, tmp_path: Path, through_sandbox: Convert, settings: dict[str, object], says: str
) -> None:
    with pytest.raises(UnsupportedModel, match=says):
        through_sandbox(changed(folders / "bert", tmp_path / "b", **settings))


def test_a_cut_folder_is_a_modelerror(folders: Path, tmp_path: Path, through_sandbox: Convert) -> None:
    folder = changed(folders / "bert", tmp_path / "b")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot load BertForSequenceClassification"):
        through_sandbox(folder)
