"""MariaDB's databases, users and grants, through PyMySQL."""

import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import RLock
from typing import Any, Final

import pymysql
import pymysql.connections
from pymysql.constants import CR, ER

from reconciler.errors import ReconcilerError
from reconciler.foreign import said
from reconciler.model import FORMER, Registration
from reconciler.registrations.failures import denied, holds_data, not_yet, refused, unknown_type, unreachable, untrusted
from reconciler.registrations.keys import name as name_of
from reconciler.registrations.mariadb import grants, keys
from reconciler.registrations.protocol import CONNECT_SECONDS, DIFFERS, READ_SECONDS, Connection, Observed
from reconciler.system.sessions import trusting

# NO_AUTO_CREATE_USER: a grant to a user that is not there must fail, not make one without a password.
_INIT: Final = "SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER', sql_quote_show_create = 1"
_NATIVE: Final = ("", "mysql_native_password")
_SEVERAL: Final = (10, 4)  # since then an account can be let in by several passwords
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.\d+-MariaDB")
_WORD: Final = re.compile(r"[A-Za-z0-9_]+")

_NO_SUCH_GRANT: Final = ER.NONEXISTING_GRANT
_NO_SUCH_USER: Final = 1133  # ER_PASSWORD_NO_MATCH: a grant to a user that does not exist
_DENIED: Final = frozenset(
    {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, 1130, 1227, 1410, 1698}
)
_LATER: Final = frozenset(
    {
        ER.CON_COUNT_ERROR, ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.SERVER_SHUTDOWN, 1047, 1129, 1203, 1290, 1317,
        1836, 1927, 1969,
    }
)  # fmt: skip


@cache
def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Client(pymysql.connections.Connection):
    """Where TLS is used if the server has it, and its certificate is not looked at, PyMySQL would read all of the machine's
    authorities for each connection: most of what a login costs here."""

    def _create_ssl_ctx(self, sslp: Any) -> ssl.SSLContext:
        return _unverified() if sslp == {} else super()._create_ssl_ctx(sslp)  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _Account:
    """How an account is let in: plugin and what it holds, others besides, and for how many seconds that has been so (None: nobody knows)."""

    plugin: str
    held: str
    others: tuple[tuple[str, str], ...] = ()
    age: float | None = None

    @property
    def is_native(self) -> bool:
        return self.plugin in _NATIVE


