"""A table in a terminal, in Markdown and on a page."""

from xml.etree import ElementTree

import pytest

from mlp_jax.studies.tables import Table, prose

TABLE = Table(
    ["name", "test %", "gone", "n"],
    [["a | `b`", "1.5 ± 0.2", "-", "3"], ["<i>c</i>", "-", "", "-4e-7"]],
    title="Two rows",
)


def cells(table):
    root = ElementTree.fromstring(f"<page>{table.html()}</page>")
    return [[("".join(cell.itertext()), cell.get("class")) for cell in row] for row in root.iter("tr")]


def test_in_a_terminal():
    title, empty, *lines = str(TABLE).splitlines()
    assert (title, empty) == ("Two rows", "")
    assert lines[2] == "| a | `b`  | 1.5 ± 0.2 | -    | 3     |"
    assert {len(line) for line in lines} == {len(lines[0])}


def test_in_markdown_a_bar_is_escaped():
    assert "| a \\| `b` | 1.5 ± 0.2 |" in TABLE.markdown()
    assert TABLE.markdown().startswith("Two rows\n\n| name")


def test_on_a_page_numbers_are_flush_right_and_empty_columns_left_out():
    header, first, second = cells(TABLE)
    assert header == [("name", None), ("test %", "num"), ("n", "num")]
    assert first == [("a | b", None), ("1.5 ± 0.2", "num"), ("3", "num")]
    assert second == [("<i>c</i>", None), ("-", "num"), ("-4e-7", "num")]
    assert "<code>b</code>" in TABLE.html()


def test_on_a_page_long_words_are_told_apart():
    assert cells(Table(["said"], [["word " * 20]]))[1][0][1] == "words"


def test_a_table_without_rows_keeps_its_header():
    empty = Table(["a", "b"], [])
    assert [name for name, _ in cells(empty)[0]] == ["a", "b"]
    assert str(empty).splitlines()[0] == "| a | b |"


@pytest.mark.parametrize("row", [["1"], ["1", "2", "3"]])
def test_a_row_that_does_not_fit_the_header_is_refused(row):
    with pytest.raises(ValueError, match="header of 2"):
        Table(["a", "b"], [row])


def test_words_are_escaped():
    assert prose("`<b>` & <script>") == "<code>&lt;b&gt;</code> &amp; &lt;script&gt;"


def test_a_column_is_a_value_s_name_or_a_function_of_the_row():
    rows = [{"layers": 2, "accuracy": 0.5}, {"layers": 3, "accuracy": None}]
    table = Table.of({"layers": "layers", "%": lambda row: f"{100 * (row['accuracy'] or 0):.1f}"}, rows, "Depths")
    assert (table.header, table.rows, table.title) == (["layers", "%"], [["2", "50.0"], ["3", "0.0"]], "Depths")
    assert Table.of({"layers": "layers"}, []).rows == []
