"""The OpenAPI description of the HTTP routes: what they take, and what they answer.

The schemas of messages follow from protobuf's descriptors, so that they cannot differ from the
answers. A test compares the paths with the routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from convoy.pb.convoy.v1 import classifier_pb2, shadow_pb2
from convoy.pb.inference import grpc_service_pb2 as pb

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FILE: Schema = {"type": "string", "contentMediaType": "application/octet-stream"}

_TYPES = {
    FieldDescriptor.CPPTYPE_INT32: WHOLE,
    FieldDescriptor.CPPTYPE_INT64: WHOLE,
    FieldDescriptor.CPPTYPE_UINT32: WHOLE,
    FieldDescriptor.CPPTYPE_UINT64: WHOLE,
    FieldDescriptor.CPPTYPE_DOUBLE: NUMBER,
    FieldDescriptor.CPPTYPE_FLOAT: NUMBER,
    FieldDescriptor.CPPTYPE_BOOL: FLAG,
    FieldDescriptor.CPPTYPE_STRING: TEXT,
}


def message(descriptor: Any) -> Schema:
    """Return the schema of a message, in the form of `messages.as_json`."""
    return obj(
        {field.name: _field(field) for field in descriptor.fields},
        # Fields with presence, such as those of a choice, may be missing.
        optional=[field.name for field in descriptor.fields if field.has_presence],
    )


def obj(properties: Mapping[str, Schema], optional: list[str] | None = None) -> Schema:
    """Return the schema of an object with these properties, and no others."""
    required = [name for name in properties if name not in (optional or ())]
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def mapping(values: Schema) -> Schema:
    """Return the schema of an object with any names."""
    return {"type": "object", "additionalProperties": values}


def _field(field: Any) -> Schema:
    # A map is a repeated message of keys and values.
    if field.message_type and field.message_type.GetOptions().map_entry:
        return mapping(_single(field.message_type.fields_by_name["value"]))
    return array(_single(field)) if field.is_repeated else _single(field)


def _single(field: Any) -> Schema:
    if field.message_type:
        return message(field.message_type)
    if field.enum_type:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    return _TYPES[field.cpp_type]


class Operation(NamedTuple):
    """
    One method of a route.

    Attributes:
        summary: One sentence.
        answer: Schemas of the answer with status 200, by media type.
        body: Schemas of the request's body, by media type; empty if it has none.
        query: Schemas of the query's parameters, by name.
        tag: Heading under which pages list it.
    """

    summary: str
    answer: Mapping[str, Schema]
    body: Mapping[str, Schema] = {}
    query: Mapping[str, Schema] = {}
    tag: str = "Open Inference Protocol"


def _json(schema: Schema) -> dict[str, Schema]:
    return {"application/json": schema}


_ERROR = obj({"error": TEXT, "reason": TEXT, "status": TEXT}, optional=["reason", "status"])

_RESULT = message(classifier_pb2.ClassifyResponse.DESCRIPTOR)
_SEVERAL = obj(
    {
        "results": array(
            {
                "anyOf": [
                    obj({"file": TEXT} | _RESULT["properties"]),
                    obj({"file": TEXT, "error": TEXT, "reason": TEXT}),
                ]
            }
        )
    }
)
_OPTIONS = {
    "top_k": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 5},
    "timeout_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400},
}
_MODEL = message(classifier_pb2.Model.DESCRIPTOR)
_LISTED = obj({name: one for name, one in _MODEL["properties"].items() if name != "labels"})

_PARAMETERS: Schema = {"type": "object"}
_INFER = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "parameters": _PARAMETERS,
        "inputs": array(
            {
                "type": "object",
                "properties": {
                    "name": TEXT,
                    "datatype": {"type": "string", "examples": ["UINT8", "FP32", "BYTES"]},
                    "shape": array({"type": "integer", "minimum": 0}),
                    "parameters": _PARAMETERS,
                    "data": {"type": "array"},
                },
                "required": ["name", "datatype", "shape"],
            }
        ),
        "outputs": array(
            {
                "type": "object",
                "properties": {"name": TEXT, "parameters": _PARAMETERS},
                "required": ["name"],
            }
        ),
    },
    "required": ["inputs"],
}
_INFERRED = obj(
    {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "parameters": _PARAMETERS,
        "outputs": array(
            obj(
                {
                    "name": TEXT,
                    "datatype": TEXT,
                    "shape": array(WHOLE),
                    "parameters": _PARAMETERS,
                    "data": {"type": "array"},
                },
                optional=["parameters", "data"],
            )
        ),
    },
    optional=["id"],
)
_CONTROL = obj({"parameters": _PARAMETERS}, optional=["parameters"])
_SETTINGS = mapping({"type": ["boolean", "integer"]})
_STATISTICS = _json(message(pb.ModelStatisticsResponse.DESCRIPTOR))

_CLASSIFICATION = "Classification"

_SHADOWS = "Shadow versions"
_SHADOW = _json(message(shadow_pb2.Shadow.DESCRIPTOR))


def _fields(request: Any) -> dict[str, Schema]:
    """Return the schema of a request whose model is in the path."""
    described = message(request.DESCRIPTOR)
    del described["properties"]["model"]
    described["required"].remove("model")
    return _json(described)


OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "/v1/models": {
        "get": Operation(
            "List the models.", _json(obj({"models": array(_LISTED)})), tag=_CLASSIFICATION
        )
    },
    "/v1/models/{name}": {
        "get": Operation("Describe a model, with its labels.", _json(_MODEL), tag=_CLASSIFICATION)
    },
    "/v1/models/{name}/classify": {
        "post": Operation(
            "Return the most probable classes of an image, or of each file of a form.",
            _json({"anyOf": [_RESULT, _SEVERAL]}),
            {
                "image/*": FILE,
                "multipart/form-data": obj({"image": FILE, **_OPTIONS}, optional=[*_OPTIONS]),
            },
            _OPTIONS,
            _CLASSIFICATION,
        )
    },
    "/v1/models/{name}/shadow": {
        "get": Operation(
            "Return the comparison of a shadow with the version that serves.",
            _SHADOW,
            tag=_SHADOWS,
        ),
    },
    "/v1/models/{name}/shadow/start": {
        "post": Operation(
            "Start a shadow, or change its share.",
            _SHADOW,
            _fields(shadow_pb2.StartShadowRequest),
            tag=_SHADOWS,
        ),
    },
    "/v1/models/{name}/shadow/stop": {
        "post": Operation("Stop a shadow.", _json(obj({})), _json(obj({})), tag=_SHADOWS)
    },
    "/v1/models/{name}/promote": {
        "post": Operation(
            "Promote a shadow if it meets the bounds.",
            _SHADOW,
            _fields(shadow_pb2.PromoteShadowRequest),
            tag=_SHADOWS,
        )
    },
    "/v2/health/live": {
        "get": Operation("Return whether the server lives.", _json(obj({"live": FLAG})))
    },
    "/v2/health/ready": {
        "get": Operation("Return whether the server is ready.", _json(obj({"ready": FLAG})))
    },
    "/v2": {
        "get": Operation(
            "Describe the server.", _json(message(pb.ServerMetadataResponse.DESCRIPTOR))
        )
    },
    "/v2/models": {
        "get": Operation("List the names of the models.", _json(obj({"models": array(TEXT)})))
    },
    "/v2/models/stats": {"get": Operation("Return the statistics of all models.", _STATISTICS)},
    "/v2/models/{name}": {
        "get": Operation(
            "Describe the tensors of a model.", _json(message(pb.ModelMetadataResponse.DESCRIPTOR))
        )
    },
    "/v2/models/{name}/ready": {
        "get": Operation(
            "Return whether a model is ready.", _json(obj({"name": TEXT, "ready": FLAG}))
        )
    },
    "/v2/models/{name}/config": {
        "get": Operation(
            "Return the configuration of a model.", _json(message(pb.ModelConfig.DESCRIPTOR))
        )
    },
    "/v2/models/{name}/stats": {"get": Operation("Return the statistics of a model.", _STATISTICS)},
    "/v2/models/{name}/infer": {
        "post": Operation(
            "Run a model on tensors, or on images in base64.",
            _json(_INFERRED) | {"application/octet-stream": FILE},
            _json(_INFER) | {"application/octet-stream": FILE},
        )
    },
    "/v2/repository/index": {
        "post": Operation(
            "List every version in the repository, and its state.",
            _json(array(message(pb.RepositoryIndexResponse.ModelIndex.DESCRIPTOR))),
            _json(obj({"ready": FLAG}, optional=["ready"])),
        )
    },
    "/v2/repository/models/{name}/load": {
        "post": Operation(
            "Load a model, or load it again.",
            _json(obj({"name": TEXT, "load": FLAG})),
            _json(_CONTROL),
        )
    },
    "/v2/repository/models/{name}/unload": {
        "post": Operation(
            "Unload a model.", _json(obj({"name": TEXT, "unload": FLAG})), _json(_CONTROL)
        )
    },
    "/v2/logging": {
        "get": Operation("Return the settings of the log.", _json(_SETTINGS)),
        "post": Operation("Change settings of the log.", _json(_SETTINGS), _json(_SETTINGS)),
    },
    "/metrics": {
        "get": Operation("Return the metrics.", {"text/plain": TEXT}, tag="Operation"),
    },
}
"""The operations of each path. A path with a version, or with a repository's name, has the same."""

