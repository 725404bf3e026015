"""The key `transport` of an inventory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import InventoryError
from orchestrator.inventory import TransportChoice
from orchestrator.inventory.readers.orch_yaml import parse


def read(value: str) -> TransportChoice | None:
    return parse(f"hosts: [a]\ntransport: {value}\n", Path("hosts.yaml")).transport


def test_inventory_without_the_key_has_no_transport() -> None:
    assert parse("hosts: [a]", Path("hosts.yaml")).transport is None
    assert read("null") is None


def test_name_alone_has_no_options() -> None:
    assert read("openssh") == TransportChoice(name="openssh", place="hosts.yaml:2:12")
    assert read("{docker: }") == TransportChoice(name="docker", place="hosts.yaml:2:13")


def test_list_is_the_option_with_the_name_of_the_transport() -> None:
    choice = read('{command: [docker, exec, -i, "{name}", sh, -c, "{script}"]}')
    assert choice is not None
    words = ["docker", "exec", "-i", "{name}", "sh", "-c", "{script}"]
    assert (choice.name, choice.options) == ("command", {"command": words})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000),
        ("-1", -1),
        ("2.5", 2.5),
        ("true", True),
        ("null", None),
        ("1.50", "1.50"),
        ("007", "007"),
        ("1e5", "1e5"),
        ("on", "on"),
        ("'1'", "1"),
        ("'true'", "true"),
        ("[a, 1, [b]]", ["a", 1, ["b"]]),
        ("{a: 1, b: [c]}", {"a": 1, "b": ["c"]}),
    ],
)
def test_option_is_a_json_value_that_loses_no_digit(text: str, value: Any) -> None:
    choice = read(f"{{any: {{option: {text}}}}}")
    assert choice is not None
    assert choice.options == {"option": value}
    assert type(choice.options["option"]) is type(value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[a]", "2:12: transport: expected a name, as in ssh, or one name with its options"),
        ("{a: {}, b: {}}", "2:12: transport: expected a name, as in ssh, or one name"),
        ("{}", "2:12: transport: expected a name, as in ssh, or one name"),
        ("{[a]: b}", "2:12: transport: expected a name, as in ssh, or one name"),
        ("-x", "2:12: transport: expected the name of a transport; found '-x'"),
        ("{docker: root}", "2:21: transport.docker: expected its options; found 'root'"),
        ("{docker: {a: 1, a: 2}}", "2:28: transport.docker.a: duplicate key"),
        ("{docker: &a [*a]}", "nested more than 4 levels deep"),
        ("{docker: {a: &a {b: *a}}}", "nested more than 4 levels deep"),
    ],
)
def test_faulty_value_is_refused_with_its_position(value: str, problem: str) -> None:
    with pytest.raises(InventoryError) as caught:
        read(value)
    assert problem in str(caught.value)


def test_nested_aliases_are_cheap() -> None:
    levels = "\n".join(
        f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 99 if n else ['lol'] * 99)}]" for n in range(4)
    )
    with pytest.raises(InventoryError, match="more than 1,000,000 values"):
        parse(f"{levels}\nhosts: [a]\ntransport: {{command: *x3}}", Path("hosts.yaml"))
