"""penstock keys DIR: makes a key folder."""

from pathlib import Path

from pipelines.tools.options import KeysOptions
from transforms.keys import MASTER, PRIVATE, PUBLIC, make, name_of


def run(options: KeysOptions) -> int:
    """Makes the folder and says what is in it. Raises Misconfigured where keys stand there already."""
    folder = Path(options.folder)
    make(folder)
    print(f"{folder / MASTER}   tokens and digests are derived from it; whoever holds it can make and reverse them")
    print(f"{folder / PUBLIC}   seals refused rows; its name is {name_of((folder / PUBLIC).read_bytes())}")
    print(f"{folder / PRIVATE}   opens them; keep it where jobs do not run")
    return 0
