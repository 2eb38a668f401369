.PHONY: check test lint docs

check: test lint  ## what continuous integration runs in its fresh environment

test:
	python -m pytest

lint:
	ruff format --check .
	ruff check .
	mypy
	lint-imports

docs:  ## the generated pages: the sweep file's reference and the results table's columns
	python docs/generate.py
