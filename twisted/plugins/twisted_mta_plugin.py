"""Makes `twistd mta` appear: Twisted finds service makers by looking into `twisted.plugins`."""

from twisted.application.service import ServiceMaker

mta = ServiceMaker(
    "twisted_mta",
    "twisted_mta.service.tap",
    "A mail server: SMTP, Maildir, IMAP, POP3.",
    "mta",
)
