"""The configuration's model, the commands, the status's types -> the Markdown of the reference, while it is built.

A page says where by a line `<!-- feedd: NAME -->`; nothing is written to disk, so nothing can go stale. A sentence that
is missing in the program is an error here, and with it the build's. Loaded by conf.py; tests call the functions.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import click
from pydantic.fields import FieldInfo
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from feedd import cli
from feedd.config.keys import Config, Table, below, extra
from feedd.config.values import toml

PLACE = re.compile(r"^<!-- feedd: ([a-z-]+) -->$", re.MULTILINE)


# --- config.toml -----------------------------------------------------------------------------------------------------


def configuration() -> str:
    """A section for each table of config.toml, and in it each key with its type, default and meaning."""
    return "\n".join(_tables(Config, ""))


def _tables(table: type[Table], name: str) -> Iterator[str]:
    """What is in a table, first its own keys; `name` is dotted, with `<name>` for a name of the user's choice."""
    inner: list[tuple[str, FieldInfo, type[Table], bool]] = []
    for key, field in table.model_fields.items():
        dotted = f"{name}.{key}" if name else key
        inside, named = below(field)
        if inside is None:
            yield _key(dotted, field)
        else:
            inner.append((dotted, field, inside, named))
    spelled: dict[type[Table], str] = {}
    for dotted, field, inside, named in inner:
        head = f"{dotted}.<name>" if named else dotted
        yield f"{'###' if named else '##'} `[{head}]`\n\n{_sentence(dotted, field)}\n"
        if named:
            yield f"Written as `[{dotted}.{extra(field)['example']}]`.\n"
        if inside in spelled:
            yield f"Its keys are those of `[{spelled[inside]}]`.\n"
        else:
            spelled[inside] = head
            yield from _tables(inside, head)


def _key(dotted: str, field: FieldInfo) -> str:
    more = extra(field)
    default = plain(more["otherwise"])
    if not default:
        default = "none" if field.default in (None, "", (), {}) else f"`{toml(field.default)}`"
    lines = [
        f"```{{confval}} {dotted}", f":type: {plain(more['allowed'])}", f":default: {default}", "",
        _sentence(dotted, field),
    ]
    if more["example"] is not None:
        lines.append(f"Example: `{dotted.rpartition('.')[2]} = {toml(more['example'])}`")
    return "\n".join([*lines, "```", ""])


def _sentence(what: str, field: FieldInfo) -> str:
    if not (field.description and extra(field).get("allowed")):
        raise ExtensionError(f"config.toml: {what} has no line that says what it means and what it may be")
    return as_sentence(field.description)


# --- the command line ------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section for each command: usage, what it does, its options."""
    return "\n".join(
        text for path, command in walk(cli.cli, ("feedd",)) for text in _command(" ".join(path), command, len(path))
    )


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, each with its words."""
    yield path, command
    if isinstance(command, click.Group):
        for name, each in sorted(command.commands.items()):
            if not each.hidden:
                yield from walk(each, (*path, name))


def _command(words: str, command: click.Command, depth: int) -> Iterator[str]:
    if not command.help:
        raise ExtensionError(f"{words} has no help")
    yield f"({words.replace(' ', '-')})=\n{'#' * min(depth + 1, 3)} `{words}`\n"
    usage = command.get_usage(click.Context(command, info_name=words)).removeprefix("Usage: ")
    yield f"```text\n{usage}\n```\n\n{help_text(command.help)}\n\n```{{program}} {words}\n```\n"
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            if not option.help:
                raise ExtensionError(f"{words} {option.opts[0]} has no help")
            yield f"```{{option}} {_spelling(option)}\n{plain(as_sentence(option.help))}{_default(option)}\n```\n"


def _spelling(option: click.Option) -> str:
    value = "" if option.is_flag or option.count else " " + option.make_metavar(click.Context(cli.cli))
    return ", ".join(name + value for name in (*option.opts, *option.secondary_opts))


def _default(option: click.Option) -> str:
    return f" Default: `{option.default}`." if option.show_default and option.default is not None else ""


def help_text(text: str) -> str:
    """click's help as Markdown; a paragraph after \\b keeps its lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```text\n{inspect.cleandoc(each.removeprefix(chr(8)))}\n```" if each.startswith("\b") else plain(each)
        for each in paragraphs
    )


def exit_codes() -> str:
    """The exit codes as `feedd --help` says them, as a table."""
    rows = re.findall(r"^ *(\d+) +(.+)$", cli.EXIT_CODES, re.MULTILINE)
    return "| code | meaning |\n|---:|---|\n" + "".join(f"| {code} | {plain(meaning)} |\n" for code, meaning in rows)


# --- the status as JSON ----------------------------------------------------------------------------------------------


def status() -> str:
    """Each answer below /-/ and each kind of object in them, from the description that feedd itself serves."""
    from feedd.web import openapi

    document = openapi.document()
    lines = ["| address | answer | query |", "|---|---|---|"]
    for path, methods in document["paths"].items():
        found = methods["get"]
        answer = _type(found["responses"]["200"]["content"]["application/json"]["schema"])
        query = ", ".join(f"`{each['name']}`" for each in found["parameters"]) or "none"
        lines.append(f"| `{path}` | {plain(found['summary'])}: {answer} | {query} |")
    for name, schema in document["components"]["schemas"].items():
        lines += ["", f"## {name}", "", plain(" ".join(schema.get("description", "").split())), ""]
        lines += ["| field | type |", "|---|---|"]
        lines += [f"| `{field}` | {_type(of)} |" for field, of in schema.get("properties", {}).items()]
    return "\n".join(lines) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if isinstance(schema.get("items"), dict) else "list"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
    kind = str(schema.get("type", "anything"))
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)


# --- metrics ---------------------------------------------------------------------------------------------------------

_KINDS = {
    "_gauge": ("gauge", ""), "_gauges": ("gauge", ""), "_histogram": ("histogram", ""),
    "_counters": ("counter", "_total"), "CounterMetricFamily": ("counter", "_total"),
    "InfoMetricFamily": ("info", "_info"),
}


def metrics() -> str:
    """Each metric with its kind, labels and meaning, as the calls in feedd.web.metrics that make them have it."""
    from feedd.web import metrics as module

    rows = ["| metric | kind | label | meaning |", "|---|---|---|---|"]
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _KINDS):
            continue
        texts = [each.value for each in call.args[:3] if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if len(texts) < 2:
            continue  # inside of a helper, which has the name from its caller
        kind, suffix = _KINDS[call.func.id]
        label = f"`{texts[2]}`" if len(texts) > 2 else ""
        rows.append(f"| `{texts[0]}{suffix}` | {kind} | {label} | {plain(texts[1])} |")
    if len(rows) < 10:
        raise ExtensionError("feedd.web.metrics makes its metrics in another way than this module knows")
    return "\n".join([*rows[:2], *sorted(rows[2:])]) + "\n"


# --- Sphinx ----------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text of the program as Markdown that shows it as it is; what stands between backticks stays code."""
    return re.sub(r"(`[^`]*`)|([\\*<\[|])", lambda found: found[1] or "\\" + found[2], text)


def as_sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


PARTS: dict[str, Callable[[], str]] = {
    "configuration": configuration, "commands": commands, "exit-codes": exit_codes, "status": status,
    "metrics": metrics,
}


def _fill(_app: Sphinx, docname: str, source: list[str]) -> None:
    def part(found: re.Match[str]) -> str:
        if found[1] not in PARTS:
            raise ExtensionError(f"{docname}: there is no part {found[1]}")
        return PARTS[found[1]]()

    source[0] = PLACE.sub(part, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
