# Two commands on a bare machine: `make demo` (edit a photograph) and `make test` (everything that CI runs).
PYTHON ?= python3
PHOTO ?= examples/astronaut.png
EXPRESSIONS = happiness surprise sadness anger neutral

.PHONY: demo test lint clean

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

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv-lab/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-lab
	.venv-lab/bin/python -m pip install -q -c constraints.txt -e ".[lab,video,studio,dev]"
	touch $@

clean:
	rm -rf .venv .venv-lab out
