"""What templates in the variables of a host refer to, where that is certain without Ansible."""

from __future__ import annotations

import os
import re

from orchestrator.inventory.readers.ansible.values import Value, Variables, is_vaulted, meaning
from orchestrator.util.text import escaped, quoted

_DEFAULT = re.compile(r"""\|\s*default\(\s*(['"])([^'"\\{}]*)\1\s*(?:,\s*(true|True)\s*)?\)$""")
_MAX_REFERENCES = 16  # variables that refer to each other
_TEMPLATE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_JINJA = re.compile(r"\{[{%#]")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ENVIRONMENT = re.compile(r"lookup\(\s*(['\"])env\1\s*,\s*(['\"])([A-Za-z_]\w*)\2\s*\)", re.ASCII)


class Scope:
    """The variables of one host, and what templates may refer to besides."""

    def __init__(self, host: str, folder: str, variables: Variables) -> None:
        self._variables = variables
        is_address = ":" in host or re.fullmatch(r"[0-9.]+", host)
        self._own = {
            "inventory_hostname": host,
            "inventory_hostname_short": host if is_address else host.partition(".")[0],
            "inventory_dir": folder,
        }

    def find(self, name: str) -> Value | None:
        return self._variables.get(name)

    def names(self) -> list[str]:
        return list(self._variables)

    def resolve(self, value: object, depth: int = _MAX_REFERENCES) -> object:
        """Return a value with its templates replaced, in lists and mappings, too.

        A template is the name of another variable, or a look-up of one of the environment, and may have a
        text as its default. Raises ValueError for any other, and for a value that is encrypted.
        """
        if is_vaulted(value):
            raise ValueError("it is encrypted with Ansible Vault")
        if isinstance(value, dict):
            return {key: self.resolve(each, depth) for key, each in value.items()}
        if isinstance(value, list):
            return [self.resolve(each, depth) for each in value]
        if not isinstance(value, str) or not _JINJA.search(value):
            return value
        if depth == 0:
            raise ValueError("its templates refer to each other")
        whole = _TEMPLATE.fullmatch(value)
        if whole and "{{" not in whole[1]:
            return self._refer(whole[1].strip(), depth)
        pieces = _TEMPLATE.split(value)
        if any(_JINJA.search(text) for text in pieces[::2]):
            raise ValueError(f"it has a template that only Ansible can fill in: {quoted(value)}")
        pieces[1::2] = [str(self._refer(each.strip(), depth)) for each in pieces[1::2]]
        return "".join(pieces)

    def _refer(self, expression: str, depth: int) -> object:
        default = _DEFAULT.search(expression)
        reference = expression[: default.start()].strip() if default else expression
        found = self._look_up(reference, depth)
        if default and (found is None or (default[3] and not found)):
            return default[2]
        if found is None:
            raise ValueError(f"it refers to the variable {reference}, which the inventory lacks")
        if found == "" and _ENVIRONMENT.fullmatch(reference):
            raise ValueError(f"the variable of the environment in {reference} is not set here")
        return found

    def _look_up(self, reference: str, depth: int) -> object:
        """Return what a template refers to; None if there is no such variable."""
        if found := _ENVIRONMENT.fullmatch(reference):
            return os.environ.get(found[3], "")
        if not _NAME.fullmatch(reference):
            shown = escaped(reference[:60])
            raise ValueError(f"it has a template that only Ansible can fill in: {{{{ {shown} }}}}")
        if reference in self._own:
            return self._own[reference]
        value = self._variables.get(reference)
        return None if value is None else self.resolve(meaning(value.given), depth - 1)
