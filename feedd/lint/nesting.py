"""Start and end tags in order -> the parse errors that HTML5's tree construction has for them.

A model of WHATWG HTML 13.2.6.4 ("in body" and the table modes) that keeps names only: enough to know which tags are
stray, unclosed or closed out of order. Where a document has gone wrong once it may report more than a browser would.
"""

from __future__ import annotations

from feedd.lint.names import words

VOID = words("area base br col embed hr img input link meta param source track wbr")

_SCOPE = words("applet caption html table td th marquee object template")
_BUTTON_SCOPE = _SCOPE | {"button"}
_LIST_SCOPE = _SCOPE | {"ol", "ul"}
_TABLE_SCOPE = frozenset({"table", "template"})

_IMPLIED_END = words("dd dt li optgroup option p rp rt")
_HEADINGS = words("h1 h2 h3 h4 h5 h6")
_FORMATTING = words("a b big code em font i nobr s small strike strong tt u")
_BLOCKS = words(
    "address article aside blockquote button center details dialog dir div dl fieldset figcaption figure footer header "
    "hgroup listing main menu nav ol pre section summary ul form"
)
_CLOSES_P = (_BLOCKS - {"button", "dialog"}) | _HEADINGS | {"hr", "li", "dd", "dt", "p", "table", "plaintext", "xmp"}
_SPECIAL = (
    _BLOCKS
    | _HEADINGS
    | _SCOPE
    | VOID
    | words(
        "body caption colgroup dd dt frame frameset head iframe li noembed noframes noscript p plaintext script select "
        "style tbody tfoot th thead title tr textarea xmp"
    )
) - {"dialog"}

_ROW_GROUPS = frozenset({"tbody", "thead", "tfoot"})
_CELLS = frozenset({"td", "th"})
_TABLE_PARTS = _ROW_GROUPS | _CELLS | {"tr", "caption", "col", "colgroup"}
TABLE_CONTEXTS = _ROW_GROUPS | {"table", "tr", "colgroup"}
"""Elements that hold no text of their own."""

_OPEN_AT_END = words("dd dt li p tbody td tfoot th thead tr")


def open_tag(stack: list[str], name: str) -> str:
    """Open `name` below `stack`, which changes. What is wrong with that, or ""."""
    if name in _TABLE_PARTS:
        return _open_table_part(stack, name)
    problem = ""
    top = stack[-1] if stack else ""
    if top == "colgroup":
        top = stack.pop() and stack[-1]
    if top in TABLE_CONTEXTS:
        problem = f"<{name}> directly in <{top}>"
    elif "select" in stack and name not in ("option", "optgroup"):
        problem = f"<{name}> within <select>"
    elif name == "li":
        problem = _close_item(stack, {"li"})
    elif name in ("dd", "dt"):
        problem = _close_item(stack, {"dd", "dt"})
    elif name in ("option", "optgroup") and top == "option":
        stack.pop()
    elif name in ("rp", "rt") and _in_scope(stack, {"ruby"}, _SCOPE):
        _close_implied(stack, "")
        problem = "" if stack[-1] == "ruby" else f"<{name}> below <{stack[-1]}>"
    elif (name in ("a", "form") and name in stack) or (name in ("button", "nobr") and _in_scope(stack, {name}, _SCOPE)):
        problem = f"<{name}> within <{name}>"
    if name in _CLOSES_P and _in_scope(stack, {"p"}, _BUTTON_SCOPE):
        problem = problem or _close_to(stack, {"p"}, "p")
        if name in _HEADINGS:
            top = stack[-1] if stack else ""
    if name in _HEADINGS and top in _HEADINGS:
        problem = f"<{name}> within <{stack.pop()}>"
    if name not in VOID:
        stack.append(name)
    return problem


