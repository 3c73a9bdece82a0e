"""The best model: trained, shown, saved and loaded, and classifying pictures of any kind."""

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from experiments import best_model, predict
from mlp_jax import data
from mlp_jax.data import pixels
from mlp_jax.data.digits import synthetic
from mlp_jax.data.pictures import read_picture
from mlp_jax.data.pixels import NORMALIZATIONS, Scaling, normalize
from mlp_jax.errors import UserError
from mlp_jax.files import printable, sealed
from mlp_jax.nn import model
from mlp_jax.nn.config import MLPConfig
from mlp_jax.studies import learned, study
from mlp_jax.studies.rows import MIRROR
from mlp_jax.studies.study import Shape
from mlp_jax.training import model_format, saved_model
from tests.bad_files import picture, promising
from tests.commands import ROOT, python
from tests.studies import results_of

SMALL = {"dataset": "synthetic", "hidden": "8,8", "epochs": 2, "seeds": 2}


def flags_of(options):
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """By protocol: the folder of a small run, and its results."""
    found = {}
    # always two runs at once, the candidates or seeds 1 and 2: to compile is what takes time
    for protocol, more in {"published": {}, "clean": {"learning_rates": "0.002,0.005", "seeds": 3}}.items():
        folder = tmp_path_factory.mktemp(protocol)
        options = {**SMALL, **more, "protocol": protocol, "results_dir": str(folder)}
        assert best_model.STUDY.run(best_model.Config(**options))
        content = results_of(folder, "best_model")
        found[protocol] = (folder / "best_model", content)
    return found


def saved(runs, protocol="clean"):
    return saved_model.load(runs[protocol][0] / "model.safetensors")


@pytest.mark.parametrize("protocol", ["published", "clean"])
def test_what_a_run_writes(runs, protocol):
    folder, content = runs[protocol]
    (row,) = content["rows"]
    seeds = list(range({"published": 2, "clean": 3}[protocol]))
    assert (row["hidden"], row["status"], row["seeds"], row["report"]) == ([8, 8], "finished", seeds, None)
    assert ("test_accuracy_all_images" in row) == (protocol == "published")
    assert row["recipe"]["optimizer"] == "adam"
    names = ["training_curves.svg", "confusion_matrix.svg", "first_layer.png", "mistakes.png"]
    assert [figure["file"] for figure in content["figures"]] == names
    for name in names:
        assert 1000 < (folder / name).stat().st_size < 200_000
    for name in names[2:]:
        Image.open(folder / name).load()
    curves, confusion = ((folder / name).read_text() for name in names[:2])
    assert all(label in curves for label in ("epoch", "loss (nats)", "accuracy (%)", "validation"))
    assert all(name in confusion for name in (*synthetic().classes, "true class", "predicted class"))


@pytest.mark.parametrize("protocol", ["published", "clean"])
def test_numbers_agree_with_the_saved_model_applied_to_the_test_images(runs, protocol):
    _, content = runs[protocol]
    (row,), dataset, loaded = content["rows"], synthetic(), saved(runs, protocol)
    assert loaded.about.seed == row["seeds"][int(np.argmax(row["validation_accuracy"]["values"]))]
    assert loaded.about.data_fingerprint == dataset.fingerprint
    x = normalize(data.split(dataset, validation=200), loaded.scaling.how).test.x
    logits = np.asarray(model.forward(loaded.params, x, loaded.config, stats=loaded.stats))
    np.testing.assert_allclose(logits, loaded.logits(dataset.test_images), atol=1e-5)
    right = logits.argmax(axis=1) == dataset.test_labels
    name = "test_accuracy_all_images" if protocol == "published" else "test_accuracy"
    assert row[name]["values"][loaded.about.seed] == pytest.approx(right.mean()) == loaded.about.test_accuracy
    counts = np.array(content["confusion"]["counts"])
    assert counts.sum() == 200
    assert np.trace(counts) == right.sum()
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(dataset.test_labels))
    shown = [m["index"] for m in content["mistakes"]]
    wrong = np.flatnonzero(~right)
    probabilities = np.asarray(jax.nn.softmax(logits)).max(axis=1)
    assert len(shown) == min(20, len(wrong)) > 0
    assert set(shown) <= set(wrong)
    left_out = sorted(set(wrong) - set(shown))
    assert probabilities[shown].min() >= max(probabilities[left_out], default=0) - 1e-5
    assert content["mistakes"][0]["probability"] == pytest.approx(probabilities[wrong].max(), abs=1e-5)


