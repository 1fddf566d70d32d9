"""Makes `twistd mta` appear: Twisted finds service makers by looking into `twisted.plugins`."""

from twisted.application.service import ServiceMaker

mta = ServiceMaker(
    "twisted_mta",
    "twisted_mta.service.tap",
    "A complete mail server: SMTP, submission, relay, Maildir, IMAP and POP3.",
    "mta",
)
