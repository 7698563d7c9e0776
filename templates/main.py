"""What the launcher of a Flex Template runs: the job that the image names, with the launcher's flags. Nothing is pickled from here."""

import os
import sys

from pipelines.__main__ import main

if __name__ == "__main__":
    sys.exit(main([os.environ.get("PENSTOCK_JOB", ""), *sys.argv[1:]]))
