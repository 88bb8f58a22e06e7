# Two commands: `make demo` and `make test`. Each makes .venv once and uses it from then on.
# Another interpreter than python3: `make test PYTHON=python3.11`.

PYTHON ?= python3
BIN := .venv/bin
# Test processes, each with one thread: the tests are small, and threads only get in their way.
JOBS ?= 2
INSTALLED := .venv/installed
REQUIREMENTS := $(addprefix requirements/,runtime.txt mminstall.txt tests.txt)

test test-all: export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup lint test test-all demo golden

demo: setup  ## train AM Flow on generated motion clips and show what it sees
	$(BIN)/python tools/demo.py

test: lint  ## linters, import contract and every test that needs no GPU
	$(BIN)/pytest -q -ra -n $(JOBS) -m "not gpu"

test-all: lint  ## the same and the tests on the GPU
	$(BIN)/pytest -q -ra -n $(JOBS)

lint: setup  ## style, format, import contract
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

golden: setup  ## rewrite the golden arrays, printing the largest change of each, and the lists of keys
	$(BIN)/python -m tests.golden_cases
	$(BIN)/python -m tests.key_contracts

setup: $(INSTALLED)  ## create .venv and install into it

# A torch that is in .venv already stays: install the one for your GPU first, then run make.
$(INSTALLED): $(wildcard requirements/*.txt) setup.py
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else 'Python %d.%d is not supported, 3.10 to 3.12 are; run: make PYTHON=python3.11' % v)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing requirements into .venv; the first time takes some minutes."
	@$(BIN)/python -c "import importlib.metadata as m; print('\n'.join(d.name + '==' + d.version for d in m.distributions() if d.name in ('torch', 'torchvision')))" > .venv/torch.txt
	@$(BIN)/pip install -q -c requirements/constraints.txt -c .venv/torch.txt $(addprefix -r ,$(REQUIREMENTS))
	@$(BIN)/pip install -q -e . --no-deps --no-build-isolation
	@touch $@
