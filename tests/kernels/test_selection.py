"""A backend asked for by name never falls back; the automatic choice says so once."""

import logging
import sys

import pytest

from jcb_engine.errors import BackendUnavailableError, InputError, JcbError
from jcb_engine.kernels import select, selection


@pytest.fixture(autouse=True)
def forget_earlier_choices() -> None:
    for chosen in (selection._cpu, selection._cuda, selection._triton, selection._reference, selection._log_fallback):
        chosen.cache_clear()


def test_an_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(InputError, match="'quantum' is unknown; there are cpu, cuda, triton, reference"):
        select("quantum")


def test_the_environment_chooses_where_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_BACKEND", "reference")
    assert select().name == "reference"
    assert select("cpu").name.startswith("cpu/")


def test_native_kernels_come_first() -> None:
    assert select().name.startswith("cpu/")


def test_without_native_kernels_the_reference_serves_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable() -> None:
        raise BackendUnavailableError("the extension is not built")

    monkeypatch.setattr(selection, "_load_extension", unavailable)
    with caplog.at_level(logging.WARNING):
        assert select().name == "reference"
        assert select().name == "reference"
    assert [record.message for record in caplog.records if "not built" in record.message] == [
        "native kernels cannot run (the extension is not built); using the reference kernels, which are far slower"
    ]


def test_an_instruction_set_that_is_not_here_is_an_error_not_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JCB_SIMD", "quantum")
    with pytest.raises(JcbError, match="quantum"):
        select()


def test_the_reference_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jcb_engine.kernels.reference", None)
    with pytest.raises(BackendUnavailableError, match="pip install torch"):
        select("reference")


def test_a_device_and_a_backend_have_to_fit() -> None:
    with pytest.raises(InputError, match="device 'tpu' is unknown; there are cpu, cuda, cuda:0"):
        select(device="tpu")
    with pytest.raises(InputError, match="'cpu' runs on the processor, not on cuda:1; there, cuda and triton do"):
        select("cpu", device="cuda:1")
    with pytest.raises(InputError, match="'triton' runs on a GPU; the device cpu has the backends cpu and reference"):
        select("triton", device="cpu")
    assert select(device="cpu").name.startswith("cpu/")


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"device": "cuda:7"}, {"name": "triton"}])
def test_a_gpu_that_is_not_here_is_an_error_not_a_fallback(
    asked: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("triton", reason="triton is not installed: pip install '.[dev]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    monkeypatch.setenv("JCB_BACKEND", "cpu")  # for what is left open, not for what was asked
    with pytest.raises(BackendUnavailableError, match="no GPU can be used"):
        select(**asked)


def test_cuda_kernels_that_are_not_built_say_how_to_get_them() -> None:
    from jcb_engine.kernels.cuda_library import LIBRARY

    if LIBRARY.exists():
        pytest.skip("they are built here")
    with pytest.raises(BackendUnavailableError, match="JCB_CUDA=on where nvcc is, or use the backend triton"):
        select("cuda")


def test_without_triton_a_gpu_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton.runtime", None)
    for module in ("triton_gpu", "triton_scoring"):
        monkeypatch.delitem(sys.modules, f"jcb_engine.kernels.{module}", raising=False)
    with pytest.raises(BackendUnavailableError, match=r"need torch and triton .*pip install 'jcb-engine\[gpu\]'"):
        select(device="cuda")
