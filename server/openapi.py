"""The OpenAPI 3.1 document and `docs/api.md`, both from the endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from server.endpoint import Endpoint
from server.envelope import Envelope, envelope_of

VERSION = "0.1.0"
REF = "#/components/schemas/{model}"
DESCRIPTIONS = {
    400: "Not understood: the message names the field, what it was and what is allowed",
    401: "The API key is missing or wrong",
    403: "A page of this origin may not call the server",
    404: "The session, avatar, voice or recording does not exist",
    405: "The path does not take this method",
    409: "The state of the session does not allow it",
    413: "More bytes, seconds or characters than allowed",
    416: "The range lies outside the file",
    422: "Understood, but it cannot be used (no speech in the text, no audio in the file, no media in the SDP)",
    429: "A limit is reached for now; Retry-After says when to try again",
    502: "A service or engine that was asked failed",
    503: "A capacity, service or model that is needed is not there; Retry-After says when to try again",
}
SENTENCE = {"type": "string", "description": "A sentence that helps"}
CODE = {"type": "string", "description": "By what programs tell failures apart"}
FAILURES: dict[Envelope, dict[str, Any]] = {
    "livetalking": {
        "type": "object",
        "required": ["code", "msg"],
        "properties": {"code": {"const": -1}, "msg": SENTENCE},
    },
    "library": {
        "type": "object",
        "required": ["success", "data", "message", "error"],
        "properties": {
            "success": {"const": False},
            "data": {"type": "null"},
            "message": SENTENCE,
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": CODE, "message": SENTENCE, "details": {"type": "object"}},
            },
        },
    },
    "openai": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "code"],
                "properties": {"message": SENTENCE, "type": {"type": "string"}, "code": CODE},
            }
        },
    },
}
FAILURE_NAMES: dict[Envelope, str] = {
    "livetalking": "Failure",
    "library": "LibraryFailure",
    "openai": "OpenAIFailure",
}
SUCCESSES = {200: "Done", 201: "Made", 202: "Begun; follow the job", 206: "The range", 302: "Where the bytes are"}


def document(endpoints: Sequence[Endpoint[Any]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    schemas: dict[str, Any] = {name: FAILURES[envelope] for envelope, name in FAILURE_NAMES.items()}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Visage",
            "version": VERSION,
            "summary": "A real-time digital human: text or speech in, a talking face out over WebRTC",
            "description": "Answers are {code: 0, msg: ok, data}; failures: a real HTTP status and {code: -1, msg}. "
            "The voice library (/api/files, /api/embeddings, /api/voices, /api/tts) answers {success, data, message, "
            "error}; /v1 as OpenAI does.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "query": {"type": "apiKey", "in": "query", "name": "api_key"},
            },
        },
    }


def _operation(endpoint: Endpoint[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.handler.__name__,
        "tags": [endpoint.tag],
        "summary": endpoint.en,
        "description": endpoint.zh,
        "responses": {str(status): _answer(endpoint, schemas, status) for status in endpoint.success},
    }
    if not endpoint.locked:
        operation["security"] = [{}]
    elif endpoint.key_in_query:
        operation["security"] = [{}, {"bearer": []}, {"header": []}, {"query": []}]
    operation.update(_request(endpoint, schemas))
    statuses = {*endpoint.statuses, 403}
    if endpoint.where != "nothing" or endpoint.within is not None:
        statuses.add(400)
    if endpoint.where in ("json", "form"):
        statuses.add(413)
    if endpoint.locked:
        statuses.add(401)
    failure = REF.format(model=FAILURE_NAMES[envelope_of(endpoint.path)])
    for status in sorted(statuses):
        operation["responses"][str(status)] = {
            "description": DESCRIPTIONS[status],
            "content": {"application/json": {"schema": {"$ref": failure}}},
        }
    return operation


def _request(endpoint: Endpoint[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    parameters = _parameters(endpoint.within, "path", schemas) if endpoint.within is not None else []
    if endpoint.where in ("json", "form"):
        schema = _schema(endpoint.takes, schemas, "validation")
        media = "application/json" if endpoint.where == "json" else "multipart/form-data"
        made["requestBody"] = {"required": True, "content": {media: {"schema": schema}}}
    elif endpoint.where in ("query", "path"):
        parameters += _parameters(endpoint.takes, endpoint.where, schemas)
    if parameters:
        made["parameters"] = parameters
    return made


def _parameters(model: type[BaseModel], where: str, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    shape = schemas[_schema(model, schemas, "validation")["$ref"].rpartition("/")[2]]
    required = shape.get("required", [])
    return [
        {
            "name": name,
            "in": where,
            "required": where == "path" or name in required,
            "schema": {**part, "type": "string"},
        }
        for name, part in shape["properties"].items()
    ]


def _answer(endpoint: Endpoint[Any], schemas: dict[str, Any], status: int) -> dict[str, Any]:
    described = {"description": SUCCESSES[status]}
    if status == 302:
        return described
    if endpoint.media != "application/json":
        return {**described, "content": {media: {"schema": _bytes(media)} for media in endpoint.media.split(", ")}}
    return {**described, "content": {"application/json": {"schema": _envelope(endpoint, schemas)}}}


def _bytes(media: str) -> dict[str, Any]:
    """A body that is not JSON."""
    return {"type": "string"} if media.startswith("text/") else {"type": "string", "contentMediaType": media}


def _envelope(endpoint: Endpoint[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The answer of a request that did not fail."""
    data = None if endpoint.data is None else _schema(endpoint.data, schemas, "serialization")
    envelope = envelope_of(endpoint.path)
    if data is not None and (
        envelope == "openai" or endpoint.path == "/offer"
    ):  # LiveTalking's one without an envelope
        return data
    if envelope == "library":
        properties = {"success": {"const": True}, "message": {"type": "string"}, "error": {"type": "null"}}
        required = ["success", "data", "message", "error"]
        return {"type": "object", "required": required, "properties": {**properties, "data": data or {"type": "null"}}}
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["code", "msg"],
        "properties": {"code": {"const": 0}, "msg": {"const": "ok"}},
    }
    if data is not None:
        schema["properties"]["data"] = data
        schema["required"] = ["code", "msg", "data"]
    return schema


