# Everything happens in .venv, which the targets make and keep up to date themselves. PYTHON=python3.12 make setup  takes another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CODE := src tests benchmarks scripts
DEMO ?= demo
# Small networks train slower on two threads than on one, and ten times slower where another program wants a core; tests run two at a time anyway.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format clean web wheel page headers reproduce

help:  ## what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: $(READY)  ## the virtual environment in .venv, with all that tests, training and export need

# torch comes first and pinned: a range lets pip take the newest build with gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Poseling needs Python 3.11 or newer and $(PYTHON) is not; name another: make PYTHON=python3.12 $(or $(MAKECMDGOALS),setup)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt torch
	$(BIN)/pip install -c constraints.txt -e '.[train,export,synth,weights,compress,nncf,mobile,dev]'
	$(BIN)/pip check
	@touch $@

demo: $(READY)  ## a student on 40 labelled images, with and without its teacher on 1,160 more, three times each; the page is demo/demo.html
	$(BIN)/poseling distill pseudo_labels --few 40 --arms few_labels few_labels_and_teacher --out $(DEMO) --seeds 3
	cp $(DEMO)/report.html $(DEMO)/demo.html
	$(BIN)/python scripts/beside.py docs/images/person.jpg $(DEMO)/beside.jpg "the student, after a minute=$(DEMO)/student.onnx" poseling-n=poseling-n
	@echo "$(DEMO)/beside.jpg has the minute-old student beside poseling-n, the trained network that comes with the program."
	@echo "Look at $(DEMO)/demo.html. The command is $(BIN)/poseling; . $(BIN)/activate puts it on the path. Next: docs/own.md"

# DATA and PEERS are where the images and MoveNet's files lie.
PAPERS := plan fpd kdlpn vitpose_mobile tokenpose_mobile fpd_large vitpose_efficientformer tokenpose_efficientformer
FRONTIER := dwpose distilpose sdpose okdhp knowledge_token multi_teacher
WHICH := people few
WORK ?= work
DATA ?= ../shared/data
PEERS ?= ../shared/peers
SEED ?= 0
reproduce: $(READY)  ## TABLE=NAME SEED=0: a table of docs/protocol.md or docs/which-distillation.md, hours of one core
	@test -n "$(filter $(PAPERS) $(FRONTIER) $(WHICH) report,$(TABLE))" || { echo "Name what to reproduce: make reproduce TABLE=plan says how long each of $(wordlist 2,99,$(PAPERS)) takes here; there are $(FRONTIER), $(WHICH) and report as well (docs/protocol.md)" >&2; exit 1; }
ifeq ($(TABLE),report)
	$(BIN)/python benchmarks/papers.py report
	$(BIN)/python benchmarks/frontier.py report
else
	$(BIN)/python benchmarks/papers.py prepare --root $(DATA) --peers $(PEERS) --out $(WORK)
	$(if $(filter $(FRONTIER) $(WHICH),$(TABLE)),$(BIN)/python benchmarks/frontier.py prepare --out $(WORK))
	$(if $(filter $(PAPERS),$(TABLE)),$(BIN)/python benchmarks/papers.py $(TABLE) --out $(WORK) --seed $(SEED))
	$(if $(filter $(FRONTIER),$(TABLE)),$(BIN)/python benchmarks/frontier.py $(TABLE) --out $(WORK) --peers $(PEERS) --seed $(SEED))
	$(if $(filter $(WHICH),$(TABLE)),$(BIN)/python benchmarks/which_distillation.py $(TABLE) --out $(WORK))
endif

web: page  ## the page of `poseling live`, built and tested (needs Node.js 18 or newer)
	cd web && npm run check && npm test

# What the page is built from; it is built again when any of it is newer.
PAGE := src/poseling/live/page/index.html
page: $(PAGE)
$(PAGE): $(shell find web -path web/node_modules -prune -o -type f -print) web/node_modules/.package-lock.json
	cd web && npm run build
	@touch $@
web/node_modules/.package-lock.json: web/package-lock.json
	@command -v npm >/dev/null || { echo "The page needs Node.js 18 or newer with npm: https://nodejs.org, or apt-get install nodejs npm" >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund
	@touch $@

wheel: $(READY) page  ## a wheel in dist/ that has the page
	POSELING_PAGE=require $(BIN)/pip wheel --no-deps --wheel-dir dist .

test: lint web  ## ruff, mypy, the page and all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -rfEs --durations 10

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

headers:  ## ONNX Runtime's C headers in examples/cpp/include, for the example in C++ (needs Debian)
	scripts/onnxruntime_headers.sh

clean:  ## remove the virtual environment, the demo and all caches
	rm -rf $(VENV) demo examples/cpp/include web/node_modules src/poseling/live/page .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
