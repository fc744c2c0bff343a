"""The documentation site: `python -m sphinx -W -b html docs build/site`.

Pages are Markdown (MyST), the reference comes from the docstrings, and the notebooks are shown as they are kept in
`examples/`: nothing is run.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

HERE = Path(__file__).parent
NOTEBOOKS = HERE / "notebooks"

project = "fewshot"
author = "the fewshot maintainers"
version = release = importlib.metadata.version("fewshot")
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"fewshot {release}"

nb_execution_mode = "off"
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # the README links to files of the repository

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True

NOTEBOOKS.mkdir(exist_ok=True)
for notebook in sorted((HERE.parent / "examples").glob("*.ipynb")):
    shutil.copyfile(notebook, NOTEBOOKS / notebook.name)
