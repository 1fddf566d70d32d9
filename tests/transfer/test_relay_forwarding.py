"""Under which reverse-path the relay sends what an alias or a script has sent on."""

from relay_town import ALICE, RelayTestCase
from scripted_server import Script

from twisted_mta.message.address import Address
from twisted_mta.message.outcome import Action, QueuedRecipient
from twisted_mta.message.status import MailError

FORWARDED = QueuedRecipient(7, Address.parse("bob@b.test"), original_path=Address.parse("f@a.test"))


class ForwardingTests(RelayTestCase):
    def setUp(self):
        self.asked = []

    async def rewrite(self, reverse_path):
        self.asked.append(reverse_path)
        if reverse_path is None:
            return None
        if reverse_path.local == "trouble":
            raise MailError(451, "4.3.0", "no book today")
        return Address("rewritten", "a.test")

    async def paths(self, *recipients, sender=ALICE):
        (server,) = await self.serve(Script())
        await self.start(rewrite=self.rewrite)
        self.outcomes = await self.send(*recipients, sender=sender)
        return [line for line in server.dialogs[0] if line.startswith("MAIL")]

    async def test_only_what_is_sent_on_has_another_sender(self):
        written, forwarded = await self.paths("cy@b.test", FORWARDED)
        assert "<alice@a.test>" in written and "<rewritten@a.test>" in forwarded
        assert [outcome.action for outcome in self.outcomes] == [Action.RELAYED] * 2

    async def test_the_null_path_stays(self):
        (mail,) = await self.paths(FORWARDED, sender=None)
        assert "<>" in mail and self.asked == [None]

    async def test_when_it_cannot_be_rewritten_the_mail_waits(self):
        assert await self.paths(FORWARDED, sender=Address("trouble", "far.test")) == []
        assert [(outcome.action, outcome.status) for outcome in self.outcomes] == [(Action.DELAYED, "4.3.0")]