def test_recipes():
    published = best_model.Config(dataset="cifar10", protocol="published").training(learning_rate=1e-3)
    assert (published.optimizer, published.weight_decay, published.l2) == ("adam", 1e-3, 0.0)
    assert (published.epochs, published.decay, published.batch_size) == (10, 0.95, 200)
    assert published.validate_in_training_mode
    clean = best_model.Config(dataset="cifar10").training(learning_rate=1e-3)
    assert (clean.weight_decay, clean.validate_in_training_mode) == (0.0, False)
    network = best_model.network(best_model.Config(), Shape())
    assert (network.inputs, network.hidden, network.classes) == (3072, (400, 400, 400), 10)
    assert (network.activation, network.negative_slope) == ("leaky_relu", 0.1)
    assert (network.norm, network.norm_place, network.dropout) == ("batch", "after", 0.0)


def test_a_saved_scaling_gives_the_same_inputs_bit_for_bit():
    dataset = synthetic()
    splits = data.split(dataset, validation=200)
    for how in NORMALIZATIONS:
        rows = pixels.rows(dataset.test_images[7:8], pixels.scaling(splits.train.x, how))
        np.testing.assert_array_equal(rows[0], normalize(splits, how).test.x[7])


IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path
import jax
jax.config.update("jax_num_cpu_devices", 8)  # as here
from mlp_jax import data; from mlp_jax.training import saved_model as export
loaded = export.load(Path(sys.argv[1]))
sys.stdout.buffer.write(loaded.logits(data.synthetic().test_images).tobytes())
"""


def test_a_loaded_model_is_the_same_bit_for_bit_also_in_another_process(runs, tmp_path):
    path = runs["published"][0] / "model.safetensors"
    loaded = saved_model.load(path)
    assert saved_model.as_bytes(loaded) == path.read_bytes()
    logits = loaded.logits(synthetic().test_images)
    line = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, timeout=120, check=True)
    assert done.stdout == logits.tobytes()


def test_a_scale_of_the_logits_is_saved_as_part_of_the_last_layer(runs, tmp_path):
    config = MLPConfig(hidden=(3,), inputs=192, classes=10, logit_scale=0.3)
    scaling = pixels.scaling(synthetic().train_images, "unit_range")
    original = replace(
        saved(runs), config=config, params=model.init(jax.random.key(0), config), stats=(), scaling=scaling
    )
    saved_model.save(tmp_path / "m", original)
    logits = (found.logits(synthetic().test_images) for found in (original, saved_model.load(tmp_path / "m")))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-6)


def about(content):
    """The metadata of a file, as what its JSON says."""
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["mlp_jax"])


def damaged(content, *, text=None, entry="mlp_jax", tensors=None, **metadata):
    """The file with some tensors and metadata replaced, or removed where None."""
    arrays = {k: v for k, v in {**safetensors.numpy.load(content), **(tensors or {})}.items() if v is not None}
    found = {k: v for k, v in {**about(content), **metadata}.items() if v is not None}
    return safetensors.numpy.save(arrays, {entry: json.dumps(found) if text is None else text})


def changed(content, name, **values):
    """The file with values of the metadata's object `name` replaced."""
    return damaged(content, **{name: {**about(content)[name], **values}})


def full(shape, value, dtype=np.float32):
    return np.full(shape, value, dtype)


