"""Tell by its name whether a variable, option or field holds a secret.

A name is split into words, in any spelling: API_KEY, api-key, apiKey. KEYBOARD and PATTERN are not secrets,
PGPASS and HF_PAT are. The tokens and keys of training (PAD_TOKEN, LABEL_KEY) are not secrets. A doubtful
name is.
"""

from __future__ import annotations

import re
from functools import lru_cache

from orchestrator.util.text import word_set

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHELL = word_set("PWD OLDPWD")  # folders

_ANYWHERE = re.compile(r"PASSW|PASSPHRASE|PASSCODE|SECRET|CREDENTIAL")  # within a word
_WORDS = word_set(
    "AUTH AUTHORIZATION BEARER CONNSTR COOKIE COOKIES CRED CREDS CSRF DSN JWT NETRC OAUTH OTP PAT PRIVATE "
    "PSWD PW PWD SAS SIG SIGNATURE WEBHOOK XSRF"
)
_PAIRS = frozenset({("CONNECTION", "STRING"), ("CONN", "STRING"), ("CONN", "STR")})
_PLAIN_PAIRS = frozenset({("AUTH", "SOCK")})

# Words with these endings are secrets (DBPASS, APIKEY, HFTOKEN), except _OTHER_WORDS.
_KINDS = {"PASS": ("PASS",), "KEY": ("KEY", "KEYS"), "TOKEN": ("TOKEN",)}
_OTHER_WORDS = word_set(
    "ALLPASS BANDPASS BYPASS COMPASS ENCOMPASS HIGHPASS LOWPASS MULTIPASS OVERPASS SINGLEPASS SURPASS "
    "TRESPASS TWOPASS UNDERPASS DONKEY HOCKEY HOTKEY HOTKEYS JOCKEY MONKEY MONKEYS TURKEY WHISKEY"
)
# TOKENS is a count unless one of these precedes it.
_BEFORE_TOKENS = word_set("ACCESS API AUTH BEARER REFRESH SESSION")
# Words before or after it that make it a term of data or models.
_PLAIN_BEFORE = {
    "KEY": word_set(
        "AUDIO BATCH CAPTION COLUMN FEATURE FOREIGN GROUP IMAGE INDEX INPUT LABEL LOSS METRIC MONITOR "
        "OUTPUT PARTITION PRIMARY PROMPT QUERY RESPONSE SORT TARGET TEXT VIDEO"
    ),
    "TOKEN": word_set(
        "AUDIO BLANK BOS CLASS CLS END EOD EOS EOT FIRST IGNORE IMAGE LAST LATENT MASK MIDDLE MULTI "
        "NEWLINE NEXT PAD PER PREFIX PROMPT REGISTER SEP SINGLE SPECIAL START STOP SUFFIX TEXT UNK VIDEO "
        "VISUAL WORD"
    ),
    "PASS": word_set("BACKWARD BAND BY FIRST FORWARD HIGH LOW MULTI ONE SECOND SINGLE TWO"),
}
_PLAIN_AFTER = {
    "KEY": word_set("DIM FRAME FRAMES MASK NORM PADDING POINT POINTS PROJ STATES"),
    "TOKEN": word_set(
        "BATCH BUDGET CLASSIFICATION COUNT DIM DISPATCHER DROP DROPPING EMBEDDING EMBEDDINGS LENGTH LEVEL "
        "LIMIT MERGE MERGING MIXING RATE REDUCTION SHIFT TYPE WEIGHT WEIGHTING"
    ),
    "PASS": word_set("COUNT RATE THROUGH"),
}


@lru_cache(maxsize=4096)  # a plan has the same few names for every rank
def is_secret_name(name: str) -> bool:
    """Tell whether `name` names a secret."""
    if name in _SHELL:
        return False
    words = [word.upper() for word in _WORD.findall(name)]
    before, after = ["", *words[:-1]], [*words[1:], ""]
    return any(map(_is_secret, before, words, after))


def _is_secret(before: str, word: str, after: str) -> bool:
    """Tell whether a word makes the name secret; `before` and `after` are its neighbours, or empty."""
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
