"""A study is data, and one function runs any of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

from mlp_jax.data.dataset import Dataset, Splits
from mlp_jax.studies import command
from mlp_jax.studies.claims import Claim
from mlp_jax.studies.correctness import Store
from mlp_jax.studies.figures import Figure
from mlp_jax.studies.folder import ResultsFolder
from mlp_jax.studies.options import Common, Places, Training, narrowest, place
from mlp_jax.studies.results import Row
from mlp_jax.studies.rows import Setting, edge_notes
from mlp_jax.studies.runs import Observe, measure, ready, run_settings
from mlp_jax.training import layout
from mlp_jax.training.history import Result

C = TypeVar("C", bound=Common)


class Shape(NamedTuple):
    """Networks are made for this: pixels of an image, classes, training examples; by default CIFAR-10's."""

    image: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    examples: int = 45_000

    @property
    def inputs(self) -> int:
        """Gives the number of values of an image."""
        height, width, channels = self.image
        return height * width * channels

    @property
    def sizes(self) -> dict[str, Any]:
        """Gives the options of an `MLPConfig` that the data decide."""
        return {"inputs": self.inputs, "classes": self.classes}


class Trained(NamedTuple, Generic[C]):
    """A setting was trained: with these options, on these splits, to this row, by these runs."""

    options: C
    folder: ResultsFolder
    setting: Setting
    splits: Splits
    row: Row
    runs: Sequence[Result]


NORMALIZATION = MappingProxyType({"published": "unit_range", "clean": "standardize"})
"""The pixels are normalised so, by protocol, where a study has no other way."""


@dataclass(frozen=True)
class Study(Generic[C]):
    """A study is one question, whole.

    doc: its script's docstring, of which the first paragraph is the question. options: the dataclass that its
      flags come from. part: of the report, to which its claims belong.
    settings: what it trains, for data of a shape; they are made once before anything is read, which is the check
      of the options. then: what it trains next, by the rows of the first ones. normalization: of the pixels, by
      protocol, where settings have no inputs of their own. observe: what is noted of parameters in training. more:
      what a row has beside the usual, or in its place. left_out: keys of a row that are not kept. prepare: what is
      done with the folder first. job: what is done with the options in place of all this, if nothing is trained.
    comparisons: of the rows, by the test images that their runs get right where these are known; results.json has
      them beside the rows. beside: what else it has, from the options and the rows. passed: whether the rows are
      what was asked for; by default, if no run diverged.
    table, finding, figures: what is told of the content of results.json. drawn: from the folder, what else the
      content has, and figures that need more than it. notes: lines to print below the table.
    claims: those of the report that it judges. scales: options that the main job gives it, by where: "standard",
      "smoke cifar10", "full else clean".
    """

    name: str
    title: str
    caveat: str
    doc: str | None
    options: type[C]
    table: Callable[[Row], Any]
    finding: Callable[[Row], str]
    figures: Callable[[Row], dict[str, Figure]]
    settings: Callable[[C, Shape], list[Setting]] = lambda options, shape: []
    then: Callable[[C, Shape, list[Row]], list[Setting]] = lambda options, shape, rows: []
    normalization: Mapping[str, str | None] = field(default_factory=lambda: NORMALIZATION)
    comparisons: Callable[[Sequence[Row], Store | None], list[Row]] | None = None
    beside: Callable[[C, list[Row]], Row] = lambda options, rows: {}
    left_out: Sequence[str] = ()
    observe: Callable[[C, Setting, Splits], Observe] = lambda options, setting, splits: None
    more: Callable[[Trained[C]], Row] = lambda trained: {}
    notes: Callable[[Row], Sequence[str]] = lambda content: ()
    passed: Callable[[list[Row]], bool] = lambda rows: all(row["status"] == "finished" for row in rows)
    claims: Sequence[Claim] = ()
    part: str = ""
    scales: Places = field(default_factory=dict)
    prepare: Callable[[ResultsFolder], None] = lambda folder: None
    drawn: Callable[[C, ResultsFolder], tuple[Row, dict[str, Figure]]] = lambda options, folder: ({}, {})
    job: Callable[[C], bool] | None = None

    def __post_init__(self) -> None:
        claims = [replace(claim, study=self.name, part=self.part) for claim in self.claims]
        object.__setattr__(self, "claims", claims)

    @property
    def question(self) -> str:
        """Gives the first paragraph of the script's docstring."""
        return (self.doc or "").strip().split("\n\n")[0]

    def compared(self, content: Row) -> list[Row]:
        """Gives a file's comparisons; if an earlier version judged them, they are made anew, over seeds alone."""
        found: list[Row] = content.get("comparisons", [])
        if self.comparisons is None or (found and all("p_holm" in row for row in found)):
            return found
        return self.comparisons(content["rows"], None)

    def at(self, scale: str, dataset: str, protocol: str) -> dict[str, Any]:
        """Gives the options that the main job gives the study at this scale; the narrowest ones win."""
        return narrowest(self.scales, scale, place(dataset), protocol)

    def check(self, options: C) -> None:
        """Raises UserError, before anything is read, if the study cannot be run with these options."""
        if isinstance(options, Training):
            for setting in self.settings(options, Shape()):
                for recipe in setting.recipes:
                    layout.check_batch(setting.model, recipe, options.data_parallel)

    def run(self, options: C) -> bool:
        """Trains every setting, prints the table, writes results.json and figures; True if it `passed`."""
        if self.job is not None:
            return self.job(options)
        self.check(options)
        assert isinstance(options, Training)
        folder = ResultsFolder(self.name, options)
        self.prepare(folder)
        dataset = options.load()
        shape = shape_of(dataset, len(options.split(dataset).train.y))
        settings = self.settings(options, shape)
        raw = any(setting.inputs is not None for setting in settings)
        splits = ready(options, folder, None if raw else self.normalization[options.protocol])

        def row(setting: Setting, bar: Any) -> Row:
            usual, runs = measure(options, folder, setting, splits, bar, self.observe(options, setting, splits))
            made = usual | self.more(Trained(options, folder, setting, splits, usual, runs))
            return {name: value for name, value in made.items() if name not in self.left_out}

        run_settings(options, folder, settings, splits, row)
        run_settings(options, folder, self.then(options, shape, folder.rows), splits, row)
        return self._finish(options, folder)

    def _finish(self, options: C, folder: ResultsFolder) -> bool:
        """Writes figures and results.json, and prints what came out."""
        more, drawn = self.drawn(options, folder)
        more |= self.beside(options, folder.rows)
        if self.comparisons is not None:
            more["comparisons"] = self.comparisons(folder.rows, folder.correct)
        content = {**folder.header(), "rows": folder.rows, **more}
        path = folder.finish({**self.figures(content), **drawn}, **more)
        print(self.table(content))
        for line in (*edge_notes(folder.rows), *self.notes(content), self.finding(content)):
            print(line)
        seeds = options.seeds
        print(f"{options.dataset}, {options.protocol} protocol, {seeds} seeds, mean ± standard deviation; {path}")
        return self.passed(folder.rows)

    @property
    def main(self) -> command.Main:
        """Gives the `main(argv) -> int` of the study's script."""
        return command.main_of(self.options, self.run, self.doc)


def shape_of(dataset: Dataset, examples: int | None = None) -> Shape:
    """Gives the shape of a data set, of which so many images are trained on; by default all."""
    height, width, channels = dataset.train_images.shape[1:]
    return Shape((height, width, channels), len(dataset.classes), examples or len(dataset.train_labels))
