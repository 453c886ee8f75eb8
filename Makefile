# `make demo` and `make test` do all the set-up by themselves; see README.md.

VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock

# PYTHON=/path/to/python chooses the interpreter; otherwise the first one on PATH that
# is between 3.10 and 3.13 and can make virtual environments.
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.10 python
SUPPORTED := import ensurepip, sys, venv; \
	sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
find_python = $(shell for name in $(CANDIDATES); do \
	$$name -c '$(SUPPORTED)' >/dev/null 2>&1 && { echo $$name; break; }; done)

# The stamps name what was installed, and where: another lock, another setup.py or
# another place installs anew. The first is for what running kpg needs, the second for
# what working on it needs as well.
SUM := $(shell (pwd; cat $(LOCK) setup.py) | cksum | cut -d ' ' -f 1)
RUNNING := $(VENV)/running-$(SUM)
STAMP := $(VENV)/installed-$(SUM)
PIP := $(BIN)/python -m pip --disable-pip-version-check

# NumPy's types for Python 3.10 have other parameters than those from 3.11 on.
TYPED := import sys; sys.exit(sys.version_info < (3, 11))

.PHONY: help setup demo demo-text test test-slow lint types format lock clean
.PHONY: docs docs-serve docs-lock notebooks
.PHONY: benchmark benchmark-language benchmark-gpu benchmark-lock

# The site is built without TensorFlow, from what its own lock names, on Python 3.11 or
# later.
DOCS := .venv-docs
DOCS_LOCK := docs/requirements.lock
DOCS_STAMP := $(DOCS)/installed-$(shell cksum < $(DOCS_LOCK) | cut -d ' ' -f 1)

# What kpg is compared with has dependencies of its own.
PEERS := .venv-peers

help:
	@echo "make demo       train MountainCar-v0, export it, serve it, play against the server"
	@echo "make demo-text  train a text policy, export it, serve it, complete prompts"
	@echo "make test       format, lint, types and the fast tests"
	@echo "make test-slow  the learning tests"
	@echo "make setup      only the virtual environment, in $(VENV)"
	@echo "make lint       format, lint and types, without the tests"
	@echo "make format     rewrite the files as the formatter wants them"
	@echo "make docs       build the site into site/, or fail at a dead link (180 MB to install)"
	@echo "make docs-serve show the site while you write"
	@echo "make notebooks  write docs/notebooks/*.ipynb from their pages, and run them"
	@echo "make lock       renew $(LOCK) from setup.py"
	@echo "make benchmark  side by side with other libraries (10 GB to install, hours)"
	@echo "make benchmark-language  the same of language models (6 GB, half an hour)"
	@echo "make benchmark-gpu  what a GPU would run, counted without one (2 GB, 15 minutes)"
	@echo "make clean      remove what the commands above made, runs included"

setup: $(STAMP)

# The lock holds every version, of the tools too: as a constraint it installs only what
# kpg asks for. kpg itself is a link to the checkout.
$(RUNNING):
	@python='$(or $(PYTHON),$(find_python))'; \
	if ! "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1; then \
		echo "kpg needs Python 3.10, 3.11, 3.12 or 3.13 with its venv module." >&2; \
		echo "On Debian and Ubuntu: sudo apt-get install python3 python3-venv" >&2; \
		echo "Another interpreter: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" --version) (once, some minutes)"; \
	"$$python" -m venv --clear $(VENV)
	$(PIP) install --constraint $(LOCK) setuptools
	$(PIP) install --constraint $(LOCK) --no-build-isolation --editable .
	@touch $@

$(STAMP): $(RUNNING)
	$(PIP) install --requirement $(LOCK)
	@touch $@

demo: SCRIPT := demo.py
demo-text: SCRIPT := demo_text.py
demo demo-text: $(RUNNING)
	$(BIN)/python examples/$(SCRIPT)
	@echo
	@echo "To go on by yourself:"
	@echo "    . $(BIN)/activate"
	@echo "    kpg --help"

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@if $(BIN)/python -c '$(TYPED)'; then \
		$(MAKE) --no-print-directory types; \
	else \
		echo "Types are checked on Python 3.11 and later."; \
	fi

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# What a file builds once for its tests is built once only if they stay together.
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(STAMP)
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile setup.py --extra dev --universal --python-version 3.10 \
		--upgrade --no-annotate --custom-compile-command "make lock" \
		--output-file $(LOCK)

$(DOCS_STAMP):
	@python='$(or $(PYTHON),$(find_python))'; "$$python" -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip --disable-pip-version-check install --quiet \
		--requirement $(DOCS_LOCK)
	@touch $@

# A strict build passes over docstrings that do not fit their signatures.
docs: $(DOCS_STAMP)
	@said=$$($(DOCS)/bin/zensical build --clean --strict 2>&1); status=$$?; \
	echo "$$said"; \
	case "$$said" in *griffe:*) exit 1 ;; esac; \
	exit $$status

docs-serve: $(DOCS_STAMP)
	$(DOCS)/bin/zensical serve

docs-lock: $(STAMP)
	$(PIP) install --quiet uv
	$(BIN)/python -c 'from importlib.metadata import requires; print(*(one.split(";")[0] \
		for one in requires("kpg") if "docs" in one), sep="\n")' \
		| $(BIN)/uv pip compile - --universal --python-version 3.11 --upgrade \
		--no-annotate --custom-compile-command "make docs-lock" \
		--output-file $(DOCS_LOCK)

notebooks: $(STAMP)
	$(PIP) install --quiet --constraint $(LOCK) --no-build-isolation \
		--editable ".[notebooks]"
	$(BIN)/python -m tests.notebooks

# What is compared needs more environments than kpg itself, and uv makes those of the
# peers. RUN="--runs 1 --work cart_pole" does a part; what was done is not done again.
benchmark: SCRIPT := compare.py
benchmark-language: SCRIPT := language.py
benchmark-gpu: SCRIPT := gpu/table.py
benchmark benchmark-language benchmark-gpu: $(STAMP)
	$(PIP) install --quiet \
		-r benchmarks/requirements/kpg.txt
	$(BIN)/python benchmarks/$(SCRIPT) --peers $(PEERS) $(RUN)

benchmark-lock: $(STAMP)
	$(PIP) install --quiet uv
	cd benchmarks/requirements && for list in *.in; do \
		$(abspath $(BIN))/uv pip compile $$list --config-file uv.toml --universal \
			--python-version 3.10 --upgrade --no-annotate --quiet \
			--custom-compile-command "make benchmark-lock" \
			--output-file $${list%.in}.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) $(DOCS) $(PEERS) build dist *.egg-info src/*.egg-info
	rm -rf runs servables site .cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
