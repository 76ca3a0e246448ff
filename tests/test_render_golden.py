"""feedd.render: golden files. A case is `golden/<name>.toml` (head, options, entries) and the feeds made of it.

To add one, write the .toml and run: the missing feeds are written beside it, the test fails once, and you read them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from test_render import reference

from feedd import model, render

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.stem for path in GOLDEN.glob("*.toml"))


def _image(fields: dict[str, Any]) -> model.Image:
    return model.Image(**fields)


def _provider(fields: dict[str, Any]) -> model.Provider:
    return model.Provider(**fields)


def _related(fields: dict[str, Any]) -> model.Related:
    return model.Related(**fields | {"provider": _provider(fields.get("provider", {}))})


def _entry(fields: dict[str, Any]) -> model.Entry:
    article = dict(fields["article"])
    built = {
        "provider": _provider(article.pop("provider", {})),
        "images": tuple(map(_image, article.pop("images", ()))),
        "related": tuple(map(_related, article.pop("related", ()))),
        "topics": tuple(article.pop("topics", ())),
        "levels": tuple(article.pop("levels", ())),
        "embed": model.Embed(**article.pop("embed")) if "embed" in article else None,
    }
    sources = tuple(model.Source(_provider(source["provider"]), source["url"]) for source in fields.get("sources", ()))
    return model.Entry(
        fields["id"], model.Article(**article, **built), fields["published_at"], fields["updated_us"], sources
    )


def _head(fields: dict[str, Any]) -> model.Head:
    fields = dict(fields)
    logo = _image(fields.pop("logo")) if "logo" in fields else None
    return model.Head(**fields | {"logo": logo, "hub_urls": tuple(fields.get("hub_urls", ()))})


def _load(case: str) -> tuple[model.Head, list[model.Entry], render.Options]:
    given = tomllib.loads((GOLDEN / f"{case}.toml").read_text(encoding="utf-8"))
    entries = [_entry(fields) for fields in given.get("entries", ())]
    return _head(given["head"]), entries, render.Options(**given.get("options", {}))


@pytest.mark.parametrize("fmt", model.FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_feed_is_the_golden_one(case: str, fmt: model.Format) -> None:
    head, entries, options = _load(case)
    document = render.document(head, [render.fragment(entry, fmt, options) for entry in entries], fmt)
    if fmt != "json":
        assert document == reference(head, entries, fmt, options)
    document = document.replace(render.VERSION.encode(), b"VERSION")
    golden = GOLDEN / f"{case}.{fmt}"
    if not golden.exists():
        golden.write_bytes(document)
        pytest.fail(f"{golden.name} was missing and is written: read it, and run again")
    assert document.decode() == golden.read_bytes().decode()
