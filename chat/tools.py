"""Tools that a language model may call: described as JSON schemas, run with a time limit, errors told to the model.

    toolbox = Toolbox([clock(), faq(Path("data/faq.md"))])      (chat/toolsamples.py)
    LanguageModel(base_url, model, tools=toolbox)

A tool is any coroutine from checked arguments to a text. What it raises, and its lateness, becomes the answer that the
model gets, so that it can say so; a reply never fails for a tool.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

log = logging.getLogger(__name__)

TOOL_TIMEOUT_S = 5.0
"""Somebody waits for the answer, in silence."""
ANSWER_CHARACTERS_MAX = 4_000
ARGUMENT_CHARACTERS_MAX = 20_000
CALLS_MAX = 8
"""In one round of a reply."""
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,), "array": (list,),
    "object": (dict,),
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Arguments = Mapping[str, Any]


class ToolError(Exception):
    """What a tool wants the model to know instead of an answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """Something a model may ask for."""

    name: str
    """1 to 64 of A-Z a-z 0-9 _ -."""
    description: str
    """When to call it and what comes back, for the model."""
    run: Callable[[Arguments], Awaitable[str]]
    properties: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """JSON schema of each argument."""
    required: tuple[str, ...] = ()

    def schema(self) -> dict[str, Any]:
        """As OpenAI's chat interface takes it."""
        parameters = {"type": "object", "properties": dict(self.properties), "required": list(self.required)}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    def checked(self, text: str) -> dict[str, Any]:
        """The arguments a model wrote; those that are unknown are left out.

        Raises:
            ToolError: they are no JSON object, one is missing, or of the wrong type.
        """
        try:
            given = json.loads(text or "{}")
        except ValueError as error:
            raise ToolError(f"the arguments are no JSON: {error}") from error
        if not isinstance(given, dict):
            raise ToolError("the arguments must be a JSON object")
        for name in self.required:
            if name not in given:
                raise ToolError(f"the argument {name} is missing")
        for name, schema in self.properties.items():
            types = _TYPES.get(str(schema.get("type")), (object,))
            if given.get(name) is None:
                given.pop(name, None)
            elif not isinstance(given[name], types) or (isinstance(given[name], bool) and bool not in types):
                raise ToolError(f"the argument {name} must be of type {schema['type']}")
        return {name: value for name, value in given.items() if name in self.properties}


class Toolbox:
    """The tools of a server.

    Args:
        tools: no two of one name.
        timeout_s: how long one may take.

    Raises:
        ValueError: a name is not allowed or appears twice.
    """

    def __init__(self, tools: Iterable[Tool], timeout_s: float = TOOL_TIMEOUT_S) -> None:
        self._tools: dict[str, Tool] = {}
        self._timeout_s = timeout_s
        for tool in tools:
            if not _NAME.fullmatch(tool.name) or tool.name in self._tools:
                raise ValueError(f"tool name {tool.name!r} is taken already, or is not 1 to 64 of A-Z a-z 0-9 _ -")
            self._tools[tool.name] = tool

    def __len__(self) -> int:
        return len(self._tools)

    def schemas(self) -> list[dict[str, Any]]:
        """For a request's `tools`."""
        return [tool.schema() for tool in self._tools.values()]

    async def call(self, name: str, arguments: str) -> str:
        """The answer for the model: the tool's text, or a JSON object with `error`.

        Args:
            name: as the model wrote it.
            arguments: a JSON object as the model wrote it.
        """
        tool = self._tools.get(name)
        if tool is None:
            return _error(f"there is no tool {name[:64]!r}; there are: {', '.join(self._tools)}")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await tool.run(tool.checked(arguments))
        except ToolError as error:
            return _error(str(error))
        except TimeoutError:
            return _error(f"{name} did not answer within {self._timeout_s:g} s")
        except Exception as error:  # a tool may be anybody's: the reply goes on
            log.exception("tool %s failed", name)
            return _error(f"{name} failed: {type(error).__name__}")
        return answer[:ANSWER_CHARACTERS_MAX]


def _error(message: str) -> str:
    return json.dumps({"error": message}, ensure_ascii=False)


class Calls:
    """The calls of one round, assembled from the deltas in which a server streams them."""

    def __init__(self) -> None:
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[int, dict[str, str]] = {}

    def __bool__(self) -> bool:
        return any(call["name"] for call in self._calls)

    def clear(self) -> None:
        """Forget them: the request is made anew."""
        self._calls.clear()
        self._by_index.clear()

    def add(self, deltas: object) -> None:
        """Take the `tool_calls` of one chunk; what is not of their shape is passed over."""
        for delta in deltas if isinstance(deltas, list) else ():
            function = delta.get("function") if isinstance(delta, dict) else None
            if not isinstance(function, dict):
                continue
            call = self._call(delta, function)
            if call is None:
                continue
            arguments = function.get("arguments")
            if isinstance(arguments, dict):  # some servers send what they have parsed
                arguments = json.dumps(arguments, ensure_ascii=False)
            call["arguments"] = (call["arguments"] + str(arguments or ""))[:ARGUMENT_CHARACTERS_MAX]

    def _call(self, delta: dict[str, Any], function: dict[str, Any]) -> dict[str, str] | None:
        """The call that a delta goes on with; a name begins a new one where the server does not number them."""
        index, name = delta.get("index"), str(function.get("name") or "")
        if isinstance(index, int) and index in self._by_index:
            call = self._by_index[index]
            call["name"] = call["name"] or name
            return call
        if not isinstance(index, int) and not name:
            return self._calls[-1] if self._calls else None
        if len(self._calls) >= CALLS_MAX:
            return None
        call = {"id": str(delta.get("id") or f"call_{len(self._calls)}"), "name": name, "arguments": ""}
        self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call

    async def run(self, toolbox: Toolbox, said: str) -> list[dict[str, Any]]:
        """Run them at the same time; the messages to go on with.

        Args:
            toolbox: where the tools are.
            said: what the model wrote before it called.
        """
        calls = [call for call in self._calls if call["name"]]
        log.info("language model calls %s", ", ".join(call["name"] for call in calls))
        answers = await asyncio.gather(*(toolbox.call(call["name"], call["arguments"]) for call in calls))
        functions = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"] or "{}"},
            }
            for call in calls
        ]
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": answer}
            for call, answer in zip(calls, answers, strict=True)
        ]
        return [{"role": "assistant", "content": said, "tool_calls": functions}, *results]
