"""The JSON of the status -> its description in OpenAPI 3.1, from the types of `overview`. Called by `status`."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from feedd.web import linkpages, overview

_LIMIT = {
    "name": "limit", "in": "query", "description": "How many rows, at most.",
    "schema": {"type": "integer", "minimum": 1, "maximum": overview.MOST, "default": overview.SHOWN},
}
_AFTER = {
    "name": "after", "in": "query", "description": "The `next` of the page before.",
    "schema": {"type": "string", "default": ""},
}
_ANSWERS: dict[str, tuple[type, str, list[dict[str, Any]]]] = {
    "/-/status.json": (overview.Summary, "What is running, and how much there is of everything", []),
    "/-/problems.json": (overview.ProblemPage, "Files that cannot be used, by path", [_LIMIT, _AFTER]),
    "/-/feeds.json": (overview.FeedPage, "Feeds with their sizes and subscribers, by path", [_LIMIT, _AFTER]),
    "/-/hubs.json": (overview.HubPage, "WebSub hubs, and what they would not hear, oldest first", [_LIMIT]),
    "/-/changes.json": (overview.ChangePage, "The last changes that readers saw, newest first", [_LIMIT]),
    **linkpages.described(_LIMIT),
}


class Refusal(msgspec.Struct, frozen=True):
    """Why a request was not answered."""

    error: str


@cache
def document() -> dict[str, Any]:
    """The whole description."""
    types = [*(answer for answer, _, _ in _ANSWERS.values()), Refusal]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    refused = {"content": {"application/json": {"schema": schemas[-1]}}}
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    paths: dict[str, Any] = {}
    for (path, (_, summary, parameters)), schema in zip(_ANSWERS.items(), schemas, strict=False):
        answers: dict[str, Any] = {
            "200": {"description": "Found.", "content": {"application/json": {"schema": schema}}},
            "401": {"description": "The token is needed.", **text},
            "503": {"description": "The state cannot be read now.", **refused},
        }
        if parameters:
            answers["400"] = {"description": "The query cannot be understood.", **refused}
        if path in linkpages.PATHS:
            answers["404"] = {"description": "There is none, or links are not checked.", **refused}
        paths[path] = {"get": {"summary": summary, "parameters": parameters, "responses": answers}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Status of feedd", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"}, "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    }