DAMAGES = {
    "empty": (lambda c: b"", "is empty"),
    "cut": (lambda c: c[:-5], "is not a whole safetensors file"),
    "cut in the header": (lambda c: c[:50], "is not a whole safetensors file"),
    "longer": (lambda c: c + b"1234", "is not a whole safetensors file"),
    "a pickle": (lambda c: b"\x80\x04\x95" + b"." * 99, "is not a whole safetensors file"),
    "a huge header": (lambda c: struct.pack("<Q", 2**60) + c[8:], "is not a whole safetensors file"),
    "no metadata": (lambda c: safetensors.numpy.save(safetensors.numpy.load(c)),
                    "its metadata are not one entry named mlp_jax"),
    "another entry": (lambda c: damaged(c, entry="pt"), "its metadata are not one entry named mlp_jax"),
    "metadata missing": (lambda c: damaged(c, classes=None), "its metadata are not format"),
    "metadata unknown": (lambda c: damaged(c, more=1), "its metadata are not format"),
    "not JSON": (lambda c: damaged(c, text="{cut"), "its metadata are not JSON"),
    "deep JSON": (lambda c: damaged(c, text="[" * 99_999), "its metadata are not JSON"),
    "NaN in JSON": (lambda c: changed(c, "config", norm_eps=float("nan")), "its metadata are not JSON"),
    "another format": (lambda c: damaged(c, format="other"), "its format is 'other'"),
    "tensor missing": (lambda c: damaged(c, tensors={"layer2.b": None}), "tensor 'layer2.b' is missing"),
    "tensor unknown": (lambda c: damaged(c, tensors={"layer9.b": full(3, 0)}), "tensor 'layer9.b' is unknown"),
    "transposed": (lambda c: damaged(c, tensors={"layer1.w": full((8, 192), 0)}),
                   "has shape (8, 192), not (192, 8)"),
    "of integers": (lambda c: damaged(c, tensors={"layer1.b": full(8, 0, np.int32)}), "'layer1.b' is of type I32"),
    "of doubles": (lambda c: damaged(c, tensors={"layer1.b": full(8, 0, float)}), "'layer1.b' is of type F64"),
    "NaN": (lambda c: damaged(c, tensors={"layer1.b": full(8, np.nan)}),
            "'layer1.b' has values that are not finite"),
    "variance": (lambda c: damaged(c, tensors={"layer1.running_var": full(8, -1)}), "has negative variances"),
    "scale 0": (lambda c: damaged(c, tensors={"input.scale": full(3, 0, float)}), "are not positive"),
    "scale's shape": (lambda c: damaged(c, tensors={"input.scale": full(1, 1, float)}),
                      "has shape (1,), not (3,)"),
    "config's field": (lambda c: changed(c, "config", more=1), "its MLPConfig must have hidden, "),
    "config a list": (lambda c: damaged(c, config=[1]), "its MLPConfig must have hidden, "),
    "width a string": (lambda c: changed(c, "config", hidden=["8", 8]), "its hidden is of a wrong type"),
    "another width": (lambda c: changed(c, "config", hidden=[8, 9]), "has shape (8,), not (9,)"),
    "huge": (lambda c: changed(c, "config", hidden=[2**31]), "weights: choose widths"),
    "layers": (lambda c: changed(c, "config", hidden=[8]), "tensor 'layer2.running_mean' is unknown"),
    "activation": (lambda c: changed(c, "config", activation="os.system"), "unknown activation 'os.system'"),
    "float64": (lambda c: changed(c, "config", dtype="float64"), "its dtype is float64"),
    "number": (lambda c: changed(c, "config", negative_slope=10**400), "its negative_slope is of a wrong type"),
    "inputs": (lambda c: damaged(c, image_shape=[8, 8, 1]), "192 inputs, but the pictures have 64"),
    "image shape": (lambda c: damaged(c, image_shape=[192]), "image_shape must be"),
    "channels": (lambda c: damaged(c, image_shape=[8, 12, 2]), "image_shape must be"),
    "9 classes": (lambda c: damaged(c, classes=list("abcdefghi")), "10 different printable"),
    "escape": (lambda c: damaged(c, classes=["\x1b[2J", *"abcdefghi"]), "printable names"),
    "normalization": (lambda c: damaged(c, normalization="none"), "normalization must be one of mean_image"),
    "a list": (lambda c: damaged(c, normalization=[]), "normalization must be one of mean_image"),
    "accuracy": (lambda c: changed(c, "about", test_accuracy=2),
                 "test_accuracy must be a number in [0, 1], not 2"),
    "seed": (lambda c: changed(c, "about", seed=True), "its seed is of a wrong type"),
    "another weight": (lambda c: c[:-1] + bytes([c[-1] ^ 1]), "it was altered"),
    "another class": (lambda c: damaged(c, classes=list("abcdefghij")), "it was altered"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_model_is_refused_in_one_line(runs, name, tmp_path):
    damage, message = DAMAGES[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(damage((runs["clean"][0] / "model.safetensors").read_bytes()))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        saved_model.load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_model_of_version_0_2_which_has_no_digest_and_fewer_options_is_read(runs, tmp_path):
    content = (runs["clean"][0] / "model.safetensors").read_bytes()
    config = {name: value for name, value in about(content)["config"].items() if name not in model_format.LATER}
    (tmp_path / "old").write_bytes(damaged(content, format="mlp_jax model 1", sha256=None, config=config))
    assert saved_model.as_bytes(saved_model.load(tmp_path / "old")) == content


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, "unit_range"), ({"norm": "batch"}, "mean_image"), ({"norm": "layer"}, "unit_range"),
        ({"block": "residual", "norm": "batch", "norm_place": "after"}, "mean_image"),
        ({"block": "bottleneck"}, "standardize"),
    ],
)  # fmt: skip
def test_every_kind_of_network_is_saved_and_read(runs, tmp_path, options, how):
    config = MLPConfig(hidden=(4, 4), inputs=192, **options)
    params, stats = model.init(jax.random.key(0), config), model.init_stats(config)
    scaling = pixels.scaling(synthetic().train_images, how)
    original = replace(saved(runs), config=config, params=params, stats=stats, scaling=scaling)
    saved_model.save(tmp_path / "model", original)
    loaded = saved_model.load(tmp_path / "model")
    assert (loaded.config, loaded.classes, loaded.about) == (config, original.classes, original.about)
    jax.tree.map(np.testing.assert_array_equal, (loaded.params, loaded.stats), (params, stats))
    np.testing.assert_array_equal(loaded.scaling.shift, scaling.shift)


