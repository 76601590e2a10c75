"""The installed package equals the checkout, and importing it loads no large library."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import recbole_lcrec
from recbole_lcrec.config.resources import properties_dir

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "recbole_lcrec", "properties", "constraints")
HEAVY = ("torch", "transformers", "deepspeed", "recbole")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, made from a copy of the checkout and unpacked."""
    copy, archive = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("archive")
    for name in PACKAGED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    run_setup(copy, "sdist", "--dist-dir", str(archive))
    (path,) = archive.glob("*.tar.gz")
    with tarfile.open(path) as tar:
        tar.extractall(archive, filter="data")
    (folder,) = (path for path in archive.iterdir() if path.is_dir())
    return folder


def run_setup(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "setup.py", "-q", *arguments], cwd=folder, check=True, capture_output=True)


def requirements_of(unpacked: Path) -> list[Requirement]:
    info = Parser().parsestr((unpacked / "PKG-INFO").read_text(encoding="utf-8"))
    return [Requirement(line) for line in info.get_all("Requires-Dist", [])]


def test_the_source_distribution_builds_code_and_properties(unpacked: Path, tmp_path: Path) -> None:
    run_setup(unpacked, "build_py", "--build-lib", str(tmp_path))
    built = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "recbole_lcrec").rglob("*.py")}
    settings = {
        path.relative_to(ROOT) for path in (ROOT / "properties").rglob("*") if path.suffix in {".yaml", ".json"}
    }
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "recbole_lcrec").rglob("*.jinja")}
    others = {"recbole_lcrec/py.typed", *pages}
    assert built == code | {f"recbole_lcrec/{path}" for path in settings} | others
    for path in settings:
        assert (tmp_path / "recbole_lcrec" / path).read_bytes() == (ROOT / path).read_bytes()
    assert properties_dir(tmp_path / "recbole_lcrec") == tmp_path / "recbole_lcrec" / "properties"


def test_property_files_of_a_checkout_are_found() -> None:
    assert properties_dir(ROOT / "recbole_lcrec") == ROOT / "properties"


def test_missing_property_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="property files of recbole_lcrec are in neither"):
        properties_dir(tmp_path / "recbole_lcrec")


def test_versions_agree(unpacked: Path) -> None:
    info = Parser().parsestr((unpacked / "PKG-INFO").read_text(encoding="utf-8"))
    assert (info["Name"], info["Version"]) == ("recbole-lcrec", recbole_lcrec.__version__)
    assert set(info["Requires-Python"].split(",")) == {">=3.11", "<3.13"}


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "constraints" / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pairs}


@pytest.mark.parametrize("name", ["py311.txt", "latest.txt"])
def test_every_requirement_is_pinned_within_its_range(unpacked: Path, name: str) -> None:
    pinned = pins(name)
    needed = [requirement for requirement in requirements_of(unpacked) if requirement.marker is None]
    assert len(needed) > 10
    for requirement in needed:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    assert pinned["torch"] == "2.13.0"


def test_the_list_without_ray_has_all_other_requirements(unpacked: Path) -> None:
    own = [requirement for requirement in requirements_of(unpacked) if requirement.marker is None]
    recbole = [Requirement(line) for line in metadata.requires("recbole") or [] if "extra" not in line]
    needed = {canonicalize_name(requirement.name) for requirement in own + recbole} - {"ray", "recbole"}
    lines = (ROOT / "constraints" / "without-ray.txt").read_text().splitlines()
    listed = [canonicalize_name(line) for line in lines if not line.startswith("#")]
    assert sorted(needed) == listed
    assert needed <= set(pins("latest.txt"))


def test_the_extra_gpu_takes_faiss_for_gpus(unpacked: Path) -> None:
    requirements = requirements_of(unpacked)
    assert "faiss-cpu" in {requirement.name for requirement in requirements if requirement.marker is None}
    assert "faiss-gpu" in {
        requirement.name
        for requirement in requirements
        if requirement.marker and requirement.marker.evaluate({"extra": "gpu"})
    }


@pytest.mark.parametrize(
    "code",
    [
        "import recbole_lcrec; dir(recbole_lcrec)",
        "import runpy; sys.argv = ['run_recbole_lcrec.py', '--help']; runpy.run_path(sys.argv[0], run_name='__main__')",
    ],
    ids=["import", "help"],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    report = f"import atexit, sys; atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules]))\n"
    run = subprocess.run([sys.executable, "-c", report + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.rstrip().endswith("[]")


def test_no_rule_names_a_package_host() -> None:
    files = [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "constraints").iterdir()]
    for path in files:
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", path.read_text()), path
