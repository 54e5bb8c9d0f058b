"""A backend asked for by name never falls back; the automatic choice says so once."""

import logging
import sys

import pytest

from jcb_engine.errors import BackendUnavailableError, InputError, JcbError
from jcb_engine.kernels import select, selection


@pytest.fixture(autouse=True)
def forget_earlier_choices() -> None:
    for chosen in (selection._cpu, selection._reference, selection._log_fallback):
        chosen.cache_clear()


def test_an_unknown_backend_names_those_there_are() -> None:
    with pytest.raises(InputError, match="'quantum' is unknown; there are cpu, reference"):
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