class MariaDB:
    """One server. Connection: host, port, username, password, ca_file?, verify?, tls?.

    Passwords are compared as hashes, so neither a pass nor a rotation sends one, and nobody is logged in. An account that
    authenticates in another way than mysql_native_password differs, and is brought to that.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._host, self._port = connection.text("host"), int(connection.text("port", default="3306"))
        self._lock = RLock()
        self._client: Any = None

    @property
    def target(self) -> str:
        return f"MariaDB at {self._host}:{self._port}"

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                with suppress(pymysql.Error, OSError):
                    client.close()

    def log_in(self) -> None:
        """See Backend."""
        try:
            client = self._connect(self._connection.user, self._connection.password)
        except (pymysql.Error, OSError) as error:
            raise self._failure(error) from None
        with suppress(pymysql.Error, OSError):
            client.close()

    def observe(self, registrations: Sequence[Registration]) -> dict[str, Observed]:
        """See Backend."""
        types = {registration.type for registration in registrations}
        with self._lock:
            databases = self._databases() if "database" in types else {}
            users = self._users() if types & {"user", "grant"} else {}
            observed: dict[str, Observed] = {}
            for wanted in registrations:
                if wanted.type == "database":
                    observed[wanted.id] = _database(wanted, databases.get(name_of(wanted)))
                elif wanted.type == "user":
                    observed[wanted.id] = self._user(wanted, users.get(_account(*keys.user(wanted))))
                elif wanted.type == "grant":
                    observed[wanted.id] = self._grant(wanted, users)
                else:
                    raise unknown_type(wanted)
        return observed

    def converge(self, registration: Registration) -> None:
        """See Backend."""
        with self._lock:
            if registration.type == "database":
                self._converge_database(registration)
            elif registration.type == "user":
                self._converge_user(registration, overlap=False)
            elif registration.type == "grant":
                self._converge_grant(registration)
            else:
                raise unknown_type(registration)

    def overlap(self, registration: Registration) -> None:
        """See Overlaps."""
        if registration.type != "user":
            self.converge(registration)
            return
        with self._lock:
            self._converge_user(registration, overlap=True)

    def end_former(self, registration: Registration) -> None:
        """See Overlaps."""
        with self._lock:
            name, host = keys.user(registration)
            password, found = registration.fields.get("password"), self._users().get(_account(name, host))
            if password is not None and found and found.others and _fits(found, password):
                self._let_in("ALTER USER", name, host, native_hash(password))

    def withdraw(self, registration: Registration) -> None:
        """See Backend."""
        if registration.type == "database":
            raise holds_data(registration)
        with self._lock:
            if registration.type == "user":
                name, host = keys.user(registration)
                if name == self._connection.user:
                    raise refused(self.target, f"user {name!r} is the one this program works as; it stays")
                self._run("DROP USER IF EXISTS %s@%s", name, host)
            elif registration.type == "grant":
                name, host, database = keys.grant(registration)
                for scope, have in self._grants(name, host, database).items():
                    self._revoke(name, host, scope, have)
            else:
                raise unknown_type(registration)

    # --- databases ---------------------------------------------------------------------------------------------------

    def _databases(self) -> dict[str, tuple[str, str]]:
        rows = self._run(
            "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA"
        )
        return {name: (charset, collation) for name, charset, collation in rows}

    def _converge_database(self, wanted: Registration) -> None:
        name = name_of(wanted)
        found = _database(wanted, self._databases().get(name))
        options = ""
        for field, option in (
            ("charset", "CHARACTER SET"),
            ("character_set", "CHARACTER SET"),
            ("collation", "COLLATE"),
        ):
            value = wanted.fields.get(field)
            if not value:
                continue
            if not _WORD.fullmatch(str(value)):
                raise refused(self.target, f"{value!r} cannot be the {field} of database {name!r}")
            if found is None or found[field] != value:
                options += f" {option} {value}"
        if found is None:
            self._run(f"CREATE DATABASE IF NOT EXISTS {_quoted(name)}{options}")
        elif options:
            self._run(f"ALTER DATABASE {_quoted(name)}{options}")

    # --- users -------------------------------------------------------------------------------------------------------

    def _users(self) -> dict[tuple[str, str], _Account]:
        if not self._takes_several():
            rows = self._run("SELECT User, Host, plugin, authentication_string FROM mysql.user")
            return {_account(name, host): _Account(plugin or "", text or "") for name, host, plugin, text in rows}
        rows = self._run("SELECT User, Host, Priv, UNIX_TIMESTAMP() FROM mysql.global_priv")
        return {_account(name, host): _stored(text, float(now)) for name, host, text, now in rows}

    def _takes_several(self) -> bool:
        found = _VERSION.search(str(self._run("SELECT VERSION()")[0][0]))
        return found is not None and (int(found[1]), int(found[2])) >= _SEVERAL

    def _user(self, wanted: Registration, found: _Account | None) -> Observed:
        if found is None:
            return None
        password = wanted.fields.get("password")
        if password is None:
            return {}
        if not found.is_native:
            return {"password": f"{DIFFERS} ({found.plugin})"}
        observed: dict[str, Any] = {"password": password if _fits(found, password) else DIFFERS}
        return observed | ({FORMER: found.age or 0.0} if found.others else {})

    def _converge_user(self, wanted: Registration, *, overlap: bool) -> None:
        name, host = keys.user(wanted)
        password = wanted.fields.get("password")
        found = self._users().get(_account(name, host))
        if password is None:
            if found is None:
                raise refused(self.target, f"user {name!r} has no password to be made with")
            return
        if found is not None and _fits(found, password):
            return
        verb = "CREATE USER IF NOT EXISTS" if found is None else "ALTER USER"
        keeps = overlap and found is not None and found.is_native and found.held and self._takes_several()
        # Two at most: a client that was answered with another than the first is asked once more, and not twice.
        self._let_in(verb, name, host, native_hash(password), *([found.held] if found and keeps else []))

    def _let_in(self, verb: str, name: str, host: str, *hashes: str) -> None:
        """The hash travels, not the password: statements end up in logs, and the connection may be in the clear."""
        ways = " OR ".join(["mysql_native_password USING %s"] * len(hashes))
        self._run(f"{verb} %s@%s IDENTIFIED VIA {ways}", name, host, *hashes)

    # --- grants ------------------------------------------------------------------------------------------------------

    def _grant(self, wanted: Registration, users: Mapping[tuple[str, str], object]) -> Observed:
        name, host, database = keys.grant(wanted)
        if _account(name, host) not in users:
            return None
        have = self._grants(name, host, database)
        if not have:
            return None
        asked = self._asked(wanted)
        found = frozenset().union(*have.values())
        option = grants.OPTION in found
        same = grants.same(found - {grants.OPTION}, asked - {grants.OPTION})
        if "grant_option" not in wanted.fields:
            same = same and option == (grants.OPTION in asked)
            found_words = found
        else:
            found_words = found - {grants.OPTION}
        return {"grant_option": option, "privileges": wanted.fields.get("privileges") if same else sorted(found_words)}

    def _grants(self, name: str, host: str, database: str) -> dict[str, frozenset[str]]:
        """What the account has on this database: spelling of the scope → privileges."""
        try:
            rows = self._run("SHOW GRANTS FOR %s@%s", name, host)
        except _NoSuchGrant:
            return {}
        return grants.on_database((row[0] for row in rows), database)

    def _asked(self, wanted: Registration) -> frozenset[str]:
        words = wanted.fields.get("privileges") or []
        asked = grants.normal(words)
        if wanted.fields.get("table") not in (None, "", "*"):
            raise refused(self.target, f"grant {wanted.key!r}: privileges on one table are not supported")
        if not asked or not all(re.fullmatch(r"[A-Z ]+", word) for word in asked):
            raise refused(self.target, f"grant {wanted.key!r}: {words!r} are not privileges")
        return asked | {grants.OPTION} if wanted.fields.get("grant_option") else asked

    def _converge_grant(self, wanted: Registration) -> None:
        name, host, database = keys.grant(wanted)
        asked = self._asked(wanted)
        have = self._grants(name, host, database)
        found = frozenset().union(*have.values())
        if grants.missing(found, asked):
            scope = grants.scope(database) if not have else min(have, key=len)
            plain = ", ".join(sorted(asked - {grants.OPTION})) or "USAGE"
            option = " WITH GRANT OPTION" if grants.OPTION in asked else ""
            self._run(f"GRANT {plain} ON {_percent(scope)} TO %s@%s{option}", name, host)
            have = self._grants(name, host, database)
        for scope, privileges in have.items():
            if grants.ALL in privileges and grants.ALL not in asked:
                privileges = self._spelt_out(name, host, scope) | (privileges - {grants.ALL})
            self._revoke(name, host, scope, grants.missing(asked, privileges))

    def _spelt_out(self, name: str, host: str, scope: str) -> frozenset[str]:
        """What ALL PRIVILEGES means here, so that the wanted part is never revoked, not even for a moment."""
        grantee = f"'{name}'@'{host}'"
        if scope == "*.*":
            rows = self._run(
                "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = %s", grantee
            )
        else:
            rows = self._run(
                "SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = %s AND TABLE_SCHEMA = %s",
                grantee,
                grants.stored(scope),
            )
        return grants.normal(row[0] for row in rows)

    def _revoke(self, name: str, host: str, scope: str, privileges: frozenset[str]) -> None:
        # ALL cannot be in one list with the right to pass it on.
        for words in (privileges - {grants.OPTION}, privileges & {grants.OPTION}):
            if words:
                self._run(f"REVOKE {', '.join(sorted(words))} ON {_percent(scope)} FROM %s@%s", name, host)

    # --- the connection ----------------------------------------------------------------------------------------------

    def _run(self, statement: str, *values: str) -> Sequence[tuple[Any, ...]]:
        """Run one statement. Values are escaped by the client; identifiers in the statement are quoted already."""
        try:
            with self._ready().cursor() as cursor:
                cursor.execute(statement, values)
                rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
                return rows
        except (pymysql.Error, OSError, ValueError) as error:
            if _code(error) == _NO_SUCH_GRANT:
                raise _NoSuchGrant from None
            raise self._failure(error) from None

    def _ready(self) -> Any:
        """The connection; a new one when the server closed the old one meanwhile."""
        if self._client is not None:
            try:
                self._client.ping(reconnect=False)
            except (pymysql.Error, OSError):
                self.close()
        if self._client is None:
            self._client = self._connect(self._connection.user, self._connection.password)
        return self._client

    def _connect(self, user: str, password: str) -> Any:
        return _Client(
            host=self._host,
            port=self._port,
            user=user,
            password=password.encode(),  # PyMySQL would encode a text as latin-1
            charset="utf8mb4",
            autocommit=True,
            init_command=_INIT,
            ssl=self._tls(),
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            write_timeout=READ_SECONDS,
        )

    def _tls(self) -> ssl.SSLContext | None:
        verify = self._connection.verify
        if verify is True and not self._connection.values.get("tls"):
            return None
        context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        trusting(self._connection.authorities, context)
        if verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _failure(self, error: Exception) -> ReconcilerError:
        code, text = _code(error), said(str(error.args[-1] if error.args else error))
        text = re.sub(r"\*[0-9A-Fa-f]{40}", "***", text)
        if code is None or code == 0 or code in _CLIENT_ERRORS:
            self.close()
            if "CERTIFICATE_VERIFY_FAILED" in text:
                return refused(self.target, untrusted(text))
            return unreachable(self.target, text)
        if code in _DENIED:
            return denied(self.target, self._connection.user, text)
        if code in _LATER:
            self.close()
            return unreachable(self.target, text)
        if code == _NO_SUCH_USER:
            return not_yet(self.target, "the user of the grant does not exist yet")
        return refused(self.target, f"{text} (error {code})")


class _NoSuchGrant(Exception):
    """The account is not there."""


_CLIENT_ERRORS: Final = frozenset(value for name, value in vars(CR).items() if name.startswith("CR_"))


def native_hash(password: str) -> str:
    """What mysql_native_password stores."""
    if not password:
        return ""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _is_hash_of(stored: str, password: str) -> bool:
    return hmac.compare_digest(stored.upper().encode(), native_hash(password).encode())


def _fits(found: _Account, password: str) -> bool:
    return found.is_native and _is_hash_of(found.held, password)


def _stored(text: str | bytes, now: float) -> _Account:
    """An account as the server's own table has it: a JSON document, in which an empty one among several ways stands for the first."""
    told = json.loads(text)
    ways = [
        (str(one.get("plugin", "")), str(one.get("authentication_string", "")))
        for one in told.get("auth_or", ())
        if one
    ]
    changed = told.get("password_last_changed")
    age = max(now - float(changed), 0.0) if changed else None
    return _Account(str(told.get("plugin", "")), str(told.get("authentication_string", "")), tuple(ways), age)


def _account(name: str, host: str) -> tuple[str, str]:
    return name, host.lower()


def _quoted(name: str) -> str:
    return _percent(grants.quoted(name))


def _percent(text: str) -> str:
    """For a statement that goes through the client's `%` formatting."""
    return text.replace("%", "%%")


def _code(error: Exception) -> int | None:
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else None


def _database(wanted: Registration, found: tuple[str, str] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    result: dict[str, Any] = {}
    for name, actual in (("charset", found[0]), ("character_set", found[0]), ("collation", found[1])):
        asked = wanted.fields.get(name)
        result[name] = asked if not asked or _charset(str(asked)) == _charset(actual) else actual
    return result


def _charset(name: str) -> str:
    """`utf8` is another word for `utf8mb3`, in collations too."""
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name.lower())
