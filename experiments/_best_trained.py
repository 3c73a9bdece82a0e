"""The best model's runs: its row, what else is measured of them, and the best seed's network as a file."""

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import _common, _machines, _runs, _study
from mlp_jax import data
from mlp_jax.data import pixels
from mlp_jax.data.dataset import Splits
from mlp_jax.errors import UserError
from mlp_jax.files import read_bounded, sha256
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import results, statistics
from mlp_jax.training import saved_model
from mlp_jax.training.evaluate import evaluate, on_device
from mlp_jax.training.step import TrainState
from mlp_jax.training.step import network as trained

if TYPE_CHECKING:
    from experiments.best_model import Config

NORMALIZATION = {"published": "unit_range", "clean": "standardize"}
FILE = "model.safetensors"


def kept(study: _study.Study) -> bool:
    """Whether a resumed study has its row, and the model that belongs to it; a row without it is dropped."""
    found = bool(study.rows)
    if found and study.writes and (saved := study.rows[0]["model"]) is not None:
        try:
            content = read_bounded(study.folder / FILE, saved_model.MOST_BYTES)
            found = sha256(content) == saved["sha256"]
        except UserError:
            found = False
    found = bool(_machines.share(found))
    if not found:
        study.rows.clear()
    return found


def train(
    config: "Config", study: _study.Study, setting: _runs.Setting, splits: Splits, dataset: data.Dataset
) -> None:
    """The study's one row, and the best seed's network as a file."""
    epochs = setting.epochs(len(splits.train.y))
    with _common.progress((len(setting.recipes) - 1 + config.seeds) * epochs, "epoch") as bar:
        for one in _runs.compiled(config, [setting], splits):
            row, runs = _runs.measure(config, study, one, splits, bar)
    states = [runs[seed - config.seed].state for seed in row["seeds"]]
    if config.protocol == "published":
        row |= in_evaluation_mode(config, row, states, setting.model, splits, dataset)
    if config.recipe is not None:
        row["network"] = dataclasses.asdict(setting.model)
        row |= over_views(states, setting, splits)
    row["model"] = None
    if row["seeds"]:
        values = row["validation_accuracy"]["values"]
        seed = row["seeds"][values.index(max(values))]
        model = _model(config, setting.model, runs[seed - config.seed].state, seed, dataset)
        row["model"] = {"file": FILE, "seed": seed, "test_accuracy": model.about.test_accuracy}
        if study.writes:
            content = _save(study.folder / FILE, model)
            row["model"] |= {"sha256": sha256(content), "bytes": len(content)}
    study.add(row)


def _save(path: Path, model: saved_model.Model) -> bytes:
    try:
        return saved_model.save(path, model)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; free the disk or change --results_dir") from error


def in_evaluation_mode(
    config: "Config",
    row: results.Row,
    states: list[TrainState],
    model: MLPConfig,
    splits: Splits,
    dataset: data.Dataset,
) -> results.Row:
    """What the report's script does not measure: validation in evaluation mode, and all test images."""
    scaling = pixels.scaling(config.split(dataset).train.x, NORMALIZATION[config.protocol])
    test = on_device(data.Split(pixels.rows(dataset.test_images, scaling), dataset.test_labels), model)
    found = {"validation_accuracy_evaluation_mode": splits.validation, "test_accuracy_all_images": test}
    measured = {
        name: statistics.measured([evaluate(*trained(s), split, model).accuracy for s in states])
        for name, split in found.items()
    }
    return {**measured, "images": {**row["images"], "all_test": len(test.y)}}


def over_views(states: list[TrainState], setting: _runs.Setting, splits: Splits) -> results.Row:
    """Test-time augmentation, beside the plain accuracy, of a network that was trained on moved images."""
    augmentation = setting.recipes[0].augmentation
    if augmentation is None or not (augmentation.crop and augmentation.flip):
        return {}
    found = [evaluate(*trained(s), splits.test, setting.model, image=augmentation.image).accuracy for s in states]
    return {"test_accuracy_over_views": statistics.measured(found)}


def _model(
    config: "Config", network: MLPConfig, state: TrainState, seed: int, dataset: data.Dataset
) -> saved_model.Model:
    """A run's network, and its accuracy on all test images."""
    scaling = pixels.scaling(config.split(dataset).train.x, NORMALIZATION[config.protocol])
    about = saved_model.About(
        dataset=dataset.name,
        data_fingerprint=dataset.fingerprint,
        protocol=config.protocol,
        seed=seed,
        test_accuracy=0.0,
        test_images=len(dataset.test_labels),
        package_version=metadata.version("mlp_jax"),
    )
    height, width, channels = dataset.test_images.shape[1:]
    params, stats = trained(state)
    model = saved_model.Model(network, params, stats, scaling, (height, width, channels), dataset.classes, about)
    hits = model.logits(dataset.test_images).argmax(axis=1) == dataset.test_labels
    return dataclasses.replace(model, about=dataclasses.replace(about, test_accuracy=float(hits.mean())))
