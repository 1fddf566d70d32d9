"""What iPhones, iPads and Macs are set up with: a configuration profile for one mail account, in the form of
Apple's "Device Management: Mail". It has everything but the password, which the device asks for.

The same address always gets the same identifiers, so that a newer profile takes the place of the older one.
"""

from __future__ import annotations

import plistlib
import uuid
from collections.abc import Callable
from typing import Any

from twisted.web.server import Request

from twisted_mta.web.mail_services import Setup
from twisted_mta.web.pages import Page, argument, not_found

PATH = "/setup/mail.mobileconfig"
MEDIA_TYPE = "application/x-apple-aspen-config"

Sign = Callable[
    [bytes], bytes
]  # a profile, signed (RFC 5652), or as it was when there is nothing to sign with


class AppleProfile(Page):
    """For whoever asks, about any address in a domain of ours: there is nothing secret in it."""

    def __init__(self, setup: Setup, sign: Sign) -> None:
        super().__init__()
        self._setup = setup
        self._sign = sign

    def render_GET(self, request: Request) -> bytes:
        """See IResource."""
        address = self._setup.address(argument(request, "address"))
        if not address:
            return not_found(request)
        request.setHeader("content-type", MEDIA_TYPE)
        request.setHeader("content-disposition", 'attachment; filename="mail.mobileconfig"')
        return self._sign(profile(self._setup, address))


def profile(setup: Setup, address: str) -> bytes:
    """XML."""
    incoming, outgoing = setup.of("imap", "pop3")[0], setup.of("submission")[0]
    domain = address.rpartition("@")[2]
    name = ".".join([*reversed(domain.split(".")), "mail", str(uuid.uuid5(uuid.NAMESPACE_URL, address))])
    account: dict[str, Any] = {
        "PayloadType": "com.apple.mail.managed",
        **_identity(f"{name}.account"),
        "PayloadDisplayName": "Mail",
        "EmailAccountDescription": address,
        "EmailAddress": address,
        "EmailAccountType": "EmailTypeIMAP" if incoming.protocol == "imap" else "EmailTypePOP",
        "OutgoingPasswordSameAsIncomingPassword": True,
    }
    for side, service in (("Incoming", incoming), ("Outgoing", outgoing)):
        account |= {
            f"{side}MailServerHostName": service.host,
            f"{side}MailServerPortNumber": service.port,
            f"{side}MailServerUseSSL": True,  # on the ports of STARTTLS, that
            f"{side}MailServerUsername": address,
            f"{side}MailServerAuthentication": "EmailAuthPassword",
        }
    whole = {
        "PayloadType": "Configuration",
        **_identity(name),
        "PayloadDisplayName": f"Mail of {address}",
        "PayloadDescription": f"Sets up the mail account {address}. You will be asked for its password.",
        "PayloadOrganization": domain,
        "PayloadRemovalDisallowed": False,
        "PayloadContent": [account],
    }
    return plistlib.dumps(whole)


def _identity(name: str) -> dict[str, str | int]:
    return {
        "PayloadIdentifier": name,
        "PayloadUUID": str(uuid.uuid5(uuid.NAMESPACE_URL, name)).upper(),
        "PayloadVersion": 1,
    }
