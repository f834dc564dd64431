# What people do with Rankloop; `make help` lists it. Everything lives in .venv and data, here.

PYTHON ?= python3
VENV := .venv/bin/python
PIP := $(VENV) -m pip -qq --disable-pip-version-check install --require-hashes
LOCK := $(VENV) -m uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --override requirements/no-torch.txt --custom-compile-command "make lock"
ARGS ?=

.PHONY: help up test verify lint bench starter lock clean
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PRECIOUS: .venv/made

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

up: install-web ## start Rankloop here: pages, workers, data directory
	@exec $(VENV) -m config.up $(ARGS)

test: install-dev install-torch ## lint, types and tests on every real part there is; ARGS="--only sqlite -k lease"
	@exec $(VENV) -m tests.run $(ARGS)

verify: install-dev install-torch ## the same and the long proofs: seeds, storms, known answers
	@exec $(VENV) -m tests.run --verify $(ARGS)

lint: install-dev install-torch ## only style and types
	@exec $(VENV) -m tests.run --only lint,types

bench: install-dev install-torch ## time us beside peers: every program in bench/ that says so
	@set -e; for program in start web screen queue imports rewards scoring round; do \
		echo "bench/$$program.py"; $(VENV) -m bench.$$program $(ARGS); done

starter: install-dev install-torch ## make the shipped model anew from its corpus, 40 minutes; ARGS=--compile is faster
	@$(VENV) -m starter.build $(ARGS)

lock: install-dev ## resolve pyproject.toml anew into requirements/; ARGS=--upgrade takes what is newest
	@$(LOCK) $(ARGS) --extra web -o requirements/web.txt
	@$(LOCK) $(ARGS) --extra data -c requirements/web.txt -o requirements/data.txt
	@$(LOCK) $(ARGS) --extra train -c requirements/web.txt -c requirements/data.txt -o requirements/train.txt
	@$(LOCK) $(ARGS) --extra web --extra data --extra dev --extra bench -c requirements/web.txt \
		-c requirements/data.txt -c requirements/train.txt -o requirements/dev.txt

clean: ## remove .venv, caches and build; the data directory stays
	@rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +

# install-web brings requirements/web.txt into .venv unless it is there already; likewise data, train and dev.
# One at a time: `make up` goes on installing while its pages are up (config/install.py keeps the same notes).
install-%: .venv/made
	@$(VENV) -c 'import pip' 2>/dev/null || { echo "the Python of .venv is gone: make clean, then this again"; exit 1; }
	@note="$$(sha256sum requirements/$*.txt)"; \
	if [ "$$(cat .venv/$* 2>/dev/null)" != "$$note" ]; then \
		exec 9>.venv/lock; flock --nonblock 9 || { echo "waiting for another installation into .venv"; flock 9; }; \
		echo "installing requirements/$*.txt"; \
		$(PIP) --requirement requirements/$*.txt && echo "$$note" > .venv/$*; \
	fi

# torch comes without a hash, for its builds differ by machine; with it what else the trainer imports.
install-torch: .venv/made
	@$(VENV) -m config.install train

.venv/made:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: sudo apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Rankloop needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V): name another, as in" \
			"make up PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python lacks its venv: sudo apt install $(notdir $(PYTHON))-venv"; exit 1; }
	@echo "making the virtual environment .venv"
	@$(PYTHON) -m venv .venv && touch $@
