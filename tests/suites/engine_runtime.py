"""What every engine's runtime must do. Inherit it; give ``bundle``: ``tests.runtime.bundles.model`` on the engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from neo.contract.manifest import ENGINE_DIR
from neo.errors import BundleError, EngineError, InputSpecError
from neo.runtime import load, load_engine
from neo.runtime.engine_folder import ENGINE_FILE
from neo.runtime.golden import self_test
from tests.runtime.bundles import INPUTS, OUTPUTS, answer, samples

X = np.arange(8, dtype=np.float32).reshape(2, 4)


class EngineRuntimeSuite:
    @pytest.fixture
    def bundle(self) -> Path:
        raise NotImplementedError

    def test_it_predicts_by_name(self, bundle: Path) -> None:
        predictor = load(bundle)
        outputs = predictor.predict({"x": X})
        assert list(outputs) == ["y", "z"]
        for name, want in answer(X).items():
            assert outputs[name].dtype == np.float32
            np.testing.assert_allclose(outputs[name], want, rtol=1e-5, atol=1e-5)
        assert (predictor.inputs, predictor.outputs) == (INPUTS, OUTPUTS)
        predictor.close()

    def test_the_path_may_be_text_and_relative(self, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(bundle.parent)
        predictor = load(bundle.name)
        predictor.predict({"x": X})
        predictor.close()

    def test_an_answer_survives_the_next_prediction(self, bundle: Path) -> None:
        predictor = load(bundle, threads=1)
        first = predictor.predict({"x": X})["y"]
        kept = first.copy()
        predictor.predict({"x": X + 100})
        np.testing.assert_array_equal(first, kept)
        predictor.close()

    def test_the_callers_array_is_left_alone(self, bundle: Path) -> None:
        predictor = load(bundle, threads=1)
        x = X.copy()
        x.setflags(write=False)
        outputs = predictor.predict({"x": x})
        outputs["y"][:] = 7  # and the answer is the caller's
        np.testing.assert_array_equal(x, X)
        predictor.close()

    def test_memory_order_does_not_matter(self, bundle: Path) -> None:
        predictor = load(bundle, threads=1)
        for x in (np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
            assert not x.flags.c_contiguous
            np.testing.assert_allclose(predictor.predict({"x": x})["y"], answer(X)["y"], rtol=1e-5, atol=1e-5)
        predictor.close()

    def test_unaligned_bytes_from_the_network_are_read(self, bundle: Path) -> None:
        predictor = load(bundle, threads=1)
        x = np.frombuffer(b"?" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(X.shape)
        np.testing.assert_allclose(predictor.predict({"x": x})["y"], answer(X)["y"], rtol=1e-5, atol=1e-5)
        predictor.close()

    def test_two_models_live_in_one_process(self, bundle: Path) -> None:
        first, second = load(bundle, threads=1), load(bundle, threads=2)
        one = first.predict({"x": X})["y"]
        first.close()
        np.testing.assert_allclose(second.predict({"x": X})["y"], one, rtol=1e-6)
        second.close()

    def test_its_golden_samples_pass(self, bundle: Path) -> None:
        predictor = load(bundle)
        parity = self_test(predictor, bundle)
        assert parity.max_rel < 1e-5
        predictor.close()

    @pytest.mark.parametrize(
        "inputs",
        [
            {},
            {"q": X},
            {"x": X, "q": X},
            {"x": X.astype(np.float64)},
            {"x": X.T},
            {"x": X[0]},
        ],
        ids=["none", "other", "more", "float64", "transposed", "rank"],
    )
    def test_what_is_not_the_models_input_is_refused(self, bundle: Path, inputs: dict[str, np.ndarray]) -> None:
        predictor = load(bundle, threads=1)
        with pytest.raises(InputSpecError):
            predictor.predict(inputs)
        predictor.predict({"x": X})
        predictor.close()

    def test_a_closed_engine_answers_no_more(self, bundle: Path) -> None:
        predictor = load(bundle, threads=1)
        predictor.close()
        predictor.close()
        with pytest.raises(EngineError):
            predictor.predict({"x": X})

    @pytest.mark.parametrize("threads", [0, -1])
    def test_it_wants_a_thread(self, bundle: Path, threads: int) -> None:
        with pytest.raises(EngineError, match="at least 1"):
            load_engine(bundle / ENGINE_DIR, threads)

    def test_without_any_one_of_its_files_it_does_not_load(self, bundle: Path, tmp_path: Path) -> None:
        files = [path.relative_to(bundle) for path in (bundle / ENGINE_DIR).rglob("*") if path.is_file()]
        assert len(files) > 1
        for file in files:
            if file.name == "libtvm_runtime.so":  # loaded once per process, and that was long ago
                continue
            copy = tmp_path / "without" / file.name
            shutil.copytree(bundle, copy)
            (copy / file).unlink()
            with pytest.raises(BundleError if file.name == ENGINE_FILE else EngineError):
                load(copy)

    def test_files_that_were_cut_short_do_not_load(self, bundle: Path, tmp_path: Path) -> None:
        for path in [*(bundle / ENGINE_DIR).glob("*.json"), *(bundle / ENGINE_DIR).rglob("*.bin")]:
            copy = tmp_path / "cut" / path.name
            shutil.copytree(bundle, copy)
            (copy / path.relative_to(bundle)).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            with pytest.raises(BundleError):
                load(copy)

    def test_golden_samples_of_another_model_fail_the_self_test(self, bundle: Path, tmp_path: Path) -> None:
        from neo.runtime.golden import write_golden

        copy = tmp_path / "other"
        shutil.copytree(bundle, copy)
        write_golden(copy, samples(seed=1))
        predictor = load(copy)
        with pytest.raises(BundleError, match="does not answer here as the source framework did") as raised:
            self_test(predictor, copy)
        assert set(raised.value.details) == {"parity", "tolerance"}
        predictor.close()
