"""``python -m jdarts.methods``: the table of search methods."""

import sys

from jdarts.entry import start

if __name__ == "__main__":
    sys.exit(start("methods", sys.argv[1:]))

from jdarts.errors import UserError
from jdarts.methods import method_table


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit status."""
    if set(arguments) & {"--help", "-h"}:
        print("usage: jdarts methods\n\nPrints the table of search methods (Markdown).")
    elif arguments:
        raise UserError(f"command line: '{arguments[0]}'; expected nothing here")
    else:
        print(method_table())
    return 0
