"""What stands in the way of a message at one server, before anything is said of it: extensions that it
needs and the server does not offer.

Each refusal is final for this server only: the next host of the domain may offer more.

Left out on purpose: 8-bit content without 8BITMIME, and BINARYMIME: these are converted
(`transfer/recoding.py`).
"""

from __future__ import annotations

from twisted_mta.message.conversion import Form
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.protocol.smtp.offers import read_number
from twisted_mta.protocol.smtp.transaction import Transaction, is_binary
from twisted_mta.transfer.mta.relay.verdict import Verdict


def obstacle(engine: ClientEngine, transaction: Transaction, *, tls: bool, now: float) -> Verdict | None:
    """A permanent verdict on the message at this server, or None when it may be sent. tls: the connection is
    inside TLS. now: seconds since the epoch."""
    offers = engine.extensions
    if transaction.needs_smtputf8 and "SMTPUTF8" not in offers:
        text = "Internationalised addresses or header fields, and the server does not know SMTPUTF8"
        return Verdict(Stage.MAIL, 553, "5.6.7", text)
    if transaction.parameters.require_tls and not (tls and "REQUIRETLS" in offers):
        text = "The sender requires TLS all the way, and the server does not promise it (REQUIRETLS)"
        return Verdict(Stage.MAIL, 550, "5.7.30", text)
    if 0 < (limit := engine.size_limit) < transaction.size:
        text = f"Message of {transaction.size} octets is larger than the {limit} that the server takes"
        return Verdict(Stage.MAIL, 552, "5.3.4", text)
    return _too_late(engine, transaction, now)


def _too_late(engine: ClientEngine, transaction: Transaction, now: float) -> Verdict | None:
    """DELIVERBY with by-mode R must not be passed on where it would be forgotten, or come too late (RFC
    2852 §4)."""
    by, left = transaction.parameters.deliver_by, transaction.seconds_left(now)
    if by is None or left is None or by.notify:
        return None
    if left <= 0:
        return Verdict(Stage.MAIL, 554, "5.4.7", "The time for delivery that the sender gave is over")
    if "DELIVERBY" not in engine.extensions:
        text = "The sender wants delivery by a certain time, and the server does not know DELIVERBY"
        return Verdict(Stage.MAIL, 554, "5.3.3", text)
    if left < (least := read_number(engine.extensions["DELIVERBY"])):
        text = f"Delivery is wanted within {left} seconds, and the server wants to have {least}"
        return Verdict(Stage.MAIL, 554, "5.4.7", text)
    return None


def other_form(engine: ClientEngine, transaction: Transaction) -> Form | None:
    """What the content has to become for this server (RFC 6152 §3, RFC 3030 §3); None: it may go as it is."""
    eight_bit = "8BITMIME" in engine.extensions
    if transaction.parameters.body == "BINARYMIME":
        if is_binary(transaction, engine.extensions):
            return None
        return Form.EIGHT_BIT if eight_bit else Form.SEVEN_BIT
    return Form.SEVEN_BIT if transaction.eight_bit and not eight_bit else None
