"""Tell the text of a failure from a mention of it: settings, commands, texts to train on."""

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
_FIELD = re.compile(
    r"\s(?P<key>[\w.-]{1,60})=[\"']"
)  # of logfmt: `time="..." level=error msg="..."`
# Not a setting: `torch.distributed.DistBackendError: [1] is setting up NCCL communicator`.
_EXCEPTION = re.compile(r"(?:^|\.)[A-Z]\w{0,80}$")
# `+ srun ...` of `sh -x`, a comment, and lines of a dialogue to train on.
_COMMAND = re.compile(r"\+{1,4} [\w./(\[]|# \w|echo [\"']")
_DIALOGUE = re.compile(
    r"<\|\w{1,40}\|?>|\[/?INST\]|### (?:Instruction|Response|Input|Human|Assistant)\b"
    r"|(?:^|\W)Q: .{0,400}\?|^(?:user|assistant|human|system) ?: "
    r"|^\[?(?i:sample|prompt|completion|generated|generation|decoded|question|answer|instruction)s?"
    r"(?:[ #_]{1,2}(?:\d{1,9}|text|output|prompt|generation|user|assistant))?[\]:]"
)
_MAX_BEFORE = 4096


def is_quoted(text: str, start: int, end: int) -> bool:
    """Tell whether what is from `start` to `end` in a line is only mentioned there.

    It is part of a value, of a setting or an example, of a command that a shell shows, of a dialogue, or of
    a text in backquotes.

    `{"prompt": "fix CUDA out of memory"}` and `on_error: 'No space left on device'` only quote; a value
    whose key is `message`, `error` or the like is what a program said.
    """
    before = text[max(0, start - _MAX_BEFORE) : start]
    if _COMMAND.match(text) or _DIALOGUE.search(before):
        return True
    if before.count("`") % 2 and "`" not in text[start:end] and "`" in text[end:]:
        return True
    if not ('"' in before or "'" in before):
        return False
    last = _last(_KEY, before)
    if last is None:
        last = _SETTING.match(before)
        if last is not None and _EXCEPTION.search(last["key"]):
            return False
        last = last and (_last(_FIELD, before) or last)
    return last is not None and last["key"].lower() not in _OUTPUT


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in pattern.finditer(text):  # noqa: B007 - the last one counts
        pass
    return found
