"""What users are told of their mistakes: `messages.txt`, which `python -m tests.messages` writes anew."""

import contextlib
import importlib
import io
import os
import re
import shlex
import shutil
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib

from mlp_jax.files import cache_folder
from mlp_jax.gradcheck.witness import trusted_witness
from tests import bad_data, bad_files, wrong_options
from tests.commands import Done, Server

FILE = Path(__file__).with_name("messages.txt")
GENERATED, FLAGS, FILES = "made from the options", "found before anything is read", "reads or writes"
LONGEST = 200  # of a line that is kept
FONTS = matplotlib.get_cachedir()  # to look for fonts anew takes a second
MAKERS = {**vars(bad_files), **vars(bad_data)}


def told() -> dict[str, dict[str, str]]:
    """By the words of its title, each part of the file: commands with the line that they print."""
    parts: dict[str, dict[str, str]] = {}
    command = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("== "):
            part = parts[next(words for words in (GENERATED, FLAGS, FILES) if words in line)] = {}
        elif line.startswith("    "):
            part[command] = line.strip()
        elif line and not line.startswith("#"):
            command = line
            part[command] = ""
    return parts


def place(folder: Path) -> Path:
    """The folder in which a command starts, with earlier results in it."""
    place = folder / "place"
    for name in ("depth_study", "best_model"):
        (place / "results" / name).mkdir(parents=True)
        (place / "results" / name / "results.json").write_text('{"kept": "as it is"}')
    return place


def environment(folder: Path) -> dict[str, str]:
    """Of a command: data sets and caches are nowhere but in its folder."""
    own = {"TFDS_DATA_DIR": str(folder / "nowhere"), "XDG_CACHE_HOME": str(folder / "cache")}
    own["JAX_NUM_CPU_DEVICES"] = "8"
    return {**os.environ, **own, "MPLCONFIGDIR": FONTS}


def words(command: str, folder: Path) -> list[str]:
    """The script and its arguments; files that the command names are made."""
    names = {name for _, name, *_ in string.Formatter().parse(command) if name}
    made = {name: "x" * 300 if name == "long_name" else MAKERS[name](folder) for name in names}
    return shlex.split(command.format(**made))


def without_data(script: str, *arguments: str) -> list[str]:
    """The words, with a data set that is not there: who looked for it before looking at them would say so."""
    chosen = script in ("predict", "compare_results") or any("--dataset" in argument for argument in arguments)
    return [script, *arguments] if chosen else [script, "--dataset=cifar10", *arguments]


def here(words: list[str]) -> Done:
    """What the script's `main` says in this process and folder, without data."""
    script, *arguments = without_data(*words)
    main = importlib.import_module(f"experiments.{script}").main
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(arguments)
    return Done(status, out.getvalue(), err.getvalue())


def run(server: Server, words: list[str], folder: Path) -> Done:
    """What the script says with these arguments as a process that starts in this folder.

    That jax.grad is right, which takes seconds, this process finds out for all.
    """
    trusted_witness()
    found = folder / "cache" / "mlp_jax"
    for path in cache_folder().glob("witness-*"):
        if path.parent != found:
            found.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, found)
    done: Done = server.run(*words, folder=folder, environment=environment(folder))
    return done


def own_words(line: str, folder: Path) -> str:
    """The line without what differs from place to place, and from one version of a library to the next."""
    line = line.removesuffix("\n").replace(str(folder), ".")
    line = re.sub(r"\((BadGzipFile|ReadError|EOFError|URLError): .*?\)+(?=:)|(SyntaxError): .*", r"(\1\2)", line)
    line = re.sub(r"cannot be decoded \((?!its ).*\)|(?<=safetensors file )\(.*\)", "(...)", line)
    line = re.sub(r"\b[0-9a-f]{12,}\b|0x[0-9a-f]+", "...", line)
    line = re.sub(r"(x{9})x+", r"\1", line)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def sentence(option: str, value: str, line: str) -> str:
    """The line with NAME for the option and VALUE for its value, so that one stands for all that say the same."""
    one = re.sub("ies$", "y", option) if option.endswith("ies") else option.removesuffix("s")
    line = re.sub(rf"(?<!\w)({option}|{one})(?!\w)", "NAME", line.removesuffix("\n"))
    last = re.escape(value.rpartition(",")[2])  # of a list
    number = rf"(?<=not ){last}(\.0)?$"
    return re.sub(rf"{number}|'{last}'|'{re.escape(value)}'|(?<=NAME=){re.escape(value)}", "VALUE", line)


def kinds() -> Iterator[tuple[str, str]]:
    """Each sentence with the first command that gets it."""
    seen = set()
    for option, value, command in wrong_options.commands():
        found = sentence(option, value, here(shlex.split(command)).err)
        if found not in seen:
            seen.add(found)
            yield command, found


def main() -> None:
    """Writes the file anew, for the commands that are in it."""
    lines, known = [], told()
    with Server() as server, tempfile.TemporaryDirectory() as root, contextlib.chdir(root):
        os.environ |= {"TFDS_DATA_DIR": "nowhere", "JAX_NUM_CPU_DEVICES": "8"}
        for text in FILE.read_text(encoding="utf-8").splitlines():
            if text.startswith(("#", "==")):
                lines += [*([""] if text.startswith("==") else []), text, *([""] if text.startswith("==") else [])]
            if text.startswith("==") and GENERATED in text:
                lines += [part for command, line in kinds() for part in (command, f"    {line}")]
            for part in (FLAGS, FILES):
                if text.startswith("==") and part in text:
                    for number, command in enumerate(known[part]):
                        folder = place(Path(root) / f"{number}{part[0]}")
                        given = words(command, folder)
                        done = run(server, given if part == FILES else without_data(*given), folder)
                        lines += [command, f"    {own_words(done.err, folder)}"]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
