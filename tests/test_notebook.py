"""The notebook runs from top to bottom in a kernel of its own, and shows what it promises."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.commands import ROOT

NOTEBOOK = ROOT / "experiments" / "check_your_gradient.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Its code cells after they ran, in an empty folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    return [cell for cell in client.execute().cells if cell.cell_type == "code"]


def shown(cell, kind):
    """What a cell shows as text/plain or text/html."""
    return [output["data"][kind] for output in cell.outputs if kind in output.get("data", {})]


def test_it_is_committed_without_output():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_wrong_network_is_the_readme_s(cells):
    readme = re.search(r"<!-- wrong net -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert readme is not None
    assert cells[1].source.strip() == readme[1].strip()


def test_it_names_the_mistakes_and_ends_with_a_right_gradient(cells):
    reports = [cell for cell in cells if shown(cell, "text/html")]
    wrong, layer, own = reports
    for code in ("mask_without_bias", "l2_on_bias"):
        assert code in shown(wrong, "text/html")[0]
        assert code in shown(wrong, "text/plain")[0]
    for right in (layer, own):
        assert "RIGHT" in shown(right, "text/plain")[0]


def test_the_case_is_there_to_be_computed(cells):
    (printed,) = [output["text"] for cell in cells for output in cell.outputs if output.get("name") == "stdout"]
    yours, true = (re.findall(r"-?\d\.\d+(?:e-?\d+)?", line) for line in printed.strip().split("should be"))
    assert len(yours) == len(true) > 1
    assert yours != true
