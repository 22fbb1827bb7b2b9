import tomllib
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from catalog.interpreters import INTERPRETERS
from catalog.libraries import known
from flows.cli.doctor import unmet

ROOT = Path(__file__).parents[3]


def test_what_an_engine_or_a_format_takes_is_installed_with_quantmill() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    brought = {"optimum", "tokenizers"}  # by optimum-intel and transformers, which pin them
    beside = set(INTERPRETERS)  # engines with packages of their own
    assert {canonicalize_name(name) for name in known() - brought - beside} <= declared


def test_a_package_that_is_absent_or_of_another_version_is_named_with_what_is_there() -> None:
    packages = list(unmet(["numpy", "numpy<1", "no-such-package>=2", 'no-such-package; extra == "dev"']))
    assert packages == [f"numpy<1 ({np.__version__} is installed)", "no-such-package>=2 (not installed)"]
