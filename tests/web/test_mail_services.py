"""Whatever somebody gives for an address, what is made of it can be read."""

import plistlib
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_mta.web.apple_profile import profile
from twisted_mta.web.autoconfig import document
from twisted_mta.web.autodiscover import settings
from twisted_mta.web.mail_services import MailService, Setup
from twisted_mta.web.setup_page import qr_code

SERVICES = (
    MailService("imaps", "mail.a.test", 993),
    MailService("pop3", "mail.a.test", 110),
    MailService("submission", "mail.a.test", 587),
    MailService("managesieve", "mail.a.test", 4190),
)
SETUP = Setup(SERVICES, "https://mail.a.test", lambda domain: domain in ("a.test", "xn--bcher-kva.test"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("alice@a.test", "alice@a.test"),
        (" Alice@A.Test\n", "alice@a.test"),
        ("ä@Bücher.test", "ä@xn--bcher-kva.test"),
        ("o'hara&co@a.test", "o'hara&co@a.test"),
        ('"alice"@a.test', "alice@a.test"),
        ('"a b"@a.test', ""),
        ("alice@[192.0.2.1]", ""),
        ("alice@c.test", ""),
        ("alice", ""),
        ("@a.test", ""),
        ("", ""),
        ("alice@a.test, bob@a.test", ""),
        ("alice@a.test\0", ""),
        ("\ufffe@a.test", ""),
    ],
)
def test_addresses(text, address):
    assert SETUP.address(text) == address


def test_the_best_comes_first():
    assert [one.service for one in SETUP.of("imap", "pop3", "submission")] == ["imaps", "pop3", "submission"]
    assert SETUP.is_enough and not Setup(SERVICES[:2], "", SETUP.is_ours).is_enough


@given(st.text(max_size=80).map(lambda local: f"{local}@a.test") | st.text(max_size=300))
@example("<&\"'>@a.test")
@example("]]>@a.test")
def test_whatever_is_asked_about(text):
    address = SETUP.address(text)
    if not address:
        return
    found = {each.text for each in ElementTree.fromstring(settings(SETUP, address)).iter() if each.text}
    assert address in found
    (account,) = plistlib.loads(profile(SETUP, address))["PayloadContent"]
    assert account["EmailAddress"] == address and address in account["EmailAccountDescription"]
    ElementTree.fromstring(document(SETUP, address.rpartition("@")[2]))


def test_the_longest_address_fits_into_a_code():
    url = f"https://{'a.' * 120}test/setup/mail.mobileconfig?address={'%C3%A4' * 120}"
    assert ElementTree.fromstring(qr_code(url)).get("height")