def close_tag(stack: list[str], name: str) -> str:
    """Close `name` in `stack`, which changes. What is wrong with that, or ""."""
    if stack and stack[-1] == name:
        stack.pop()
        return ""
    stray = f"stray </{name}>"
    if name in VOID:
        return stray
    if name in _TABLE_PARTS or name == "table":
        return _close_table_part(stack, name)
    if name in _FORMATTING:
        if name not in stack:
            return stray
        return _close_to(stack, {name}, "")
    if name == "li":
        return _close_to(stack, {"li"}, "li") if _in_scope(stack, {"li"}, _LIST_SCOPE) else stray
    if name == "p":
        return _close_to(stack, {"p"}, "p") if _in_scope(stack, {"p"}, _BUTTON_SCOPE) else stray
    if name in _HEADINGS:
        if not _in_scope(stack, _HEADINGS, _SCOPE):
            return stray
        _close_implied(stack, "")
        another = stack[-1] if stack[-1] != name else ""
        return _close_to(stack, _HEADINGS, "") or (another and f"</{name}> closes <{another}>")
    if name in _BLOCKS or name in ("dd", "dt"):
        return _close_to(stack, {name}, name) if _in_scope(stack, {name}, _SCOPE) else stray
    for open_name in reversed(stack):
        if open_name == name:
            return _close_to(stack, {name}, name)
        if open_name in _SPECIAL:
            break
    return stray


def end_of_text(stack: list[str]) -> str:
    """What the end of the text leaves open that must be closed, or ""."""
    left = next((name for name in stack if name not in _OPEN_AT_END), "")
    return f"<{left}> is never closed" if left else ""


def _in_scope(stack: list[str], targets: frozenset[str] | set[str], scope: frozenset[str]) -> bool:
    for name in reversed(stack):
        if name in targets:
            return True
        if name in scope:
            return False
    return False


def _close_implied(stack: list[str], but: str) -> None:
    while stack and stack[-1] in _IMPLIED_END and stack[-1] != but:
        stack.pop()


def _close_to(stack: list[str], targets: frozenset[str] | set[str], implied_but: str) -> str:
    """Pop up to and with the first of `targets`, which is there. Ends that HTML does not imply are a problem."""
    if implied_but:
        _close_implied(stack, implied_but)
    problem = "" if stack[-1] in targets else f"<{stack[-1]}> is open where <{'/'.join(sorted(targets))}> ends"
    while stack.pop() not in targets:
        pass
    return problem


def _close_item(stack: list[str], items: set[str]) -> str:
    for name in reversed(stack):
        if name in items:
            return _close_to(stack, {name}, name)
        if name in _SPECIAL and name not in ("address", "div", "p"):
            break
    return ""


def _open_table_part(stack: list[str], name: str) -> str:
    """caption, colgroup, col, row groups, rows and cells: each closes what cannot hold it."""
    if not _in_scope(stack, {"table"}, frozenset({"template"})):
        return f"<{name}> outside <table>"
    problem = ""
    holders = {"table"} if name in _ROW_GROUPS | {"caption", "colgroup"} else set(_ROW_GROUPS)
    holders = {"tr"} if name in _CELLS else {"colgroup"} if name == "col" else holders
    inner = next((open_name for open_name in reversed(stack) if open_name in _CELLS | {"caption", "table"}), "")
    if inner != "table":
        problem = _close_to(stack, {inner}, inner)
    while stack[-1] not in holders and stack[-1] != "table":
        if stack[-1] not in TABLE_CONTEXTS:
            problem = f"<{name}> below <{stack[-1]}>"
        elif name in _CELLS and stack[-1] in _ROW_GROUPS:
            break
        stack.pop()
    if name in _CELLS and stack[-1] != "tr":
        problem = problem or f"<{name}> outside <tr>"
        stack.extend(["tbody", "tr"] if stack[-1] == "table" else ["tr"])
    elif name == "tr" and stack[-1] == "table":
        stack.append("tbody")
    elif name == "col" and stack[-1] == "table":
        stack.append("colgroup")
    if name != "col":
        stack.append(name)
    return problem


def _close_table_part(stack: list[str], name: str) -> str:
    if not _in_scope(stack, {name}, _TABLE_SCOPE):
        return f"stray </{name}>"
    problem = ""
    while stack[-1] != name:
        _close_implied(stack, name)
        if stack[-1] not in TABLE_CONTEXTS | _CELLS | {name} or (name in _CELLS and stack[-1] != name):
            problem = f"<{stack[-1]}> is open where <{name}> ends"
        if stack[-1] != name:
            stack.pop()
    stack.pop()
    return problem
