"""Tell the text of a failure from a mention of it: settings that are printed, and texts to train on."""

from __future__ import annotations

import re

# The key before a quoted value; of a log in JSON, these hold what the program said.
_KEY = re.compile(r"[\"'](?P<key>[\w .-]{1,60})[\"']\s?[:=]\s?[\"'\[]")
_OUTPUT = frozenset(
    (
        *("message", "msg", "error", "err", "exception", "exc_info", "reason", "detail", "details"),
        *(
            "stderr",
            "stdout",
            "log",
            "what",
            "cause",
            "text",
            "output",
            "py_callstack",
            "traceback",
        ),
        *("stack", "stack_trace", "event", "body", "line"),
    )
)
_SETTING = re.compile(r"^\s{0,40}(?:- )?(?P<key>[a-z][\w.-]{0,60})\s?[:=]\s?[\"'\[]")
_MAX_BEFORE = 4096


def is_quoted(text: str, start: int) -> bool:
    """Tell whether what starts at `start` of a line is part of a value: of a setting, or of an example.

    `{"prompt": "fix CUDA out of memory"}` and `on_error: 'No space left on device'` only quote; a value
    whose key is `message`, `error` or the like is what a program said.
    """
    before = text[max(0, start - _MAX_BEFORE) : start]
    if not ('"' in before or "'" in before):
        return False
    last = None
    for last in _KEY.finditer(before):  # noqa: B007 - the last one counts
        pass
    if last is None:
        last = _SETTING.match(before)
    return last is not None and last["key"].lower() not in _OUTPUT
