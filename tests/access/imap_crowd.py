"""An IMAP client of any kind that does at random what clients do, and the world that it lives in."""

import re
from collections import Counter
from contextlib import contextmanager

from client_view import ClientView, as_set, split_responses, uids_in
from twisted.internet import reactor
from twisted.internet.task import deferLater

FLAGS = ("\\Answered", "\\Draft", "\\Flagged", "\\Seen", "$Work", "later", "\\Deleted")
MAILBOXES = {"INBOX": "", "Archive": ".Archive"}  # their directories
NOTIFY = "NOTIFY SET (%s (MessageNew (UID FLAGS%s) MessageExpunge FlagChange))"
REFUSED = re.compile(rb"\S+ NO (\[EXPUNGEISSUED\]|Some of the messages no longer exist|\[MODIFIED )")

# What clients switch on, and the NOTIFY group or IDLE between their commands.
KINDS = (
    ((), ""),
    (("CONDSTORE",), ""),
    (("QRESYNC",), ""),
    (("QRESYNC",), ""),
    (("UIDONLY",), ""),
    (("UIDONLY", "QRESYNC"), ""),
    (("IMAP4REV2",), ""),
    (("IMAP4REV2", "CONDSTORE"), ""),
    ((), "IDLE"),
    (("QRESYNC",), "IDLE"),
    (("CONDSTORE",), "SELECTED"),
    (("QRESYNC", "IMAP4REV2"), "SELECTED"),
    ((), "SELECTED-DELAYED"),
    (("UIDONLY",), "SELECTED"),
)


def message(identity):
    return b"From: e@far.test\r\nSubject: identity %d\r\n\r\nidentity %d\r\n" % (identity, identity)


def removable(identity):
    return identity % 3 == 0


class World:
    """What has to be there: how often each message at least and at most, and which UID names it."""

    def __init__(self):
        self.count = 0
        self.least, self.most = Counter(), Counter()
        self.names = {}

    def new(self, sure=True):
        """An identity that has not been used. `sure`: its message will be stored, whatever happens."""
        self.count += 1
        self.most[self.count] = 1
        self.least[self.count] = int(sure and not removable(self.count))
        return self.count

    def stored(self, identity):
        """One more message with this identity is known to be stored."""
        self.least[identity] += not removable(identity)

    def called(self, validity, uid, identity):
        assert self.names.setdefault((validity, uid), identity) == identity, (validity, uid, identity)

    def identity(self, validity, uid):
        return self.names.get((validity, uid))


