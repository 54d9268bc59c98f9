# make run    set up, visit the embedded PostgreSQL, serve on http://127.0.0.1:8000/ (Ctrl-C stops it)
# make dev    as make run, with one worker, and start again what serves when a file of the tree changes
# make test   set up, pass the tests
# make test-oracle DSN=oracle://user:password@host:port/service  pass the Oracle contract on a real server
# make setup  set up for both; make lint, make bench: what they say
# make exhaustive SEED=1  hundreds of random cases; without a seed, others each time
# make chaos KILLS=1000 SEED=1  kill processes of the production form at random; without a seed, others each time
# make looks  open every page, wide and narrow, light and dark, in each language, and keep the pictures in looks/
# make servers  bring the database servers that tests run on into .servers, or the folder named in TAIFISH_SERVERS
# make sbom   write what the environment consists of into sbom.json (CycloneDX); make audit: known vulnerabilities in it
# make lock   write constraints.txt and locked/ anew after a change of what is needed; UPGRADE=--upgrade takes the newest
# make messages  bring the Chinese catalogue up to date, and list what is to be translated

# The newest Python that Taifish supports; PYTHON=/path/to/python chooses another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
# Where random cases begin; make prints it with the command.
SEED ?= $(shell date +%s)
# Processes that tests run in, each with servers of its own.
JOBS ?= 2
# Kills of `make chaos`, spread over brokers and stores.
KILLS ?= 1000
# Only files whose hashes are known; what locked/*.txt names is complete.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
LOCKED := $(PIP) --require-hashes --requirement

.PHONY: run dev test test-oracle exhaustive chaos looks setup servers lint bench messages count sbom audit lock

run: .venv/run.done
	@exec $(BIN)/python manage.py up $(UP)

dev: .venv/run.done
	@exec $(BIN)/python manage.py up --dev $(UP)

test: setup
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow and not exhaustive and not looks and not chaos" $(PYTEST)

# An account that may create users, roles and profiles, and grant SELECT on SYS's views; what it makes, it drops.
test-oracle: setup
	@[ -n "$(DSN)" ] || { echo "Say which server: make test-oracle DSN=oracle://user:password@host:1521/service"; exit 1; }
	@TAIFISH_TEST_ORACLE_DSN='$(DSN)' $(BIN)/python -m pytest engines/tests/test_oracle_contract.py -k live $(PYTEST)

exhaustive: setup
	$(BIN)/python -m pytest -m exhaustive --timeout 3600 --hypothesis-seed=$(SEED) $(PYTEST)

chaos: setup
	TAIFISH_TEST_KILLS=$(KILLS) TAIFISH_TEST_SEED=$(SEED) $(BIN)/python -m pytest -m chaos -s $(PYTEST)

looks: setup
	@mkdir -p looks
	TAIFISH_TEST_SCREENSHOTS=looks $(BIN)/python -m pytest -n $(JOBS) -m looks $(PYTEST)

setup: .venv/test.done servers

# Each is brought once. What cannot be had is said aloud, and its tests are skipped; with CI set it is an error.
servers: .venv/test.done
	@$(BIN)/python -m taifish.tests.servers

lint: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

messages: .venv/test.done
	@$(BIN)/python -m taifish.tests.catalogue

bench: setup
	@set -e; for file in bench/*.py; do [ ! -e $$file ] || $(BIN)/python $$file $(BENCH); done

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "Taifish needs Python 3.11, 3.12 or 3.13: install one, or name it: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh packages.sh python3-venv
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/run.done: pyproject.toml locked/run.txt | $(BIN)/python
	@echo "Installing Taifish and what it needs into .venv; this takes a minute or two."
	$(LOCKED) locked/run.txt
	$(PIP) --no-build-isolation --editable .
	@touch $@

# mysqlclient builds where a compiler and the headers are; elsewhere its tests are skipped, loudly.
.venv/test.done: .venv/run.done locked/test.txt packages.sh
	@sh packages.sh chromium gcc python3-dev pkg-config libmariadb-dev
	$(LOCKED) locked/test.txt
	@$(LOCKED) locked/mysqlclient.txt || echo "mysqlclient could not be built: PyMySQL serves in its place."
	@touch $@

# Apart from the environment that they describe.
.venv/tools.done: $(BIN)/python
	@$(BIN)/python -m venv .venv/tools
	@.venv/tools/bin/python -m pip --disable-pip-version-check install --quiet cyclonedx-bom==7.5.0 pip-audit==2.10.1 uv==0.13.9
	@touch $@

sbom: .venv/run.done .venv/tools.done
	@.venv/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python
	@echo "sbom.json is written."

audit: .venv/run.done .venv/tools.done
	@$(BIN)/python -m pip --disable-pip-version-check freeze --exclude-editable > .venv/frozen.txt
	@.venv/tools/bin/pip-audit --no-deps --disable-pip --requirement .venv/frozen.txt

# Versions and hashes anew; make lock UPGRADE=--upgrade takes the newest.
lock: .venv/tools.done
	@sh lock.sh $(UPGRADE)

# Lines of the product: Python without tests, migrations and benches.
count:
	@git ls-files '*.py' | grep -Ev '(^|/)(tests|migrations|bench)/|^conftest\.py$$' | xargs cat | wc -l
