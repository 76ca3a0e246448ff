"""Imports run one way: core <- adapters <- services <- edges; and what is heavy is known to one module alone."""

from __future__ import annotations

import ast
from pathlib import Path

import feedd

PACKAGE = Path(feedd.__file__).parent
LAYERS = {
    "core": {
        "errors", "model", "frontmatter", "yamldata", "text", "html", "parse", "plan", "site", "render", "lint",
        "pages", "guard", "retry", "freshness", "silence", "troubles",
    },
    "adapters": {"files", "outputs", "ownership", "store", "connect", "fetch", "unpack", "wire"},
    "services": {
        "poll", "settle", "inotify", "watch", "intake", "identity", "stories", "ingest", "rebuild", "bulk", "pool",
        "inline", "catalog", "inventory", "stamps", "custody", "scan", "journal", "publish", "preview",
        "schedule", "notify", "hub", "background", "spawn", "verdicts", "linkcheck", "alerts",
        "meters", "pulse", "reconfigure", "backup", "portable", "verify", "repair",
    },
    "edges": {
        "config", "initialise", "logs", "web", "daemon", "cli", "doctor", "service", "__main__", "__init__",
    },
}
ONLY_IN = {  # third-party package -> the modules that may know it
    "apscheduler": {"schedule"}, "watchdog": {"inotify"}, "feedgen": {"render"}, "yaml": {"yamldata", "frontmatter"},
    "sqlite3": {"store", "preview", "daemon", "hub", "linkcheck", "doctor"},
    "pydantic": {"config", "initialise"}, "click": {"cli"},
    "rich": {"cli"}, "brotli": {"rebuild", "unpack", "verify"}, "isal": {"rebuild"}, "nh3": {"html"},
    "markdown_it": {"html"}, "ftfy": {"text"}, "jinja2": {"pages", "web"}, "protego": {"linkcheck"},
    "aiohttp": {"alerts", "connect", "fetch", "notify", "hub", "wire"}, "prometheus_client": {"web"},
    "uvicorn": {"web"}, "httptools": {"web", "wire"}, "starlette": {"web"},
}


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports() -> dict[str, set[str]]:
    """Module of ours -> everything it imports: ours by their bare names, others by their package."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = found.setdefault(module_of(path), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module == "feedd":
                names |= {f"feedd.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
    return {
        module: {name.split(".")[1] if name.startswith("feedd.") else "/" + name.split(".")[0] for name in names}
        for module, names in found.items()
    }


def test_imports_run_one_way() -> None:
    order = list(LAYERS.values())
    level = {module: number for number, modules in enumerate(order) for module in modules}
    found = imports()
    assert found.keys() == level.keys()
    wrong = [
        f"{module} imports {other}"
        for module, others in found.items() for other in others
        if other in level and level[other] > level[module]
    ]
    assert wrong == []


def test_what_is_heavy_is_known_where_it_is_used_and_nowhere_else() -> None:
    wrong = [
        f"{module} imports {package}"
        for module, others in imports().items() for package, allowed in ONLY_IN.items()
        if "/" + package in others and module not in allowed
    ]
    assert wrong == []
