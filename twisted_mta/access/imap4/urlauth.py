"""URLs with which the owner of a message lets others read it (URLAUTH, RFC 4467; URLAUTH=BINARY, RFC 5524).

The mechanism INTERNAL: the token is an HMAC (SHA-256) of the URL under the mailbox's access key, which the
owner may change at any time. Whoever fetches a URL that is not valid, whatever is wrong with it, gets NIL.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import catenate
from twisted_mta.access.imap4.command import Rows
from twisted_mta.message.mime import locate, scan
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.bodystructure import render_body
from twisted_mta.protocol.imap4.commands.authorizing import GenUrlAuth, ResetKey, UrlFetch
from twisted_mta.protocol.imap4.fetch_items import Text
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.imap_url import (
    INTERNAL,
    AuthorizedUrl,
    BadUrl,
    MessageUrl,
    extract,
    in_response_code,
    parse_authorized,
)
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.access_keys import (
    access_key,
    drop_access_keys,
    owner_who_allows,
    renew_access_key,
    sign,
)
from twisted_mta.store.account import Account
from twisted_mta.store.errors import BadMailboxName, NoPermission, NoSuchMailbox
from twisted_mta.store.viewpoint import Place

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_PIECE = 256 * 1024  # octets written at a time


# Making them


async def generate(session: ImapSession, command: GenUrlAuth) -> None:
    """GENURLAUTH (RFC 4467 §7.1)."""
    made = []
    for url, mechanism in command.urls:
        try:
            made.append(await _authorize(session, url, mechanism))
        except BadUrl as error:
            raise CommandError(str(error), code=f"BADURL {in_response_code(url)}") from None
    session.engine.write(b"* GENURLAUTH %b\r\n" % b" ".join(map(responses.string, made)))
    session.complete(command, "GENURLAUTH completed")


async def _authorize(session: ImapSession, url: bytes, mechanism: str) -> bytes:
    """The URL with its token. Raises BadUrl."""
    found = parse_authorized(url)
    if mechanism != INTERNAL or found.auth.mechanism:
        raise BadUrl("A URL without mechanism, and the mechanism INTERNAL, were expected")
    account = session.require_account()
    if account.name not in found.accounts(found.owner, _domain(account)):
        raise BadUrl("The URL names another user")
    place = await _own_mailbox(session, found.message.mailbox)
    key = await access_key(account, place.name, make=True)
    assert key is not None
    return b"%b:internal:%b" % (url, sign(key, found.auth.rump).encode("ascii"))


async def _own_mailbox(session: ImapSession, name: str) -> Place:
    try:
        place = await session.viewpoint.require(name, "r")
    except (NoSuchMailbox, BadMailboxName, NoPermission):
        raise BadUrl("No such mailbox") from None
    if not place.own:
        raise BadUrl("No such mailbox")
    return place


async def reset(session: ImapSession, command: ResetKey) -> None:
    """RESETKEY (RFC 4467 §7.2): what has been made with the old keys is worthless."""
    if command.mailbox is None:
        await drop_access_keys(session.require_account())
        session.complete(command, "All keys removed")
        return
    if not {INTERNAL}.issuperset(command.mechanisms):
        session.refuse_command(command, "No such mechanism", "CANNOT")
        return
    place = await session.viewpoint.require(command.mailbox, "r")
    if not place.own:
        raise NoPermission()
    await renew_access_key(place.account, place.name)
    session.complete(command, "The mailbox has a new key", "URLMECH INTERNAL")


def _domain(account: Account) -> str:
    return account.name.rpartition("@")[2]


# Using them


async def fetch(session: ImapSession, command: UrlFetch) -> None:
    """URLFETCH (RFC 4467 §7.3)."""
    for url, wanted in command.urls:
        if session.gone:
            return
        head = b"* URLFETCH %b " % responses.string(url)
        try:
            await _answer(session, head, parse_authorized(url), wanted)
        except (BadUrl, NoSuchMailbox, BadMailboxName):
            session.engine.write(head + b"NIL\r\n")
        await session.drain()
    session.complete(command, "URLFETCH completed")


async def _answer(
    session: ImapSession, head: bytes, url: AuthorizedUrl, wanted: tuple[str, ...] | None
) -> None:
    """Write what the URL names. Raises BadUrl, NoSuchMailbox, BadMailboxName before anything is written."""
    engine, portions = session.engine, session.access.store.portions
    owner = await _owner(session, url)
    mailbox = await owner.open(url.message.mailbox)
    try:
        if wanted is None:
            async with catenate.read(portions, mailbox, url.message, extract) as octets:
                engine.write(head)
                await _write(session, octets)
        else:
            async with catenate.read(portions, mailbox, url.message, partial(_items, wanted)) as items:
                engine.write(head)
                for number, (start, content) in enumerate(items):
                    engine.write(b" " * (number > 0) + start)
                    if content is not None:
                        await _write(session, content)
                    engine.write(b")")
        engine.write(b"\r\n")
    finally:
        await mailbox.close()


async def _write(session: ImapSession, octets: bytes) -> None:
    engine = session.engine
    engine.write(b"%b{%d}\r\n" % (b"~" if b"\0" in octets else b"", len(octets)))
    for offset in range(0, len(octets), _PIECE):
        engine.write(octets[offset : offset + _PIECE])
        if len(octets) > _PIECE:
            await session.drain()


def _items(wanted: tuple[str, ...], data: bytes, url: MessageUrl) -> list[tuple[bytes, bytes | None]] | None:
    """In a thread: what RFC 5524 lets a client ask for, how each item begins and the octets that stand in it.
    None when there is no such part."""
    sections = Sections(data)
    octets = sections.extract(url.section)
    if octets is None:
        return None
    whole = url.section.text is Text.ALL
    items: list[tuple[bytes, bytes | None]] = []
    for word in wanted or ("BODY",):
        if word == "BODYPARTSTRUCTURE":
            part = locate(scan(data), url.section.part) if whole else None
            items.append((b"(BODYPARTSTRUCTURE " + (render_body(part, True) if part else b"NIL"), None))
        elif word == "BINARY" and whole:
            decoded = sections.decoded(url.section.part)
            items.append((b"(BINARY ", url.cut(octets if decoded is None else decoded)))
        else:
            items.append((b"(%b " % word.encode("ascii"), url.cut(octets)))
    return items


async def _owner(session: ImapSession, url: AuthorizedUrl) -> Account:
    """The account whose message it is, when its owner has allowed this session to read it. Raises BadUrl,
    NoSuchMailbox, BadMailboxName."""
    if url.is_expired(session.access.reactor.seconds()) or url.auth.mechanism != INTERNAL:
        raise BadUrl("Not valid")
    owner = await owner_who_allows(
        session.access.store,
        url.accounts(url.owner, _domain(session.require_account())),
        url.message.mailbox,
        text=url.auth.rump,
        token=url.auth.token,
        may_use=partial(_may_use, session, url),
    )
    if owner is None:
        raise BadUrl("Not valid")
    return owner


def _may_use(session: ImapSession, url: AuthorizedUrl, owner: Account) -> bool:
    """Whether the URL is meant for this session. One for submission is meant for servers that submit mail on
    behalf of users, whichever user it names (RFC 4467 §3.1)."""
    user = session.require_account().name
    match url.auth.access:
        case "submit":
            return user in session.access.submitters
        case "user":
            return user in url.accounts(url.auth.access_user, _domain(owner))
        case _:
            return True  # everybody here is logged in


COMMANDS: Rows = {GenUrlAuth: generate, ResetKey: reset, UrlFetch: fetch}