_UNVERSIONED = ("/shadow", "/shadow/start", "/shadow/stop", "/promote")
"""Suffixes of the paths that have no form with a version."""


def document(version: str) -> Schema:
    """Return the description in the form of OpenAPI 3.1, for this *version* of convoy."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "convoy",
            "version": version,
            "description": "Image classification: plain HTTP calls, and the REST form of the Open "
            "Inference Protocol. Errors have a stable reason.",
        },
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # A token is needed only if the server has a token file.
        "security": [{}, {"token": []}],
        "paths": {
            path: _path(path, operations)
            for template, operations in OPERATIONS.items()
            for path in _forms(template)
        },
    }


def _forms(template: str) -> list[str]:
    """Return every form of a path: a model with and without a version, a repository with a name."""
    if template == "/v2/repository/index":
        return [template, "/v2/repository/{repository}/index"]
    if template.startswith("/v2/repository") or template.endswith(_UNVERSIONED):
        return [template]
    versioned = template.replace("models/{name}", "models/{name}/versions/{version}")
    return [template] if versioned == template else [template, versioned]


def _path(path: str, operations: Mapping[str, Operation]) -> Schema:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    described: Schema = {verb: _operation(one) for verb, one in operations.items()}
    if names:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": TEXT} for name in names
        ]
    return described


def _operation(operation: Operation) -> Schema:
    error = {
        "description": "The reason, for programs, and a message for people.",
        "content": _json({"schema": {"$ref": "#/components/schemas/Error"}}),
    }
    described: Schema = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            "200": {"description": "The answer.", "content": _content(operation.answer)},
            "4XX": error,
            "5XX": error,
        },
    }
    if operation.query:
        described["parameters"] = [
            {"name": name, "in": "query", "schema": schema}
            for name, schema in operation.query.items()
        ]
    if operation.body:
        described["requestBody"] = {"content": _content(operation.body)}
    return described


def _content(schemas: Mapping[str, Schema]) -> Schema:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}
