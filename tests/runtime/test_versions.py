"""Supported versions: combinations that may compute wrong values are refused, with a fix."""

import importlib.util
import platform
import re
import sys
import sysconfig
from pathlib import Path

import pytest

from jseg.runtime import environment, versions
from jseg.runtime.environment import EnvironmentProblem, prepare_jittor, shared_jittor
from jseg.runtime.versions import jittor_refusal, numpy_refusal, original_refusal, python_refusal

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("minor, works", [(9, False), (10, True), (14, True), (15, False)])
def test_pythons_at_the_ends_of_the_range(monkeypatch, minor, works):
    monkeypatch.setattr(sys, "version_info", (3, minor, 0, "final", 0))
    monkeypatch.setattr(platform, "python_version", lambda: f"3.{minor}.0")
    refusal = python_refusal()
    assert (refusal is None) == works
    assert works or re.search(rf"3\.{minor}\.0.*3\.10 to 3\.14; make setup PYTHON=", str(refusal))


def test_a_free_threaded_python_is_refused(monkeypatch):
    """Jittor's core counts references as if one thread ran at a time."""
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: 1 if name == "Py_GIL_DISABLED" else None)
    assert "free-threaded" in str(python_refusal())


@pytest.mark.parametrize("version, works", [("1.3.11.0", True), ("1.3.11", True), ("1.3.110", False)])
def test_one_release_of_jittor(version, works):
    refusal = jittor_refusal(version)
    assert (refusal is None) == works
    assert works or str(refusal).endswith("; pip install --no-deps jittor==1.3.11.0")


def test_a_missing_package_names_the_command_that_pip_can_resolve(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert str(jittor_refusal(None)).endswith("; pip install --no-deps jittor==1.3.11.0")
    assert str(numpy_refusal(None)).endswith("; pip install 'numpy<3'")


def test_a_checkout_without_a_record_is_taken_as_it_is(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert jittor_refusal(None) is numpy_refusal(None) is None


@pytest.mark.parametrize("version, works", [("1.26.4", True), ("2.1.0", True), ("3.0.0", False)])
def test_versions_of_numpy(version, works):
    refusal = numpy_refusal(version)
    assert (refusal is None) == works
    assert works or refusal.fix == "pip install 'numpy<3'"


@pytest.mark.parametrize(
    "minor, numpy, reason", [(12, "1.26.4", None), (12, "2.1.0", "wrong values"), (13, None, "not start")]
)
def test_what_needs_the_changed_copy_of_jittor(monkeypatch, minor, numpy, reason):
    monkeypatch.setattr(sys, "version_info", (3, minor, 0, "final", 0))
    refusal = original_refusal(numpy)
    assert (refusal is None) == (reason is None)
    assert not reason or (reason in refusal.text and refusal.fix.endswith("1.3.11.0 --force-reinstall"))


def test_what_does_not_go_together_is_refused_before_jittor_is_loaded(machine, monkeypatch):
    monkeypatch.setattr(versions, "installed_version", {"jittor": "1.3.11.0", "numpy": "3.0.1"}.get)
    with pytest.raises(EnvironmentProblem, match=r"NumPy 3\.0\.1.*pip install 'numpy<3'"):
        prepare_jittor()
    assert not machine.cache.exists()


def test_numpy_2_with_an_edited_jittor_is_refused(machine, monkeypatch):
    monkeypatch.setattr(environment, "installed_version", {"numpy": "2.1.0"}.get)
    monkeypatch.setattr(environment, "jittor_copy", lambda cache: None)
    with pytest.raises(EnvironmentProblem, match="edited.*--force-reinstall"):
        shared_jittor()


def test_versions_are_the_same_wherever_they_are_written():
    setup, makefile = (ROOT / "setup.py").read_text(), (ROOT / "Makefile").read_text()
    (first, last), pin = versions.PYTHON_VERSIONS, versions.INSTALL_JITTOR.split()[-1]
    assert f'python_requires=">={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}"' in setup
    assert f"{first} <= sys.version_info[:2] <= {last}" in makefile
    assert pin in setup and f"--no-deps {pin}\n" in makefile
    assert versions.INSTALL_JITTOR in (ROOT / "README.md").read_text()
    assert pin.startswith(f"jittor=={versions.JITTOR_VERSION}.")
