"""Examples that fit a JSON schema: arguments of the tools that the sandbox calls, and its structured answers."""

from collections.abc import Mapping

from auterity.providers.untyped import as_list, as_object

__all__ = ["instance_of"]

_MAX_DEPTH = 16


def instance_of(schema: object, text: str) -> object:
    """The smallest value that fits the usual parts of a schema, with ``text`` where any string will do.

    Understands const, enum, default, type, properties, items, minItems, minimum, anyOf/oneOf/allOf and local ``$ref``.
    """
    whole = as_object(schema) or {}
    return _instance(whole, whole, text, _MAX_DEPTH)


def _instance(schema: Mapping[str, object], whole: Mapping[str, object], text: str, depth: int) -> object:
    if depth == 0:
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if options := as_list(schema.get("enum")):
        return options[0]
    for name in ("anyOf", "oneOf", "allOf"):
        if options := as_list(schema.get(name)):
            return _instance(as_object(options[0]) or {}, whole, text, depth - 1)
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _instance(_resolve(reference, whole), whole, text, depth - 1)
    kind = schema.get("type")
    kinds = as_list(kind)
    return _plain(str(kinds[0] if kinds else kind), schema, whole, text, depth)


def _plain(kind: str, schema: Mapping[str, object], whole: Mapping[str, object], text: str, depth: int) -> object:
    properties = as_object(schema.get("properties"))
    if kind == "object" or properties is not None:
        return {
            name: _instance(as_object(part) or {}, whole, text, depth - 1) for name, part in (properties or {}).items()
        }
    if kind == "array":
        least = schema.get("minItems")
        item = _instance(as_object(schema.get("items")) or {}, whole, text, depth - 1)
        return [item] * (min(least, 100) if isinstance(least, int) else 1)
    if kind in ("integer", "number"):
        least = schema.get("minimum")
        return least if isinstance(least, (int, float)) else 0
    return {"boolean": False, "null": None}.get(kind, text)


def _resolve(reference: str, whole: Mapping[str, object]) -> Mapping[str, object]:
    part: Mapping[str, object] = whole
    if not reference.startswith("#"):
        return {}
    for name in filter(None, reference.removeprefix("#").split("/")):
        part = as_object(part.get(name)) or {}
    return part
