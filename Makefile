# Sets up everything on a machine with Python 3.11+ and make; a second run starts at once.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
# Python compiles what it imports; pip would compile all of every package, a minute for what is mostly never read.
INSTALL := $(PIP) install --quiet --progress-bar on --no-compile -c constraints.txt

.PHONY: chat test test-fast eval-gate models lint format lock clean

chat: $(VENV)/.installed
	@$(RUN) -m rag models pull all-MiniLM-L6-v2 >/dev/null
	@$(RUN) -m rag index build
	@$(RUN) -m rag serve --open

test: lint models
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --max-worker-restart 0

test-fast: lint
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile --max-worker-restart 0 -m "not models and not browser"

# Asks a part of the development questions and fails if the answers became worse than those of the kept run.
eval-gate: models
	rm -rf var/eval/gate
	$(RUN) -m eval run --split dev --limit 30 -o var/eval/gate
	$(RUN) -m eval compare --part eval/results/extractive-dev.jsonl var/eval/gate

models: $(VENV)/.tested
	$(RUN) -m rag models pull all-MiniLM-L6-v2
	$(RUN) -m rag models pull smollm2-135m

lint: $(VENV)/.tested
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/.tested
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rolewise needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -e .
	@touch $@

# All at once: asking pip a second time costs its whole search for versions again.
$(VENV)/.tested: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -e '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) index/build var

# Writes constraints.txt from the newest packages that pyproject.toml admits. Run the tests before committing it.
lock:
	rm -rf $(VENV)/lock && $(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet -e '.[dev]'
	{ echo "# Every package of a set-up that passed all tests, exactly. Written from a fresh environment by: make lock"; \
		$(VENV)/lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf $(VENV)/lock
