"""penstock keys DIR: makes a key folder, and what a secret must hold for jobs on Dataflow."""

import os
from pathlib import Path

from pipelines.secret_keys import payload
from pipelines.tools.options import KeysOptions
from schemas.errors import Fault, Misconfigured
from transforms.keys import MASTER, PRIVATE, PUBLIC, make, name_of


def run(options: KeysOptions) -> int:
    """Makes the folder and says what is in it; with --secret, takes one that is there. Raises Misconfigured where keys stand there already."""
    folder = Path(options.folder)
    if options.secret and Path(options.secret).exists():
        raise Misconfigured([Fault(f"--secret={options.secret}", "is there already", "give another file; keys are never overwritten")])
    if not options.secret or not (folder / MASTER).exists():
        make(folder)
        print(f"{folder / MASTER}   tokens and digests are derived from it; whoever holds it can make and reverse them")
        print(f"{folder / PUBLIC}   seals refused rows; its name is {name_of((folder / PUBLIC).read_bytes())}")
        print(f"{folder / PRIVATE}   opens them; keep it where jobs do not run")
    if options.secret:
        _write(Path(options.secret), payload(folder))
        print(f"{options.secret}   the first two of them, for Secret Manager: gcloud secrets create penstock-keys --data-file={options.secret}")
        print("                and then delete that file; jobs take --keys=projects/PROJECT/secrets/penstock-keys/versions/1")
    return 0


def _write(path: Path, content: bytes) -> None:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    except OSError:
        raise Misconfigured([Fault(f"--secret={path}", "cannot be written", "give a new file in a folder of yours")]) from None