# Pictures. Each case: a picture of one colour, and the RGB that it must become.
def one(mode, color, size=(20, 30)):
    return Image.new(mode, size, color)


def palette(transparency=None):
    picture = Image.new("P", (20, 30), 1)
    picture.putpalette([0, 0, 0, 10, 200, 30])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


def half(value):
    """A colour (value, 0, 0) of half opacity on white."""
    return (round(value / 2 + 127.5), 127, 127)


PICTURES = {
    "RGB": (one("RGB", (10, 200, 30)), "png", {}, (10, 200, 30)),
    "grey": (one("L", 77), "png", {}, (77, 77, 77)),
    "black and white": (one("1", 1), "png", {}, (255, 255, 255)),
    "palette": (palette(), "png", {}, (10, 200, 30)),
    "transparent palette": (palette(), "png", {"transparency": 1}, (255, 255, 255)),
    "RGBA": (one("RGBA", (200, 0, 0, 0)), "png", {}, (255, 255, 255)),
    "half transparent": (one("RGBA", (200, 0, 0, 128)), "png", {}, half(200)),
    "grey and alpha": (one("LA", (50, 0)), "png", {}, (255, 255, 255)),
    "transparent colour": (one("RGB", (1, 2, 3)), "png", {"transparency": (1, 2, 3)}, (255, 255, 255)),
    "16 bits": (one("I;16", 40_000), "png", {}, (155, 155, 155)),
    "16 bits white": (one("I;16", 65_535), "png", {}, (255, 255, 255)),
    "16 bits black": (one("I;16", 0), "png", {}, (0, 0, 0)),
    "16 bits TIFF": (one("I;16", 40_000), "tiff", {}, (155, 155, 155)),
    "16 bits PGM": (one("I;16", 40_000), "ppm", {}, (155, 155, 155)),
    "CMYK": (one("CMYK", (0, 255, 255, 0)), "tiff", {}, (255, 0, 0)),
    "CMYK JPEG": (one("CMYK", (0, 255, 255, 0)), "jpeg", {"quality": 95}, (255, 0, 0)),
    "YCbCr": (one("RGB", (10, 200, 30)), "jpeg", {"quality": 95}, (10, 200, 30)),
    "GIF": (palette(), "gif", {}, (10, 200, 30)),
    "BMP": (one("RGB", (10, 200, 30)), "bmp", {}, (10, 200, 30)),
    "WebP": (one("RGB", (10, 200, 30)), "webp", {"lossless": True}, (10, 200, 30)),
    "first frame": (
        one("RGB", (255, 0, 0)), "gif", {"save_all": True, "append_images": [one("RGB", (0, 0, 255))]}, (255, 0, 0)
    ),
    "one pixel": (one("RGB", (10, 200, 30), (1, 1)), "png", {}, (10, 200, 30)),
    "a line": (one("RGB", (10, 200, 30), (5000, 1)), "png", {}, (10, 200, 30)),
}  # fmt: skip


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_every_kind(name, tmp_path):
    picture, kind, options, color = PICTURES[name]
    path = tmp_path / "picture.of-any-name"
    picture.save(path, format=kind, **options)
    found = read_picture(str(path), (8, 8, 3))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), np.broadcast_to(color, (8, 8, 3)), atol=4)
    grey = read_picture(str(path), (4, 6, 1))
    luma = np.dot(color, (0.299, 0.587, 0.114))
    np.testing.assert_allclose(grey.astype(int), np.full((4, 6, 1), luma), atol=4)


