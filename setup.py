"""Metadata of the distribution `amflow-mm`; the tables of tools stand in pyproject.toml."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Read the requirements of one file, without comments and references to other files."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    stripped = (line.partition(" #")[0].strip() for line in lines)
    return [line for line in stripped if line and not line.startswith(("#", "-"))]


def version() -> str:
    """Read the version from the package without importing it."""
    source = (ROOT / "amflow_mm" / "__init__.py").read_text(encoding="utf-8")
    return source.partition('__version__ = "')[2].partition('"')[0]


# Configs and tools stand at the top of a checkout and inside the package in a wheel.
resources = find_namespace_packages(
    str(ROOT), include=["configs*", "tools*"], exclude=["*.__pycache__"]
)

setup(
    name="amflow-mm",
    version=version(),
    description="AM Flow: frozen image transformers that see motion, on MMAction2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="action recognition, video understanding, adapters, vision transformer, mmaction2",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10,<3.13",
    packages=[
        *find_packages(str(ROOT), include=["amflow_mm", "amflow_mm.*"]),
        *(f"amflow_mm.{name}" for name in resources),
    ],
    package_dir={"amflow_mm.configs": "configs", "amflow_mm.tools": "tools"},
    package_data={"": ["py.typed", "*.md", "*.sh"]},
    # mmcv-lite is missing here on purpose: it shares its folder with mmcv, which a user may have.
    install_requires=requirements("runtime"),
    extras_require={"optional": requirements("optional"), "tests": requirements("tests")},
    zip_safe=False,
)
