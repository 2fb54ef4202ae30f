# Everything happens in .venv, which the targets make and keep up to date themselves. PYTHON=python3.12 make setup  takes another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := src tests benchmarks
# Small networks train slower on two threads than on one, and ten times slower where another program wants a core; tests run two at a time anyway.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format clean

help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: $(READY)  ## the virtual environment in .venv, with all that tests, training and export need

# torch comes first and pinned: a range lets pip take the newest build with gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Poseling needs Python 3.11 or newer and $(PYTHON) is not; name another: make PYTHON=python3.12 $(or $(MAKECMDGOALS),setup)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt torch
	$(BIN)/pip install -c constraints.txt -e '.[train,export,dev]'
	$(BIN)/pip check
	@touch $@

demo: $(READY)  ## a teacher, a student, and the same student without the teacher, on people that the program draws; report in demo/
	$(BIN)/poseling distill fpd --data drawn --out demo --teacher hourglass-2x64 --student hourglass-1x32 --size 64 --sigma 1 --loss kl \
		--optimizer adamw --schedule one_cycle --learning-rate 0.003 --batch 16 --teacher-epochs 8 --epochs 5

test: lint  ## ruff, mypy and all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -rfEs --durations 10

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:  ## remove the virtual environment, the demo and all caches
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
