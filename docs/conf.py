"""How Sphinx builds the documentation; .ci/docs calls it. The reference comes from the program: see _ext/."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from feedd import __version__  # noqa: E402 # sys.path first

project = "feedd"
author = "the feedd project"
version = release = __version__
extensions = ["myst_parser", "feedd_reference"]
exclude_patterns = ["_ext"]
nitpicky = True
smartquotes = False  # --dry-run has two hyphens

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # [text](page.md#a-heading), checked while it is built

html_theme = "pydata_sphinx_theme"
html_title = "feedd"
html_static_path = ["_static"]
html_css_files = ["feedd.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars: dict[str, list[str]] = {"index": [], "changelog": [], "contributing": []}
html_theme_options = {
    "logo": {"text": "feedd"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 1,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
    "back_to_top_button": False,
}
