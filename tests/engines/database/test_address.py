"""All the usual spellings of a PostgreSQL URL mean the same."""

import pytest

from auterity.engines.database.address import connect_arguments, parse_address
from auterity.engines.database.errors import DatabaseAddressInvalid


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_scheme_of_postgresql_is_taken(scheme: str) -> None:
    address = parse_address(f"{scheme}://ann:p%40ss@db.example:6432/main")
    assert address.drivername == "postgresql+asyncpg"
    assert connect_arguments(address) == {
        "host": "db.example",
        "port": 6432,
        "user": "ann",
        "password": "p@ss",
        "database": "main",
    }


def test_libpqs_sslmode_becomes_asyncpgs_ssl() -> None:
    assert connect_arguments("postgres://h/d?sslmode=verify-full").get("ssl") == "verify-full"
    assert parse_address("postgres://h/d?sslmode=require").query == {"ssl": "require"}


def test_a_unix_socket_is_a_host_in_the_query() -> None:
    arguments = connect_arguments("postgresql://ann@/main?host=/run/my%20db&port=5433")
    assert arguments.get("host") == "/run/my db"
    assert arguments.get("port") == 5433


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/d", "needs PostgreSQL"),
        ("sqlite:///x.db", "needs PostgreSQL"),
        ("postgresql+psycopg2://h/d", "needs PostgreSQL"),
        ("postgres://h", "names no database"),
        ("not a url", "cannot be read"),
        ("postgres://h:port/d", "cannot be read"),
        ("postgres://h/d?sslmode=maybe", "sslmode must be"),
        ("postgres://h/d?sslrootcert=/x", "'sslrootcert' is not known"),
        ("postgres://h/d?sslmode=require&sslmode=disable", "twice"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(url: str, said: str) -> None:
    with pytest.raises(DatabaseAddressInvalid, match=said):
        parse_address(url)


def test_a_refusal_never_shows_the_password() -> None:
    with pytest.raises(DatabaseAddressInvalid) as refused:
        parse_address("mysql://ann:hunter2@h/d")
    assert "hunter2" not in str(refused.value)
