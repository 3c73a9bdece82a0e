"""The report page: what it says, that nothing in a results file can act in it, and how it looks in a browser."""

import base64
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from experiments import depth_study, reproduce
from mlp_jax.data import load
from mlp_jax.studies import figures, learned, options, page, question2
from mlp_jax.studies.claims import judged
from mlp_jax.studies.rows import dataset_name
from mlp_jax.studies.study import Study
from mlp_jax.studies.tables import Table
from tests import browser

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
ENVIRONMENT = {
    "versions": {"python": "3.11", "mlp_jax": "9"},
    "device": {"platform": "cpu", "kind": "cpu", "count": 2, "processor": "x86_64", "cores": 2},
    "commit": "abcdef0123456789", "dirty": True, "command": f"python -m experiments.reproduce {EVIL}",
    "data_fingerprint": "0" * 64, "wall_seconds": 100.0,
}  # fmt: skip

PIXELS = np.zeros((4, 8, 3), np.uint8)


@dataclass(frozen=True)
class Config(options.Common):
    layers: str = options.option("2", "depths")


def a_figure(panels):
    figure, axes = figures.canvas(panels)
    for one in axes:
        one.plot([1, 2, 3], [1, 4, 9])
    return figure


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page as large and as nasty as they come: (its content, the folder)."""
    root = tmp_path_factory.mktemp("page")
    wide = Table(
        [f"a long column {n}" for n in range(20)], [[f"{n}.5 ± 0.{m}" for n in range(20)] for m in range(30)]
    )
    tables = [wide, Table(["name", ""], [[EVIL, ""], ["x" * 300, ""]], title="A title with `code` in it.")]
    parts = []
    for name, protocol, status in (
        ("wide", "published", "passed"),
        ("wide", "clean", "failed"),
        ("evil", None, "kept"),
    ):
        folder = root / (protocol or "none")
        (folder / name).mkdir(parents=True)
        (folder / name / "1.svg").write_text(figures.svg(a_figure(1)))
        (folder / name / "3.svg").write_text(
            figures.svg(a_figure(3)).replace("</svg>", f"{EVIL.split('<img')[0]}</svg>")
        )
        (folder / name / "p.png").write_bytes(learned.image_grid([PIXELS], [""], 1, (6.4, 3)))
        content = {
            "config": {"dataset": "digits", "layers": EVIL}, "environment": ENVIRONMENT, "rows": [],
            "figures": [{"file": f, "caption": f'{EVIL}" [x](y) {f}'} for f in ("1.svg", "3.svg", "p.png")],
        }  # fmt: skip
        study = Study(
            name=name, title=f"Title of {name}: more", caveat="A caveat.", doc=f"Is `{name}` right?\n\nMore.",
            options=Config, table=lambda content: tables, figures=lambda content: {},
            finding=lambda content: f"It is {EVIL} {'long' * 100} `code`.",
        )  # fmt: skip
        parts.append(page.Part(study, protocol, status, folder / name, content))
    claims = judged({(None, "gradient_check"): {"config": {"dataset": "digits"}, "rows": []}}, reproduce.CLAIMS)
    content = {
        "config": {"dataset": "digits", "scale": "smoke", "seeds": 2}, "environment": ENVIRONMENT,
        "claims": claims,
    }  # fmt: skip
    shown = page.page(content, parts, [("jax.grad", f"was {EVIL}")])
    (root / "report.html").write_text(page.html(shown))
    return shown, root


def test_what_came_from_files_is_escaped(made):
    text = (made[1] / "report.html").read_text()
    assert "<script" not in text
    assert "onerror" in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text
    assert set(re.findall(r'(?:src|href)="([^"]{1,5})', text)) == {
        "#clai",
        "#equa",
        "#rule",
        "#wide",
        "#evil",
        "#made",
        "data:",
    }
    assert "default-src 'none'" in text
    assert len(text) < 2_000_000


def test_every_study_has_what_it_needs(made):
    text = (made[1] / "report.html").read_text()
    assert text.count("<figure") == 9
    assert text.count("<strong>Caveat.</strong> A caveat.") == 2
    assert text.count('class="finding"') == 3
    assert text.count("did not do what was asked") == 1
    assert re.search(r"python -m experiments.wide --results_dir=\S+ --layers=&lt;script&gt;", text)
    assert "Is <code>wide</code> right?" in text
    assert "1.7 minutes on 2 x86_64 cores, commit abcdef0123 with changes" in text
    for claim in reproduce.CLAIMS:
        assert f'id="claim-{claim.id}"' in text
    for number in range(1, 14):
        assert f'id="eq{number}"' in text
    assert text.count("<math ") == 13
    assert text.count("<strong>Slip.</strong>") == 5


def test_figures_are_what_they_say(made):
    text = (made[1] / "report.html").read_text()
    figures = [
        (kind, base64.b64decode(data)) for kind, data in re.findall(r"data:image/([a-z+]+);base64,([^\"]+)", text)
    ]
    assert [kind for kind, _ in figures].count("svg+xml") == 6
    assert [kind for kind, _ in figures].count("png") == 3
    for kind, data in figures:
        assert data.startswith(b"<" if kind == "svg+xml" else b"\x89PNG")


def written(parts, rows=()):
    """The HTML and the Markdown of a page of these parts, and of gradient checks with these rows."""
    content = {"config": {"scale": "smoke", "seeds": 2}, "environment": ENVIRONMENT, "claims": []}
    check = {"study": replace(parts[-1].study, name="gradient_check")}
    parts = [part if part.study.name == "wide" else replace(part, **check) for part in parts]
    parts = [replace(part, content={**part.content, "rows": list(rows), "figures": []}) for part in parts]
    shown = page.page(content, parts)
    return page.html(shown), page.markdown(shown, Path("."))


def test_without_the_gradient_check_the_page_says_so(made):
    for text in written([part for part in parts_of(made) if part.study.name == "wide"]):
        assert "gradient check was not run" in text
        assert "python -m experiments.gradient_check" in text
        assert text.count(question2.NOT_CHECKED) == 13
        assert "✓ pass" not in text


def test_each_equation_has_its_check(made):
    rows = [
        {
            "leaf": f"eq{n}",
            "dtype": "float64",
            "relative_error": n * 1e-16,
            "verdict": "FAIL" if n == 3 else "PASS",
        }
        for n in range(1, 14)
    ]
    html, markdown = written(parts_of(made), rows)
    assert "gradient check was not run" not in html + markdown
    assert len(re.findall(r"✓</span> pass</span>\s+<span class=\"soft\">error [\de-]+ in float64<", html)) == 12
    assert len(re.findall(r"✗</span> fail</span>\s+<span class=\"soft\">error 3e-16 in float64<", html)) == 1
    assert markdown.count(": pass, error ") == 12
    assert markdown.count(": fail, error 3e-16 in float64\n") == 1


def test_a_correction_of_families_is_told_where_there_is_one(made):
    (part, *_) = parts_of(made)
    plain, _ = written([part])
    told = "each family of comparisons is corrected by Holm"
    assert told not in plain
    for listed in ([{"p": 0.01}], [{"p": 0.01, "p_holm": None}]):
        assert told not in written([replace(part, content={**part.content, "comparisons": listed})])[0]
    corrected = replace(part, content={**part.content, "comparisons": [{"p": 0.01, "p_holm": 0.03}]})
    assert all(text.count(told) == 1 for text in written([corrected]))


def parts_of(made):
    return [shown["part"] for study in made[0]["studies"] for shown in study["parts"]]


def test_markdown_has_the_same(made):
    text = page.markdown(made[0], made[1])
    assert "](<clean/wide/1.svg>)" in text
    for claim in reproduce.CLAIMS:
        assert f"| {claim.claim}" in text
    assert text.count("Caveat: A caveat.") == 2
    assert "long column 19" in text
    assert made[0]["summary"] in text


@browser.needed
@pytest.mark.parametrize(("width", "scheme"), browser.VIEWS)
def test_in_a_browser(width, scheme, made, chromium):
    shown = chromium.show(made[1] / "report.html", width, scheme)
    browser.check(shown, figures=9)
    assert len(shown["formulas"]) == 13
    assert (shown["background"] == "rgb(252, 252, 250)") == (scheme == "light")
    assert "Title of evil" in shown["text"]


@browser.needed
def test_the_browser_check_can_fail(tmp_path, chromium):
    file = tmp_path / "page.html"
    file.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        '<img alt="x" src="data:image/png;base64,AAAA"><div style="width: 2000px">x</div>'
        '<script>console.log("told")</script>'
    )
    shown = chromium.show(file, 390, "light")
    assert shown["images"] == [[True, 0]]
    assert shown["scroll"] > shown["inner"]
    assert any("2000px" in element for element in shown["wide"])
    assert len(shown["console"]) == 1


def test_the_width_of_a_figure_is_in_pixels_of_css():
    figure, _ = figures.canvas()
    assert page.width(figures.svg(figure).encode()) == 614  # 6.4 inches of 96 pixels
    assert page.width(learned.image_grid([PIXELS], [""], 1, (6.4, 3))) == 704  # of 110


def test_a_minute_and_a_half_is_told_in_minutes():
    assert [page.minutes(seconds) for seconds in (0.4, 89.4, 90, 600)] == [
        "0 s",
        "89 s",
        "1.5 minutes",
        "10.0 minutes",
    ]


def test_commands_leave_defaults_out():
    config = depth_study.Config(dataset="cifar10", protocol="published", seeds=5, learning_rate=0.1)
    content = {**{k: v for k, v in vars(config).items() if k != "results_dir"}, "distributed": True}
    assert page.command("depth_study", depth_study.Config, content, "results/published") == (
        "python -m experiments.depth_study --distributed --dataset=cifar10 --results_dir=results/published "
        "--seeds=5 --protocol=published --learning_rate=0.1"
    )


def test_the_mirror_is_told_by_its_fingerprint(real):
    dataset = load("cifar10", **real)
    assert dataset_name(of_cifar10(dataset.fingerprint)) == "CIFAR-10 (JPEG mirror)"


def test_other_copies_are_not_the_mirror():
    assert dataset_name(of_cifar10("0" * 64)) == "CIFAR-10"


def of_cifar10(fingerprint):
    return {"config": {"dataset": "cifar10"}, "environment": {"data_fingerprint": fingerprint}}