def _schema(kind: Any, schemas: dict[str, Any], mode: Any) -> dict[str, Any]:
    """The schema of a type, its named parts filed under `schemas`."""
    made = TypeAdapter(kind).json_schema(ref_template=REF, mode=mode, schema_generator=GenerateJsonSchema)
    schemas.update(made.pop("$defs", {}))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        schemas[kind.__name__] = made
        return {"$ref": REF.format(model=kind.__name__)}
    return made


def markdown(endpoints: Sequence[Endpoint[Any]]) -> str:
    """`docs/api.md`: every route with its fields, answer and failures."""
    made = document(endpoints)
    lines = [
        "# HTTP interface",
        "",
        "Generated from the code by `python app.py openapi --markdown`; also a page at `/docs` and, as OpenAPI 3.1, "
        "`/openapi.json`.",
        "本文由 `python app.py openapi --markdown` 从代码生成；运行时见 `/docs` 与 `/openapi.json`。",
        "",
        'Answers are `{"code": 0, "msg": "ok", "data": …}`; failures carry a real HTTP status and '
        '`{"code": -1, "msg": "…"}`. The voice library answers `{"success": true, "data": …, "message": "", '
        '"error": null}`; failures: `{"success": false, "data": null, "message": "…", "error": {"code", "message", '
        '"details"}}`. `/v1` answers as OpenAI does.',
        "With an API key set, send `Authorization: Bearer KEY` or `X-API-Key: KEY` "
        "(`/sse` and `GET /record/{sessionid}` also take `?api_key=KEY`).",
        "",
    ]
    for endpoint in endpoints:
        operation = made["paths"][endpoint.path][endpoint.method.lower()]
        lines += [f"## {endpoint.method} {endpoint.path}", "", endpoint.en, endpoint.zh, ""]
        lines += _fields(endpoint, made["components"]["schemas"])
        lines += _answer_fields(endpoint, made["components"]["schemas"])
        failures = ", ".join(code for code in operation["responses"] if int(code) >= 400)
        lines += [f"Answers: {_answer_line(endpoint)}. Failures: {failures}.", ""]
    return "\n".join(lines)


def _fields(endpoint: Endpoint[Any], schemas: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if endpoint.within is not None:
        lines += _request_table("path", schemas[endpoint.within.__name__], schemas)
    if endpoint.where != "nothing":
        place = {"json": "JSON", "form": "multipart form", "query": "query", "path": "path"}[endpoint.where]
        lines += _request_table(place, schemas[endpoint.takes.__name__], schemas)
    return lines


def _request_table(place: str, shape: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    """What a request's fields are, and those of the objects in them."""
    lines = [f"| field ({place}) | type | required | meaning |", "|---|---|---|---|"]
    nested: list[str] = []
    for name, part in shape.get("properties", {}).items():
        required = "yes" if name in shape.get("required", []) else "no"
        lines.append(f"| `{name}` | {_type_text(part)} | {required} | {part.get('description', '')} |")
        nested += [one["$ref"].rpartition("/")[2] for one in (part, *part.get("anyOf", [])) if "$ref" in one]
    lines.append("")
    for name in nested:
        lines += _table(name, schemas[name])
    return lines


def _table(name: str, shape: dict[str, Any]) -> list[str]:
    rows = [
        f"| `{key}` | {_type_text(part)} | {part.get('description', '')} |"
        for key, part in shape.get("properties", {}).items()
    ]
    return [f"| `{name}` | type | meaning |", "|---|---|---|", *rows, ""]


def _answer_fields(endpoint: Endpoint[Any], schemas: dict[str, Any]) -> list[str]:
    """The fields of the answer's `data`, and of the rows in it."""
    names = [endpoint.data.__name__] if getattr(endpoint.data, "__name__", "") in schemas else []
    lines: list[str] = []
    for name in names:
        fields = schemas[name].get("properties", {})
        names += [
            part["items"]["$ref"].rpartition("/")[2] for part in fields.values() if "$ref" in part.get("items", {})
        ]
        lines += _table(name, schemas[name])
    return lines


def _type_text(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return f"`{part['$ref'].rpartition('/')[2]}`"
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    if part.get("type") == "array":
        return f"{_type_text(part.get('items', {}))}[]"
    if "const" in part:
        return f"`{part['const']}`"
    if "anyOf" in part:
        return " or ".join(_type_text(one) for one in part["anyOf"])
    kind = part.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _answer_line(endpoint: Endpoint[Any]) -> str:
    if endpoint.media != "application/json":
        return f"`{endpoint.media}`"
    if endpoint.data is None:
        return "no data"
    return f"`{getattr(endpoint.data, '__name__', str(endpoint.data))}`"
