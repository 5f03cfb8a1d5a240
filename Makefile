# Everything starts here:  make lab | make test | make quick
# Another Python:          make lab PYTHON=python3.13
# Tests in parallel:       make test JOBS=4
# Options for JupyterLab:  make lab LAB_ARGS="--no-browser --port 8890"
# PyTorch with CUDA:       make lab TORCH=index, on Linux without a GPU

PYTHON ?=
LAB_ARGS ?=
JOBS ?= 2
SHELL := /bin/sh
BIN := .venv/bin
EXTRAS := test
# Each of the parallel tests computes with one thread; the few that ask for two wait
# for the second without keeping a core busy that another test needs.
# Compiled tests are kept even where Python is told to keep nothing: 10 s of each run.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= \
	$(BIN)/python -m pytest -p no:nbval -n $(JOBS) --dist worksteal
# A quarter of the time a test of the library waits, for a sandbox, a limit or a process:
# one more of them at once keeps the cores busy.  Lessons compute, and their seconds are
# compared with what they state: no more than JOBS of them.
MORE_JOBS := $(shell expr $(JOBS) + 1)
FIRST_PYTHON := $(firstword $(shell for name in python3 python3.13 python3.12 \
	python3.11 python; do $$name -c "" 2>/dev/null && echo $$name && break; done))

.PHONY: help lab test quick evidence web env clean
help:
	@echo "make lab     install if needed, open lesson 00 in JupyterLab"
	@echo "make test    install if needed, check everything (about 20 minutes)"
	@echo "make quick   the fast tests only (about 80 seconds)"
	@echo "make evidence  recompute full cells of the stored results (longer)"
	@echo "make web     build the web edition in site/ from the stored lessons"
	@echo "make clean   remove the environment; the next call makes a new one"

lab: TORCH ?= auto
lab: env
	@$(BIN)/course data fetch --quiet || echo "JupyterLab starts all the same:" \
	  "lessons on the course's own data work without these files."
	@$(BIN)/course lab $(LAB_ARGS)

test: EXTRAS := test,instructor,web
test: env
	@$(BIN)/course data fetch --quiet
	$(BIN)/ruff check .
	$(PYTEST) -n $(MORE_JOBS) -m "not notebook and not evidence"
	$(PYTEST) --dist load --maxschedchunk 1 -m notebook tests/lessons/test_notebooks.py

quick: env
	@$(BIN)/course data fetch --quiet
	$(BIN)/ruff check .
	$(PYTEST) -m "not notebook and not slow and not evidence"

evidence: env
	$(PYTEST) --dist load --maxschedchunk 1 -m evidence tests/lessons/test_results.py

web: EXTRAS := test,web
web: env
	$(BIN)/course web --to site

env:
	@if [ -z "$(FIRST_PYTHON)" ]; then \
	  echo "No Python was found. Install Python 3.11, 3.12 or 3.13." >&2; exit 1; fi
	@$(FIRST_PYTHON) tools/setup_env.py --extras $(EXTRAS) \
	  $(if $(PYTHON),--python "$(PYTHON)") $(if $(TORCH),--torch $(TORCH))

clean:
	rm -rf .venv
