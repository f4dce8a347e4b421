"""``python -m jdarts.methods``: the table of search methods."""

from jdarts.methods import method_table

if __name__ == "__main__":
    print(method_table())