def test_a_picture_of_the_models_size_is_unchanged_and_one_turned_by_exif_is_upright(tmp_path):
    pixels = synthetic().test_images[0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(str(tmp_path / "a.png"), (8, 8, 3)), pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "b.png", exif=exif)
    np.testing.assert_array_equal(read_picture(str(tmp_path / "b.png"), (8, 8, 3)), pixels)


def animation():
    data = io.BytesIO()
    one("RGB", "red", (60, 60)).save(data, "gif", save_all=True, append_images=[one("RGB", "blue", (60, 60))])
    return data.getvalue()


NO_PICTURES = {
    "empty": (b"", "is empty"),
    "text": (b"no picture", "is not a picture of a known format"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture of a known format"),
    "cut PNG": (picture()[:200], "it may be cut or damaged"),
    "cut JPEG": (picture("jpeg")[:400], "it may be cut or damaged"),
    "cut TIFF": (picture("tiff")[:600], "is truncated"),  # its index is at the end
    "cut GIF": (picture("gif")[:900], "is truncated"),
    "cut BMP": (picture("bmp")[:500], "it may be cut or damaged"),
    "magic alone": (b"\x89PNG\r\n\x1a\n", "is not a picture of a known format"),
    "flipped PNG": (picture()[:60] + bytes([picture()[60] ^ 255]) + picture()[61:], "it may be cut or damaged"),
    "of no pixels": (promising(0, 0), "is not a picture of a known format"),
    "cut in the first frame": (animation()[:60], "it may be cut or damaged"),
    "large": (promising(10_000, 7_000), "has 10000 x 7000 pixels: make it smaller, at most 64,000,000"),
    "larger": (promising(10_000, 10_000), "has too many pixels"),
    "a bomb": (promising(60_000, 60_000), "has too many pixels"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_a_file_that_is_no_picture_is_refused_in_one_line(name, tmp_path):
    content, message = NO_PICTURES[name]
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_picture(str(path), (8, 8, 3))
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_picture_of_other_numbers_is_refused(tmp_path):
    one("F", 0.5).save(tmp_path / "f.tiff")
    with pytest.raises(UserError, match="its values are not whole numbers"):
        read_picture(str(tmp_path / "f.tiff"), (8, 8, 3))
    one("I", 1_000_000).save(tmp_path / "i.tiff")
    with pytest.raises(UserError, match="not of 8 or 16 bits"):
        read_picture(str(tmp_path / "i.tiff"), (8, 8, 3))


def test_names_are_printed_safely():
    assert printable("a\x1b[2Jb\n\u202ec|d\udcffé") == "a\\x1b[2Jb\\n\\u202ec\\|d\\udcffé"


def test_the_real_command_line_trains_and_then_names_the_class(tmp_path):
    where = f"--results_dir={tmp_path}"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8"}  # as here, where it is compiled already
    flags = flags_of({**SMALL, "learning_rate": 0.002})
    done = python("-m", "experiments.best_model", *flags, where, environment=environment)
    assert (done.status, done.err) == (0, "")
    dataset, folder = synthetic(), tmp_path / "best_model"
    results = (folder / "results.json").read_bytes()
    names = [str(tmp_path / f"picture {i}.png") for i in range(3)]
    for image, name in zip(dataset.test_images, names, strict=False):
        Image.fromarray(image).save(name)
    done = python("-m", "experiments.predict", *names, where, environment=environment)
    assert (done.status, done.err) == (0, "")
    rows = json.loads((folder / "predictions.json").read_text())["rows"]
    probabilities = saved_model.load(folder / "model.safetensors").probabilities(dataset.test_images[:3])
    for name, row, line in zip(names, rows, probabilities, strict=True):
        order = np.argsort(-line)
        assert (row["picture"], row["class"]) == (name, dataset.classes[order[0]])
        assert row["second_class"] == dataset.classes[order[1]]
        assert row["probability"] == pytest.approx(line[order[0]], abs=1e-5)
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert re.search(rf"{re.escape(name)} *\| {row['class']} ", done.out)
    assert (folder / "results.json").read_bytes() == results


def test_predict_says_nothing_before_all_pictures_are_read(runs, monkeypatch, capsys, tmp_path):
    folder = runs["clean"][0].parent
    one("RGB", 0).save(tmp_path / "good.png")
    (tmp_path / "bad\x1b.png").write_bytes(b"bad")
    monkeypatch.chdir(tmp_path)
    for wrong in ("bad\x1b.png", "none.png", "."):
        assert predict.main([f"--results_dir={folder}", "good.png", wrong]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert printable(wrong) in err
        assert "\x1b" not in err
    assert not (folder / "best_model" / "predictions.json").exists()
    # flags may come after the pictures
    assert predict.main(["good.png", "good.png", f"--results_dir={folder}"]) == 0
    assert capsys.readouterr().out.count("good.png") == 2


def test_resume_keeps_the_row_only_with_its_model(runs, tmp_path, monkeypatch):
    source, content = runs["published"]
    folder = tmp_path / "best_model"
    folder.mkdir()
    partial = {name: content[name] for name in ("study", "config", "environment", "rows")}
    config = best_model.Config(**SMALL, protocol="published", results_dir=str(tmp_path), resume=True)

    class Trained(Exception):
        pass

    def train(config, folder, *rest):
        assert folder.rows == []
        raise Trained

    monkeypatch.setattr(study, "measure", train)
    monkeypatch.setattr(best_model, "figures", lambda content: {})
    monkeypatch.setattr(learned, "shown", lambda dataset, loaded: ({"shown": loaded.about.seed}, {}))
    for other in (None, runs["clean"][0], source):
        (folder / "partial.json").write_text(json.dumps(sealed(partial)))
        if other is not None:
            shutil.copy(other / "model.safetensors", folder)
        if other != source:
            with pytest.raises(Trained):
                best_model.STUDY.run(config)
    assert best_model.STUDY.run(config)
    resumed = results_of(tmp_path, "best_model")
    assert resumed["rows"] == content["rows"]
    assert resumed["shown"] == content["rows"][0]["model"]["seed"]


def test_diverged_runs_keep_their_row_and_save_no_model(tmp_path, capsys):
    config = best_model.Config(**SMALL, learning_rate=1e30, l2=1.0, results_dir=str(tmp_path))
    assert not best_model.STUDY.run(config)
    content = results_of(tmp_path, "best_model")
    assert (content["rows"][0]["status"], content["rows"][0]["model"]) == ("diverged", None)
    assert not (tmp_path / "best_model" / "model.safetensors").exists()
    assert "all diverged" in best_model.finding(content)
    assert "no model" in capsys.readouterr().out


def quantity(*values):
    return {"mean": np.mean(values), "std": 0.004, "n": len(values), "values": list(values)}


def hand_made(protocol, **more):
    row = {
        "protocol": protocol, "seeds": [0, 1, 2, 3], "diverged": 0, "data_fingerprint": MIRROR,
        "validation_accuracy": quantity(0.536, 0.540, 0.540, 0.544),
        "test_accuracy": quantity(0.54, 0.545, 0.545, 0.55),
        "images": {"train": 45_000, "validation": 5_000, "test": 1_000 if protocol == "published" else 10_000},
        "report": dict(best_model.REPORT), **more,
    }  # fmt: skip
    if protocol == "published":
        row["validation_accuracy_evaluation_mode"] = quantity(0.543, 0.547, 0.551)
        row["test_accuracy_all_images"] = quantity(0.54, 0.543, 0.547)
        row["images"]["all_test"] = 10_000
    environment = {"data_fingerprint": MIRROR}
    return {"config": {"dataset": "cifar10"}, "environment": environment, "rows": [row]}


def test_findings():
    published = best_model.finding(hand_made("published"))
    assert "CIFAR-10 (JPEG mirror)" in published
    assert "54.0 ± 0.4 % on validation and 54.5 ± 0.4 % on 1,000 test images (4 seeds)" in published
    assert "54.7 ± 0.4 % on validation, and 54.3 ± 0.4 % on all 10,000 test images" in published
    assert "The report's 56.1 % on validation: not reproduced; its 56.4 % on test: reproduced." in published
    clean = best_model.finding(hand_made("clean", diverged=1))
    assert "10,000 test images (4 seeds, 1 diverged)" in clean
    assert "is 1.9 points below" in clean
    assert "report" not in best_model.finding(hand_made("clean", report=None))
    table = str(best_model.table(hand_made("published")))
    assert re.search(r"validation, training mode +\| 5,000 +\| 54.0 ± 0.4 \| 56.1", table)
    assert re.search(r"test, all images +\| 10,000 \| 54.3 ± 0.4 \| -", table)


def test_the_report_is_about_its_own_network():
    assert best_model.report(best_model.Config(dataset="cifar10")) == best_model.REPORT
    for other in ({}, {"dataset": "cifar10", "hidden": "50"}, {"dataset": "cifar10", "dropout": 0.1}):
        assert best_model.report(best_model.Config(**other)) is None


def test_mistakes_and_a_confusion_matrix_by_hand():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    labels = np.array([0, 0, 1, 1])
    found = learned.most_confident_mistakes(probabilities, labels)
    assert [(m["index"], m["true"], m["predicted"], m["probability"]) for m in found] == [
        (3, 1, 2, 0.8),
        (1, 0, 1, 0.7),
        (2, 1, 0, 0.6),
    ]
    svg = best_model.confusion_matrix([[3, 1], [0, 0]], ("cat", "dog"))
    assert all(text in svg for text in (">75<", ">25<", ">0<", ">cat<", ">dog<"))


def test_weights_become_the_pictures_that_they_weigh():
    """Inputs of a picture that is its own weights: either order of the pixels gives the picture back."""
    picture = synthetic().test_images[:1]
    for how in ("unit_range", "standardize"):
        rows = pixels.rows(picture, Scaling(how, np.full(1, 127.5), np.full(1, 127.5)))
        rows /= np.abs(rows).max()
        found = learned.weight_pictures(rows.T, (8, 8, 3), channels_first=how == "unit_range")
        wanted = 127.5 + (picture - 127.5) * (127.5 / np.abs(picture - 127.5).max())
        np.testing.assert_allclose(found, wanted, atol=0.51)
    assert (learned.weight_pictures(np.zeros((192, 1)), (8, 8, 3), channels_first=False) == 128).all()
    np.testing.assert_array_equal(learned.largest_units(np.array([[1.0, 3.0, -2.0]]), 2), [1, 2])


def test_the_mosaic_holds_every_picture():
    pictures = synthetic().test_images[:11]
    whole = learned.mosaic(pictures)
    assert whole.shape == (19, 73, 3)
    np.testing.assert_array_equal(whole[10:18, 19:27], pictures[10])


def test_weights_before_training_are_those_that_the_run_started_with(runs, monkeypatch):
    shown: list[np.ndarray] = []
    pictures = learned.weight_pictures

    def noted(w, *shape, **order):
        shown.append(w)
        return pictures(w, *shape, **order)

    monkeypatch.setattr(learned, "weight_pictures", noted)
    loaded = saved(runs)
    seed = loaded.about.seed
    learned.first_layer(loaded)
    init_key = jax.random.split(jax.random.key(seed), 3)[0]
    start = np.asarray(model.init(init_key, loaded.config)[0].w)
    units = learned.largest_units(np.asarray(loaded.params[0].w))
    np.testing.assert_array_equal(shown[0], start[:, units])
    np.testing.assert_array_equal(shown[1], np.asarray(loaded.params[0].w)[:, units])
