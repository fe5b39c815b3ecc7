# Two commands on a bare machine: `make demo` (edit a photograph) and `make test` (everything that CI runs).
# `make soak` breaks things for an hour or two; `make audit` asks for known holes in what is installed (docs/threats.md);
# `make lock` writes anew which files may be installed by hash (SECURITY.md).
PYTHON ?= python3
PHOTO ?= examples/astronaut.png
EXPRESSIONS = happiness surprise sadness anger neutral

RUNS ?= 100000

.PHONY: demo test soak audit lock clean

demo: .venv/ready
	@mkdir -p out
	@for to in $(EXPRESSIONS); do \
	  .venv/bin/mien edit $(PHOTO) --to $$to -o out/$$(basename $(PHOTO) .png)-$$to.png --overwrite || exit $$?; \
	done
	@.venv/bin/mien sheet $(PHOTO) -o out/sheet.jpg --overwrite
	@echo "Look at out/sheet.jpg: expressions down, intensities across. Single pictures lie beside it."

test: .venv-lab/ready
	.venv-lab/bin/ruff check src tests benchmarks
	.venv-lab/bin/ruff format --check src tests benchmarks
	.venv-lab/bin/mypy
	.venv-lab/bin/python -m pytest

soak: .venv-lab/ready
	MIEN_SOAK=1 .venv-lab/bin/python -m pytest -s tests/hardening
	.venv-lab/bin/python -m pip install -q atheris
	.venv-lab/bin/python tests/hardening/fuzz.py all --runs $(RUNS)

audit: .venv-lab/ready
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install -q pip-audit
	.venv-lab/bin/python -m pip freeze --exclude-editable | sed 's/+.*//' > .venv-audit/installed.txt
	@if PIP_AUDIT_LOGLEVEL=ERROR .venv-audit/bin/pip-audit --strict --disable-pip --no-deps -r .venv-audit/installed.txt \
	  2> .venv-audit/said.txt; then tail -n 1 .venv-audit/said.txt; else \
	  echo "audit: not passed, and nothing was checked unless a table stands above: $$(tail -n 1 .venv-audit/said.txt)"; \
	  exit 1; fi

# setuptools, too, since it builds mien itself
LOCK = .venv-lock/bin/uv pip compile pyproject.toml - -q -c constraints.txt --universal --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q uv
	echo "setuptools>=77" | $(LOCK) --python-version 3.10 -o requirements-hashed.txt
	echo "setuptools>=77" | $(LOCK) --python-version 3.11 --extra video --extra studio --extra c2pa \
	  -o requirements-hashed-extras.txt

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv-lab/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-lab
	.venv-lab/bin/python -m pip install -q -c constraints.txt -e ".[lab,video,studio,c2pa,dev]"
	touch $@

clean:
	rm -rf .venv .venv-lab .venv-audit .venv-lock out
