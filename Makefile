# Each target makes the environment (.venv) first when it is missing; each may be interrupted and run again.
# Another Python than python3: make book PYTHON=python3.12
PYTHON ?= python3
PY = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help venv lab book pdf test export save student grade bench clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

venv:
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or later, or name yours: make PYTHON=..."; exit 1; }
	@"$(PYTHON)" tools/venv.py

lab: venv  ## Read and run the chapters in JupyterLab
	@$(PY) -m jupyterlab nbs/index.ipynb

book: venv  ## Run every chapter and render the book into _book/
	@$(PY) tools/book.py

pdf: venv  ## The same book as one PDF, _book/course.pdf
	@$(PY) tools/book.py --pdf

test: venv  ## Run every chapter alone, and every other check
	@$(PY) -m pytest

export: venv  ## Write course_lib/ and README.md from the notebooks, and clean the notebooks
	@$(PY) tools/export.py

save: venv  ## Run the chapters and store their outputs in nbs/
	@$(PY) tools/chapters.py --save

student: venv  ## Copy the course without solutions, for a class (make student OUT=../class)
	@$(PY) tools/student.py $(OUT)

grade: venv  ## Grade a folder of returned notebooks (make grade IN=returned ARGS="--csv grades.csv")
	@$(PY) tools/grade.py $(IN) $(ARGS)

bench: venv  ## Time what the course claims about speed, on this machine (make bench ARGS=--quick)
	@$(PY) tools/bench.py $(ARGS)

clean:  ## Remove what was built, but not the environment
	@rm -rf _build _book dist build *.egg-info .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
