"""A status and a sentence -> the page that tells people so, in the style of the site and with the way back to it.

Pure; each page is made once and then sent as it is, for anybody can ask for what is not there. Knows nothing of the
site: ways are relative, as on all pages, so that they lead right behind any proxy. Called by `http` and `status`.
"""

from __future__ import annotations

from functools import lru_cache
from html import escape

POLICY = (
    b"default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DEEPEST = 16  # folders; addresses that are deeper are nobody's, and lead to the top of the host
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="{root}feedd.css">
<link rel="icon" href="data:,">
</head>
<body>
<header class="page bar">
<nav aria-label="Site"><a href="{root}index.html"><span aria-hidden="true">← </span>All feeds</a></nav>
</header>
<main>
<div class="head">
<h1>{title}</h1>
<p class="lead">{said}</p>
<p class="about"><a href="{root}index.html#search">Find a feed</a></p>
</div>
</main>
</body>
</html>
"""


def page(title: str, said: str, path: str) -> bytes:
    """The page, UTF-8. `path`: the raw one of the request."""
    depth = path.count("/") - 1
    return _page(title, said, "../" * depth if 0 <= depth <= _DEEPEST else "/")


@lru_cache(maxsize=128)
def _page(title: str, said: str, root: str) -> bytes:
    return _PAGE.format(title=escape(title), said=escape(said), root=root).encode(errors="replace")
