"""Reading `pipelines.yaml`; every problem is told with its line and key."""

import difflib
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from salesforce_pipelines.config.models import Pipelines
from salesforce_pipelines.errors import PipelineError


class ConfigurationError(PipelineError):
    """A configuration that cannot be used; one line for each problem: file, line, key, cure."""


def configuration_path() -> Path:
    """The configuration in use: SALESFORCE_PIPELINES_CONFIG, else pipelines.yaml of this folder."""
    return Path(os.environ.get("SALESFORCE_PIPELINES_CONFIG", "pipelines.yaml")).absolute()


def load(path: Path) -> Pipelines:
    """The configuration in a file.

    Relative paths in it start at the file's folder. Neither the network nor any data is touched.

    Raises:
        ConfigurationError: The file is missing, is not YAML, or a key or value in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{path}: no such file; SALESFORCE_PIPELINES_CONFIG names another"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigurationError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    if tree is None or not isinstance(document, dict):
        raise ConfigurationError(f"{path}:1: expected keys such as connection and objects")
    if repeated := _repeated_keys(tree, ()):
        raise ConfigurationError("\n".join(f"{path}:{line}: {what}" for line, what in repeated))
    try:
        return Pipelines.model_validate(document, context={"folder": path.parent})
    except ValidationError as error:
        lines = [_told(path, tree, problem) for problem in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from error


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `pipelines.yaml`, for editors."""
    return Pipelines.model_json_schema()


def _repeated_keys(node: yaml.Node, at: tuple[str, ...]) -> list[tuple[int, str]]:
    # YAML lets the last of two equal keys win in silence; half a mapping would be lost.
    found: list[tuple[int, str]] = []
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                where = ".".join((*at, name))
                found.append((key.start_mark.line + 1, f"{where}: the key stands here twice"))
            seen.add(name)
            found += _repeated_keys(value, (*at, name))
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            found += _repeated_keys(item, (*at, str(number)))
    return found


def _told(path: Path, tree: yaml.Node, problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    line, key = _place(tree, problem["loc"])
    if not problem["loc"]:
        # A rule about several keys names the one to look at first in its message.
        line, _ = _place(tree, tuple(re.split(r"[:\s]", message, maxsplit=1)[0].split(".")))
    if problem["type"] == "extra_forbidden":
        message = f"unknown key{_nearest(problem['loc'])}"
    elif problem["type"] == "missing":
        message = f"the key {problem['loc'][-1]!r} is missing"
    elif problem["type"] == "string_pattern_mismatch":
        # The value is not repeated: it may be a URL with a password.
        message = f"the value does not fit the pattern {problem['ctx']['pattern']}"
    return f"{path}:{line}: {key + ': ' if key else ''}{message}"


def _place(tree: yaml.Node, loc: tuple[int | str, ...]) -> tuple[int, str]:
    """The line of the deepest part of `loc` that the file has, and the key as a person reads it."""
    node, line, parts = tree, 1, []
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if str(key.value) == str(part):
                    node, line = value, key.start_mark.line + 1
                    parts.append(str(part))
                    break
            # A part that is not in the file names a model or a union's branch, not a key.
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
            parts.append(str(part))
    return line, ".".join(parts)


def _nearest(loc: tuple[int | str, ...]) -> str:
    known = _known_keys(Pipelines, loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _known_keys(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys a model at `loc` takes, found through its JSON Schema (which follows unions)."""
    schema = model.model_json_schema()
    nodes = [schema]
    for part in loc:
        nodes = [child for node in nodes for child in _children(schema, node, part)]
    return sorted({key for node in nodes for key in node.get("properties", {})})


def _children(
    schema: dict[str, Any], node: dict[str, Any], part: int | str
) -> list[dict[str, Any]]:
    if isinstance(part, str) and part in node.get("properties", {}):
        child = node["properties"][part]
    elif isinstance(part, str) and isinstance(node.get("additionalProperties"), dict):
        child = node["additionalProperties"]
    elif isinstance(part, int) and isinstance(node.get("items"), dict):
        child = node["items"]
    else:
        # The name of a union's branch: stay where we are.
        return [node]
    branches = child.get("anyOf") or child.get("oneOf") or [child]
    return [_resolved(schema, branch) for branch in branches]


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference: str | None = node.get("$ref")
    return node if reference is None else schema["$defs"][reference.rpartition("/")[2]]
