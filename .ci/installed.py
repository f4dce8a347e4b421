"""What an ordinary installation has to hold; runs outside of the checkout."""

import importlib.resources
import shutil

from jdarts.config import config_names, load_config
from jdarts.ops import native

assert "site-packages" in native.__file__, native.__file__
assert config_names() and all(load_config(name) for name in config_names())
for name in ("report.css", "page.html", "blocks.html"):
    assert (importlib.resources.files("jdarts.reports") / name).is_file(), name
compiler = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
assert native.available() == compiler
