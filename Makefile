# make demo         LCRec, SASRec, CoVisitText and Pop on ml-100k, in one table
# make test         the whole test suite (make test-latest: on the newest NumPy, pandas and SciPy)
# make check        ruff, mypy and the order of the rooms (import-linter)
# make clean        removes the environments and caches; results in saved/ and data in dataset/ stay

PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python,$(shell $(name) -c \
	'import sys, venv, ensurepip; (3, 11) <= sys.version_info[:2] < (3, 13) and print("$(name)")' 2>/dev/null)))
VERSION := $(if $(PYTHON),$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
PIP_INSTALL = bin/python -m pip install --quiet --disable-pip-version-check
SOURCES = setup.py pyproject.toml $(wildcard constraints/*.txt)

# RecBole requires a ray that has no wheel for Python 3.12 and fails on NumPy 2: there it comes without ray.
define install_without_ray
	$(1)/$(PIP_INSTALL) -c constraints/latest.txt -r constraints/without-ray.txt $(2)
	$(1)/$(PIP_INSTALL) -c constraints/latest.txt --no-deps recbole -e .
endef

define make_environment
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 with venv is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Installing into $(1) with Python $(VERSION); this takes some minutes, once."
	$(PYTHON) -m venv $(1)
endef

.PHONY: demo test test-latest check clean

demo: .venv/installed
	.venv/bin/python run_recbole_lcrec.py --model=LCRec,SASRec,CoVisitText,Pop --dataset=ml-100k \
		--config_files=properties/quick_start.yaml

test: .venv/installed-test
	.venv/bin/python -m pytest -ra

test-latest: .venv-latest/installed-test
	.venv-latest/bin/python -m pytest -ra

check: .venv/installed-test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports

clean:
	rm -rf .venv .venv-latest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

ifeq ($(VERSION),3.12)
.venv/installed: $(SOURCES)
	$(call make_environment,.venv)
	$(call install_without_ray,.venv)
	touch $@

.venv/installed-test: .venv/installed
	.venv/$(PIP_INSTALL) -c constraints/latest.txt pytest hypothesis ruff mypy import-linter types-PyYAML types-tabulate types-tqdm \
		hyperopt 'setuptools<81'
	touch $@
else
.venv/installed: $(SOURCES)
	$(call make_environment,.venv)
	.venv/$(PIP_INSTALL) -c constraints/py311.txt -e .
	touch $@

.venv/installed-test: .venv/installed
	.venv/$(PIP_INSTALL) -c constraints/py311.txt -e '.[test]'
	touch $@
endif

.venv-latest/installed-test: $(SOURCES)
	$(call make_environment,.venv-latest)
	$(call install_without_ray,.venv-latest,pytest hypothesis hyperopt 'setuptools<81')
	touch $@
