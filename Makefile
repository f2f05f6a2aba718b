# make demo: install, train CLIP-RC on ZeroShapes, evaluate, draw.    make test: install, run the tests.
# make setup PYTHON=python3.11 chooses the Python (3.10 to 3.14) of the virtual environment.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
LINT   := $(VENV)/.lint
CONFIG := configs/clip_rc/zeroshapes_demo.py
WORK   := work_dirs/zeroshapes_demo

.PHONY: help setup demo test test-fast lint format wheelhouse clean

help:
	@echo "make setup   create $(VENV) and install jseg with its dependencies"
	@echo "make demo    setup, then train CLIP-RC on ZeroShapes, evaluate and draw"
	@echo "make test    setup, then run the tests"
	@echo "make test-fast   setup, then run the tests without those marked slow"
	@echo "make lint    check formatting, style and types      make format   format files"
	@echo "make wheelhouse   collect wheels of jseg and its dependencies, for machines without a network"
	@echo "make clean   remove $(VENV) and Python caches; data/ and work_dirs/ are kept"

setup: $(STAMP)

# venv installs pip last. If it is missing, an earlier attempt was interrupted.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' || { \
		echo "error: $(PYTHON) is missing or not Python 3.10 to 3.14; set one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys, sysconfig; sys.exit(bool(sysconfig.get_config_var("Py_GIL_DISABLED")))' || { \
		echo "error: $(PYTHON) is a free-threaded build, which Jittor does not support; use another Python" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)

# Jittor's metadata require numpy<2, but with jseg it works with NumPy 2; its other dependencies are in setup.py. If pip
# has already installed Jittor with jseg, the second command does nothing.
# On the first run, the doctor compiles Jittor and shows the progress. make stops here if something is missing.
$(STAMP): setup.py | $(VENV)/bin/pip
	$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[test]'
	$(PY) -m pip install --disable-pip-version-check --quiet --no-deps jittor==1.3.11.0
	$(PY) tools/doctor.py
	@touch $@

demo: setup
	$(PY) tools/make_zeroshapes.py --out data/zeroshapes
	$(PY) tools/run_net.py --config $(CONFIG) --task train --work-dir $(WORK)
	@echo
	@echo "figures: $(WORK)/pictures"
	@echo "metrics: $(WORK)/metrics.json (evaluation), $(WORK)/log.jsonl (training)"

test: setup
	$(PY) -m pytest

test-fast: setup
	$(PY) -m pytest -m "not slow"

# Without the doctor, so that style is checked before Jittor is compiled.
$(LINT): setup.py | $(VENV)/bin/pip
	$(PY) -m pip install --disable-pip-version-check --quiet --editable '.[lint]'
	@touch $@

lint: $(LINT)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

format: $(LINT)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# For the Python of $(VENV), on machines with the same Python, operating system and processor. docs/clusters.md
wheelhouse: | $(VENV)/bin/pip
	rm -rf wheelhouse
	$(PY) -m pip wheel --disable-pip-version-check --quiet --wheel-dir wheelhouse --no-deps jittor==1.3.11.0
	$(PY) -m pip wheel --disable-pip-version-check --quiet --wheel-dir wheelhouse --find-links wheelhouse .
	@ls wheelhouse | wc -l | xargs echo "packages in wheelhouse/:"

clean:
	rm -rf $(VENV) wheelhouse .pytest_cache build dist *.egg-info
	find jseg tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +
