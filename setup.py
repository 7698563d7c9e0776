"""One distribution, three packages. Versions are pinned by requirements.lock; here stand the ranges that must hold."""

from setuptools import find_packages, setup

setup(
    name="penstock",
    version="0.1.0",
    description="Events from Pub/Sub and files into tables: once each, de-identified, scored, with books that balance.",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["pipelines*", "transforms*", "schemas*"]),
    package_data={
        "pipelines": ["plan/*.json"],
        "schemas": ["*/contract.yaml", "*/*.avsc", "*/*.json", "*/*.ndjson", "*/*.onnx", "*/*.gz", "*/*.txt", "*/*.md"],
        "transforms": ["detectors/*.npz", "detectors/*.gz", "detectors/*.txt", "detectors/*.md"],
    },
    install_requires=[
        "apache-beam[gcp]==2.77.0",
        "google-cloud-dlp>=3.40,<4",
        "google-cloud-pubsub>=2",
        "google-cloud-bigquery>=3",
        "google-cloud-bigquery-storage>=2.43,<3",
        "google-cloud-storage>=3",
        "google-cloud-kms>=3",
        "google-cloud-secret-manager>=2",
        "google-cloud-dataflow-client",
        "google-cloud-resource-manager>=1",
        "google-crc32c>=1.5",
        "fastavro>=1.12,<2",
        "pyarrow>=25,<26",
        "orjson>=3.10,<4",
        "onnxruntime>=1.23,<2",
        "google-re2>=1.1",
        "cryptography>=45",
        "duckdb==1.5.5",
        "duckdb-extensions==1.5.5",
        "duckdb-extension-ducklake==1.5.5",
        "duckdb-extension-httpfs==1.5.5",
        "duckdb-extension-sqlite-scanner==1.5.5",
        "pyyaml>=6",
    ],
    entry_points={"console_scripts": ["penstock=pipelines.__main__:main"]},
)
