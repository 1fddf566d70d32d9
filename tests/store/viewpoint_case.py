"""A store with three users, who look at each other's mailboxes."""

from store_case import ARRIVED, StoreCase, message

from twisted_mta.message.content import Content
from twisted_mta.store.errors import StoreError

ALICE, BOB, CAROL, NOBODY = "alice@a.test", "bob@a.test", "carol@b.test", "nobody@a.test"
WORK = f"Other Users/{ALICE}/Work"


class ViewpointCase(StoreCase):
    """`self.alice` has the mailbox Work; what she grants on it is what each test says."""

    async def start(self):
        await super().start()
        self.alice = await self.store.viewpoint(ALICE)
        self.bob = await self.store.viewpoint(BOB)
        self.carol = await self.store.viewpoint(CAROL)
        await self.alice.create("Work")
        await self.put(ALICE, "Work", 1)
        await self.put(BOB, "INBOX", 2)

    async def put(self, account, mailbox, *numbers, flags=frozenset()):
        for number in numbers:
            await self.store.deliver(
                account,
                Content(b"", message(number)),
                unique=f"m{number}",
                arrived=ARRIVED,
                mailbox=mailbox,
                flags=flags,
            )

    async def grant(self, rights, to=BOB, mailbox="Work"):
        await self.alice.set_acl(mailbox, to, rights)

    async def outcome(self, awaitable):
        """What a call ends with: a kind of error, or None."""
        try:
            await awaitable
        except StoreError as error:
            return type(error)
        return None

    async def copy_into(self, name, viewpoint=None, move=False, flags=frozenset(), source="INBOX"):
        viewpoint = viewpoint or self.bob
        opened = await viewpoint.open(source)
        try:
            return await viewpoint.copy(opened.mailbox, list(opened.mailbox.uids), name, move)
        finally:
            await opened.mailbox.close()

    async def flags(self, viewpoint, name):
        opened = await viewpoint.open(name)
        found = [opened.mailbox.flags(uid) for uid in opened.mailbox.uids]
        await opened.mailbox.close()
        return found

    async def names(self, viewpoint):
        return [info.name for info in await viewpoint.list_mailboxes() if not info.own]
