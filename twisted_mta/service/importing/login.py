"""Logging in at the server that mail is fetched from (RFC 3501 §6.2): TLS first, then the strongest
mechanism.

What a server says of itself before TLS is asked again inside of it.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Iterator
from typing import NamedTuple

from twisted_mta.protocol.imap4.client import Text
from twisted_mta.protocol.imap4.client_responses import Continue, Data, Status, Value
from twisted_mta.protocol.sasl.client import ClientMechanism, choose
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.lines import CANCEL, decode, encode
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.importing.connection import Connection, Denied, Lost, Place, connect

_TRY_LATER = frozenset({"UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG"})
_MOST_WORDS = 100  # flags of a message, attributes of a mailbox
_LONGEST_WORD = 100  # octets
_MOST_CAPABILITIES = 1000


class Credentials(NamedTuple):
    """secret: gives (password, token of OAuth), one of which is ""; asked at each login, as a token may have
    been renewed."""

    user: str
    secret: Callable[[], tuple[str, str]]


def log_in(
    place: Place, credentials: Credentials, context: ssl.SSLContext
) -> tuple[Connection, frozenset[str]]:
    """A connection that is logged in, and what the server can do there, in upper case.

    Raises Lost, Refused."""
    connection = connect(place, context)
    try:
        return connection, _begin(connection, credentials, context)
    except BaseException:
        connection.close()
        raise


def _begin(connection: Connection, credentials: Credentials, context: ssl.SSLContext) -> frozenset[str]:
    """What the server can do in the end."""
    greeting = connection.greeting()
    place = connection.place
    tls = connection.is_secure
    offered = _capabilities(connection)
    if not tls and not place.plain:
        if greeting.condition == "PREAUTH" or "STARTTLS" not in offered:
            raise Refused(
                f"{place}: the server offers no TLS here. Nothing was sent; try imaps://, or, if"
                " everybody between here and there may read the password and the mail, --without-tls"
            )
        try:
            connection.run(b"STARTTLS")
        except Denied as denied:
            raise Refused(f"{place}: the server does not begin with TLS: {denied}") from denied
        connection.start_tls(context)
        offered = _capabilities(connection)
    if greeting.condition != "PREAUTH":
        _authenticate(connection, credentials, offered)
        offered = _capabilities(connection)
    return offered


def _capabilities(connection: Connection) -> frozenset[str]:
    found: set[str] = set()

    def take(data: Data) -> None:
        if data.name == "CAPABILITY" and len(found) < _MOST_CAPABILITIES:
            found.update(word.upper() for word in words_of(data.values, _MOST_CAPABILITIES))

    try:
        connection.run(b"CAPABILITY", untagged=take)
    except Denied as denied:
        raise Refused(f"{connection.place}: the server does not say what it can do: {denied}") from denied
    return frozenset(found)


def _authenticate(connection: Connection, credentials: Credentials, offered: frozenset[str]) -> None:
    user = credentials.user
    password, token = credentials.secret()
    try:
        mechanism = choose(
            [each.removeprefix("AUTH=") for each in offered if each.startswith("AUTH=")],
            login=user,
            password=password,
            token=token,
            secure=True,
            nonce=secrets.token_hex(16),
            binding=None,
            host=connection.place.host,
            port=connection.place.port,
        )
        if mechanism is not None:
            _exchange(connection, mechanism, offered)
        elif token:
            raise Refused(f"{connection.place}: the server takes no tokens of OAuth")
        elif "LOGINDISABLED" in offered:
            raise Refused(f"{connection.place}: the server offers no way to log in that is known here")
        else:
            connection.run(b"LOGIN", Text(user.encode()), Text(password.encode()))
    except SaslError as error:
        raise Refused(f"{connection.place}: logging in failed: {error}") from error
    except Denied as denied:
        if denied.code in _TRY_LATER:
            raise Lost(f"the server lets nobody in now: {denied}") from denied
        advice = (
            "The token may have expired; put a new one into the file"
            if token
            else "Check the name and the password; where logging in takes two steps, an app password is"
            " wanted, or --token-file"
        )
        raise Refused(
            f"{connection.place}: the server does not let {user} in: {denied}. {advice}"
        ) from denied


def _exchange(connection: Connection, mechanism: ClientMechanism, offered: frozenset[str]) -> None:
    words: list[bytes | Text] = [b"AUTHENTICATE", mechanism.name.encode("ascii")]
    initial = mechanism.initial
    if initial is not None and "SASL-IR" in offered:
        words.append(encode(initial) or b"=")
        initial = None
    tag = connection.send(*words, exchange=True)
    failure: SaslError | None = None
    while True:
        event = connection.event()
        if isinstance(event, Continue):
            if failure is not None:  # it does not take the end of it for one
                raise failure
            try:
                if initial is not None:
                    answer, initial = encode(initial), None
                else:
                    answer = encode(mechanism.respond(decode(event.text)))
            except SaslError as error:
                failure, answer = error, CANCEL
            connection.engine.answer(answer)
            connection.flush()
        elif isinstance(event, Status) and event.tag == tag:
            if failure is not None:
                raise failure
            if event.condition != "OK":
                raise Denied(event)
            if not mechanism.proven:
                raise SaslError("the server has not shown that it knows the password")
            return


def words_of(values: list[Value], most: int = _MOST_WORDS) -> Iterator[str]:
    """Those among the first values that are words of a bearable length."""
    for value in values[:most]:
        if isinstance(value, bytes) and len(value) <= _LONGEST_WORD:
            yield value.decode("ascii", "replace")