class Session:
    """One client and its view."""

    def __init__(self, case, number, kind, mailbox, rng, user="alice"):
        self.case, self.world, self.rng = case, case.world, rng
        self.enabled, self.standing = kind
        self.user = user
        self.name, self.mailbox = f"{number}:{'+'.join(self.enabled)}:{self.standing}", mailbox
        self.view = ClientView(self.enabled)
        self.by_uid = "UIDONLY" in self.enabled or self.standing == "SELECTED"
        self.sent = 0
        self.asleep = self.idling = False
        self.own = []  # UIDs that it was told for what it has stored
        self.protocol = case.protocols.setdefault(self.name, [])

    def path(self, mailbox):
        """One of alice's mailboxes, as this user calls it."""
        return mailbox if self.user == "alice" else f'"Other Users/alice@a.test/{mailbox}"'

    # Speaking

    async def begin(self):
        """Log in, switch on what this client wants, and select; with what is remembered if there is any."""
        self.talk = await self.case.logged_in(user=self.user)
        self.asleep = self.idling = False
        if self.enabled:
            await self.command(f"ENABLE {' '.join(self.enabled)}")
        if self.standing.startswith("SELECTED"):
            await self.command(NOTIFY % (self.standing, " MODSEQ" if self.view.keeps_modseqs else ""))
        await self.select()

    async def select(self):
        self.resynchronized = False
        if "QRESYNC" in self.enabled and self.view.modseq:
            await self.resynchronize()
        else:
            self.view.forget()
            await self.command(f"SELECT {self.path(self.mailbox)}")
        if self.standing == "SELECTED":  # from now on it is told everything
            await self.complete()

    async def resynchronize(self):
        view = self.view
        complete = view.remember()
        known = [slot.uid for slot in view.slots]
        parameter = f"{view.validity} {view.modseq}"
        form = self.rng.randrange(3) if known else 0
        self.resynchronized = complete and not form  # then SELECT has to tell everything
        if not known and not complete:
            view.forget()
            await self.command(f"SELECT {self.path(self.mailbox)}")
            return
        if form or not complete:
            parameter += f" {as_set(known) if 'UIDONLY' in self.enabled else f'1:{known[-1]}'}"
        if form == 2 and "UIDONLY" not in self.enabled:
            numbers = sorted(self.rng.sample(range(1, len(known) + 1), min(3, len(known))))
            parameter += f" ({as_set(numbers)} {as_set(known[number - 1] for number in numbers)})"
        await self.command(f"SELECT {self.path(self.mailbox)} (QRESYNC ({parameter}))")

    async def command(self, text, *, silent=None, refusable=False):
        """Send a command, and hear the answer."""
        self.note(self.talk.said())
        self.sent += 1
        octets = text if isinstance(text, bytes) else text.encode()
        self.protocol.append(b"C: t%d " % self.sent + octets)
        self.view.silent = silent
        tagged = self.note(await self.talk.send(b"t%d " % self.sent + octets + b"\r\n"))
        self.view.silent = None
        assert tagged.startswith(b"t%d OK" % self.sent) or (refusable and REFUSED.search(tagged)), tagged

    def note(self, output):
        """Hear what has been said; the tagged response."""
        tagged = b""
        self.heard = list(split_responses(output))
        for response in self.heard:
            self.protocol.append(b"S: " + response)
            self.view.hear(response)
            for code, validity, *sets in re.findall(
                rb"\[(COPYUID|APPENDUID) (\d+) ([\d:,]+)(?: ([\d:,]+))?\]", response
            ):
                self.heard_code(code, int(validity), *(uids_in(each) for each in sets if each))
            if response.startswith(b"t"):
                tagged = response
        for uid, identity in self.view.identities.items():
            self.world.called(self.view.validity, uid, identity)
        self.view.identities.clear()
        return tagged

    def heard_code(self, code, validity, uids, copies=()):
        if code == b"APPENDUID":
            self.own = uids
            for uid, identity in zip(uids, self.appended, strict=True):
                self.world.called(validity, uid, identity)
                self.world.stored(identity)
        for uid, copy in zip(uids, copies, strict=False):
            identity = self.world.identity(self.view.validity, uid)
            assert identity is not None
            self.world.called(validity, copy, identity)
            if self.copying:
                self.world.stored(identity)

    # What a client does

    async def act(self):
        """One thing, chosen at random."""
        with self.explained():
            await self.act_somehow()

    @contextmanager
    def explained(self):
        """What goes wrong is shown with what was said before."""
        try:
            yield
        except Exception as error:
            said = b"\n".join(self.protocol[-60:]).decode("latin-1")
            raise AssertionError(f"{self.name}: {error!r}\n{said}") from error

    async def act_somehow(self):
        if self.idling:
            self.note(self.talk.said())
            if self.rng.random() < 0.5:
                return
            await self.done()
        actions = [
            self.look, self.store, self.store, self.store, self.expunge, self.append, self.append,
            self.copy, self.move, self.fetch, self.fetch, self.reopen, self.replace, self.search,
            self.break_off,
        ]  # fmt: skip
        await self.rng.choice(actions)()
        if self.standing == "IDLE" and self.rng.random() < 0.6 and not self.asleep:
            await self.idle()

    async def idle(self):
        self.idling = True
        self.sent += 1
        self.protocol.append(b"C: idle")
        self.note(await self.talk.send(b"t%d IDLE\r\n" % self.sent))

    async def done(self):
        self.idling = False
        self.protocol.append(b"C: DONE")
        self.note(await self.talk.send(b"DONE\r\n"))

    def some(self, wanted=lambda identity: True, most=4):
        """How a few messages are called: by UID or by number; with their slots."""
        view = self.view
        found = [
            (number, slot)
            for number, slot in enumerate(view.slots, 1)
            if slot.uid is not None and wanted(self.world.identity(view.validity, slot.uid))
        ]
        found = sorted(self.rng.sample(found, min(len(found), self.rng.randint(1, most))), key=lambda e: e[0])
        by_uid = self.by_uid or self.rng.random() < 0.5
        numbers = [slot.uid if by_uid else number for number, slot in found]
        return "UID " if by_uid else "", as_set(numbers), [slot for _, slot in found]

    async def look(self):
        await self.command(self.rng.choice(["NOOP", "CHECK"]))

    async def store(self):
        how = self.rng.choice(["+", "+", "-", ""])
        flags = frozenset(self.rng.sample(FLAGS, self.rng.randint(1, 3)))
        deleting = how != "-" and "\\Deleted" in flags
        uid, numbers, slots = self.some((lambda n: n and removable(n)) if deleting else lambda n: True)
        if not slots:
            return
        view = self.view
        modifier = ""
        if view.keeps_modseqs and self.rng.random() < 0.4:
            modifier = f" (UNCHANGEDSINCE {max(slot.modseq for slot in slots) or view.modseq})"
        silent = self.rng.random() < 0.4 and (view.keeps_modseqs or not self.standing.startswith("SEL"))
        if silent and not view.keeps_modseqs:
            for slot in slots:
                view.change(slot, how, flags)
        words = f"{how}FLAGS{'.SILENT' if silent else ''} ({' '.join(sorted(flags))})"
        change = (how, flags) if silent and view.keeps_modseqs else None
        await self.command(f"{uid}STORE {numbers}{modifier} {words}", silent=change, refusable=True)

    async def expunge(self):
        uid, _, slots = self.some(most=10)
        await self.command(f"UID EXPUNGE {as_set(s.uid for s in slots)}" if slots and uid else "EXPUNGE")

    async def append(self):
        self.appended = [self.world.new(sure=False) for _ in range(self.rng.choice([1, 1, 3]))]
        parts = b"".join(map(self.literal, self.appended))
        target = self.rng.choice(list(MAILBOXES))
        await self.command(b"APPEND %b%b" % (self.path(target).encode(), parts))
        await self.ask_for_own(target)

    async def ask_for_own(self, target):
        """Of the messages that it stores itself a client is not told by NOTIFY (RFC 5465 §5.2)."""
        own, self.own = self.own, []
        if self.standing == "SELECTED" and target == self.mailbox and own:
            items = "UID FLAGS MODSEQ" if self.view.keeps_modseqs else "UID FLAGS"
            await self.command(f"UID FETCH {as_set(own)} ({items})")

    def literal(self, identity):
        flags = " ".join(self.rng.sample(FLAGS[:-1], self.rng.randrange(3)))
        octets = message(identity)
        return b" (%b) {%d+}\r\n%b" % (flags.encode(), len(octets), octets)

    async def replace(self):
        view = self.view
        uid, _, slots = self.some(lambda n: n and removable(n), most=1)
        if not slots:
            return
        name = slots[0].uid if uid else view.slots.index(slots[0]) + 1
        self.appended = [self.world.new(sure=False)]
        target = self.rng.choice(list(MAILBOXES))
        text = f"{uid}REPLACE {name} {self.path(target)}".encode()
        await self.command(text + self.literal(self.appended[0]), refusable=True)
        await self.ask_for_own(target)

    async def copy(self):
        uid, numbers, slots = self.some()
        if not slots:
            return
        self.copying = True
        for slot in slots:
            identity = self.world.identity(self.view.validity, slot.uid)
            if identity is not None:
                self.world.most[identity] += 1
        if all(self.world.identity(self.view.validity, slot.uid) for slot in slots):
            await self.command(
                f"{uid}COPY {numbers} {self.path(self.rng.choice(list(MAILBOXES)))}", refusable=True
            )

    async def move(self):
        uid, numbers, slots = self.some()
        self.copying = False
        if slots and all(self.world.identity(self.view.validity, slot.uid) for slot in slots):
            target = next(name for name in MAILBOXES if name != self.mailbox)
            await self.command(f"{uid}MOVE {numbers} {self.path(target)}", refusable=True)

    async def fetch(self):
        uid, numbers, _ = self.some(most=10)
        items = "UID FLAGS MODSEQ" if self.view.keeps_modseqs else "UID FLAGS"
        items += self.rng.choice(["", " ENVELOPE", " BODY.PEEK[TEXT]", " BODY[]"])
        everything = (self.by_uid and "UID ") or self.rng.choice(["", "UID "])
        if not self.view.slots:
            return
        if not numbers or self.rng.random() < 0.5:
            uid, numbers = everything, "1:*"
        elif self.view.keeps_modseqs and self.rng.random() < 0.5:
            numbers += f" ({items}) (CHANGEDSINCE {self.rng.randint(1, self.view.modseq or 1)})"
            await self.command(f"{uid}FETCH {numbers}", refusable=True)
            return
        await self.command(f"{uid}FETCH {numbers} ({items})", refusable=True)

    async def search(self):
        """Nothing is found but what the client knows of."""
        self.note(self.talk.said())
        if self.view.first_unknown() is None:
            known = {slot.uid for slot in self.view.slots}
            assert set(await self.found("ALL")) <= known

    async def found(self, criteria):
        """The UIDs that SEARCH finds."""
        await self.command(f"UID SEARCH RETURN (ALL) {criteria}")
        (answer,) = (response for response in self.heard if response.startswith(b"* ESEARCH "))
        return uids_in(answer.rpartition(b" ALL ")[2]) if b" ALL " in answer else []

    async def reopen(self):
        """Leave the mailbox in some way and come back."""
        match self.rng.randrange(3):
            case 0:
                await self.command(self.rng.choice(["CLOSE", "UNSELECT"]))
                if "QRESYNC" not in self.enabled:
                    self.view.forget()
                await self.select()
            case 1:
                await self.talk.hang_up()
                self.note(self.talk.said())
                await self.begin()
            case 2 if "QRESYNC" in self.enabled:
                await self.talk.hang_up()
                self.note(self.talk.said())
                self.asleep = True  # until it is quiet

    async def break_off(self):
        """The connection is lost in the middle of a command. What was heard of its answer counts, but not the
        mod-sequence, which only the end of a command makes safe."""
        uid, numbers, slots = self.some(most=10)
        if not slots or not all(self.world.identity(self.view.validity, slot.uid) for slot in slots):
            return
        for slot in slots:
            self.world.most[self.world.identity(self.view.validity, slot.uid)] += 1
        appended = self.world.new(sure=False)
        modseq = " MODSEQ" if self.view.keeps_modseqs else ""
        archive, content = self.path("Archive"), message(appended)
        octets = self.rng.choice(
            [
                f"x {uid}FETCH {numbers} (UID FLAGS{modseq} BODY.PEEK[TEXT])",
                f"x {uid}STORE {numbers} +FLAGS (\\Flagged)",
                f"x UID COPY {as_set(slot.uid for slot in slots)} {archive}",
                "x EXPUNGE",
                f"x APPEND {archive} {{{len(content)}+}}\r\n{content.decode()}",
            ]
        )
        self.note(self.talk.said())
        remembered = self.view.modseq
        self.protocol.append(b"C: " + octets.encode())
        self.talk.session.dataReceived(octets.encode() + b"\r\n")
        for _ in range(self.rng.randrange(4)):
            await deferLater(reactor, 0)
        said = self.talk.said()
        await self.talk.hang_up()
        self.copying, self.appended = True, [appended]
        self.note(said)
        self.view.modseq = remembered
        self.protocol.append(b"C: (gone)")
        await self.begin()

    # When it is quiet

    async def settle(self, truth):
        """Come to know everything, by asking only for what is known to be unknown."""
        if self.asleep:
            await self.begin()
            self.check_selected(truth)
        for _ in range(5):
            await deferLater(reactor, 0)
        await self.case.until(lambda: not self.talk.session._busy)
        self.note(self.talk.said())
        if self.idling or self.standing == "SELECTED":  # it has been told already, without asking
            assert len(self.view.slots) == len(truth)
            self.agree_where_known(truth)
        if self.standing == "SELECTED":
            assert self.view.first_unknown() is None
        if self.idling:
            await self.done()
        await self.command("NOOP")
        await self.complete()
        self.agree(truth)
        wanted = [uid for uid, (flags, _) in truth.items() if "later" in flags and "\\Seen" not in flags]
        assert await self.found("KEYWORD later UNSEEN") == wanted
        if "QRESYNC" in self.enabled:
            await self.command("UNSELECT")
            await self.select()
            self.check_selected(truth)

    def check_selected(self, truth):
        """SELECT alone has told everything."""
        self.agree_where_known(truth)
        assert len(self.view.slots) == len(truth)
        if self.resynchronized:
            self.agree(truth)

    async def complete(self):
        first = self.view.first_unknown()
        if first is None:
            return
        items = "(UID FLAGS MODSEQ)" if self.view.keeps_modseqs else "(UID FLAGS)"
        if self.by_uid:
            below = [] if "UIDONLY" in self.enabled else [s.uid for s in self.view.slots[: first - 1]]
            await self.command(f"UID FETCH {max(below, default=0) + 1}:* {items}")
        else:
            await self.command(f"FETCH {first}:* {items}")

    def agree(self, truth):
        keeps = self.view.keeps_modseqs
        expected = [(uid, flags, modseq if keeps else 0) for uid, (flags, modseq) in truth.items()]
        assert self.view.state() == expected, (self.name, difference(self.view.state(), expected))

    def agree_where_known(self, truth):
        for slot in self.view.slots:
            if slot.uid is not None:
                flags, modseq = truth[slot.uid]
                assert slot.flags in (None, flags), (self.name, slot, flags)
                if self.view.keeps_modseqs and slot.modseq:
                    assert slot.modseq == modseq, (self.name, slot, modseq)


def difference(believed, expected):
    return {"believed": set(believed) - set(expected), "expected": set(expected) - set(believed)}


def identity_of(octets):
    numbers = set(map(int, re.findall(rb"identity (\d+)", octets)))
    assert len(numbers) == 1, octets
    return numbers.pop()
