"""Which names stand before a secret: of variables, of options, of fields.

A name is judged word by word, however it is written: API_KEY, api-key, apiKey. So KEYBOARD and PATTERN are
no secrets, PGPASS and HF_PAT are. What training calls a token or a key (PAD_TOKEN, LABEL_KEY) passes; in
doubt a name is a secret's.
"""

from __future__ import annotations

import re
from functools import lru_cache


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHELL = _set("PWD OLDPWD")  # names of folders

_ANYWHERE = re.compile(r"PASSW|PASSPHRASE|PASSCODE|SECRET|CREDENTIAL")  # within a word
_WORDS = _set(
    "AUTH AUTHORIZATION BEARER CONNSTR COOKIE COOKIES CRED CREDS CSRF DSN JWT NETRC OAUTH OTP PAT PRIVATE "
    "PSWD PW PWD SAS SIG SIGNATURE WEBHOOK XSRF"
)
_PAIRS = frozenset({("CONNECTION", "STRING"), ("CONN", "STRING"), ("CONN", "STR")})
_PLAIN_PAIRS = frozenset({("AUTH", "SOCK")})

# Words that end so are secrets (DBPASS, APIKEY, HFTOKEN), but for these.
_KINDS = {"PASS": ("PASS",), "KEY": ("KEY", "KEYS"), "TOKEN": ("TOKEN",)}
_OTHER_WORDS = _set(
    "ALLPASS BANDPASS BYPASS COMPASS ENCOMPASS HIGHPASS LOWPASS MULTIPASS OVERPASS SINGLEPASS SURPASS "
    "TRESPASS TWOPASS UNDERPASS DONKEY HOCKEY HOTKEY HOTKEYS JOCKEY MONKEY MONKEYS TURKEY WHISKEY"
)
# A count of tokens is none.
_BEFORE_TOKENS = _set("ACCESS API AUTH BEARER REFRESH SESSION")
# What comes before or after such a word where it is one of the data's or of the model's.
_PLAIN_BEFORE = {
    "KEY": _set(
        "AUDIO BATCH CAPTION COLUMN FEATURE FOREIGN GROUP IMAGE INDEX INPUT LABEL LOSS METRIC MONITOR "
        "OUTPUT PARTITION PRIMARY PROMPT QUERY RESPONSE SORT TARGET TEXT VIDEO"
    ),
    "TOKEN": _set(
        "AUDIO BLANK BOS CLASS CLS END EOD EOS EOT FIRST IGNORE IMAGE LAST LATENT MASK MIDDLE MULTI "
        "NEWLINE NEXT PAD PER PREFIX PROMPT REGISTER SEP SINGLE SPECIAL START STOP SUFFIX TEXT UNK VIDEO "
        "VISUAL WORD"
    ),
    "PASS": _set("BACKWARD BAND BY FIRST FORWARD HIGH LOW MULTI ONE SECOND SINGLE TWO"),
}
_PLAIN_AFTER = {
    "KEY": _set("DIM FRAME FRAMES MASK NORM PADDING POINT POINTS PROJ STATES"),
    "TOKEN": _set(
        "BATCH BUDGET CLASSIFICATION COUNT DIM DISPATCHER DROP DROPPING EMBEDDING EMBEDDINGS LENGTH LEVEL "
        "LIMIT MERGE MERGING MIXING RATE REDUCTION SHIFT TYPE WEIGHT WEIGHTING"
    ),
    "PASS": _set("COUNT RATE THROUGH"),
}


@lru_cache(maxsize=4096)  # a plan has the same few names for every rank
def is_secret_name(name: str) -> bool:
    """Tell whether what stands under `name` is a secret, as far as the name tells."""
    if name in _SHELL:
        return False
    words = [word.upper() for word in _WORD.findall(name)]
    before, after = ["", *words[:-1]], [*words[1:], ""]
    return any(map(_is_secret, before, words, after))


def _is_secret(before: str, word: str, after: str) -> bool:
    """Judge one word of a name; `before` and `after` are its neighbours, or empty."""
    if _ANYWHERE.search(word) or (word, after) in _PAIRS:
        return True
    if word == "TOKENS":
        return before in _BEFORE_TOKENS
    if word == "SESSION":
        return after in ("", "ID")
    for kind, ends in _KINDS.items():
        if word.endswith(ends) and word not in _OTHER_WORDS:
            return before not in _PLAIN_BEFORE[kind] and after not in _PLAIN_AFTER[kind]
    return word in _WORDS and (word, after) not in _PLAIN_PAIRS
