"""Scripts as people write them, with messages as they get them, and with the corpus where it is at hand."""

from pathlib import Path

import pytest
from sieve_house import mail

from twisted_mta.sieve.actions import Discard, FileInto, Keep, Redirect
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.vacation import Vacation
from twisted_mta.sieve.world import World

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*/*.eml"))

LISTS = """
require ["fileinto", "mailbox", "variables", "imap4flags", "duplicate"];
# A message that came to me and to the list is here once.
if duplicate { discard; stop; }
# Every list has a folder of its own, by the name before the first dot of its List-Id.
if header :matches "List-Id" "*<*.*>*" {
    set :lower "list" "${2}";
    fileinto :create "Lists/${list}";
    stop;
}
if header :contains "Precedence" ["bulk", "list"] { addflag "$Bulk"; }
"""
JUNK = """
require ["fileinto", "relational", "comparator-i;ascii-numeric", "envelope", "subaddress", "regex", "reject"];
if anyof (header :is "X-Spam-Flag" "YES",
          header :value "ge" :comparator "i;ascii-numeric" "X-Spam-Score" "8") {
    fileinto "Junk";
    stop;
}
if header :regex "Subject" "(viagra|[0-9]{3,} ?% off|(win|won) [0-9,]+ (euro|dollars))" {
    fileinto "Junk";
    stop;
}
if envelope :detail "to" "burnt" { discard; stop; }
if address :domain "from" ["boss.example", "family.example"] { keep; stop; }
if size :over 20M { reject "Twenty megabytes are enough. Use a link."; stop; }
"""
AWAY = """
require ["vacation", "date", "relational", "copy", "editheader", "environment"];
if allof (currentdate :value "ge" "date" "2026-08-01", currentdate :value "le" "date" "2026-08-21") {
    vacation :days 4 :subject "Away until 21 August" :addresses ["me@a.test", "sales@a.test"]
        "I am on holiday. Bob <bob@a.test> can help.";
    if header :contains "Subject" "urgent" { redirect :copy "bob@a.test"; }
}
if not exists "Message-ID" { addheader "X-No-Id" "yes"; }
"""
SCRIPTS = {"lists": LISTS, "junk": JUNK, "away": AWAY}
AUGUST = 1_786_000_000.0  # in August 2026


class Today(World):
    def __init__(self):
        self.known = set()

    def now(self):
        return AUGUST

    def seen_before(self, key, seconds, extend):
        known = key in self.known
        self.known.add(key)
        return known


def decided(script, message, world, to="me@a.test"):
    """The actions; there may be no error."""
    result = Script(script.encode()).run(mail(message.encode()), SieveEnvelope("eve@far.test", to), world)
    assert result.error is None, result.error
    return list(result.actions)


def test_lists_into_folders_and_everything_once():
    world = Today()
    message = "List-Id: Old Cars <Cars.lists.far.test>\r\nMessage-ID: <1@far.test>\r\n\r\n"
    (action,) = decided(LISTS, message, world)
    assert (
        isinstance(action, FileInto) and action.mailbox == "Lists/cars" and action.modifiers == {"create": 1}
    )
    assert decided(LISTS, message, world) == [Discard()]
    assert decided(LISTS, "Precedence: bulk\r\nMessage-ID: <2@far.test>\r\n\r\n", world) == [Keep(("$Bulk",))]
    assert decided(LISTS, "Subject: hello\r\nMessage-ID: <3@far.test>\r\n\r\n", world) == [Keep()]


@pytest.mark.parametrize(
    ("message", "to", "action"),
    [
        ("X-Spam-Flag: YES\r\n\r\n", "me@a.test", FileInto("Junk")),
        ("X-Spam-Score: 12\r\n\r\n", "me@a.test", FileInto("Junk")),
        ("X-Spam-Score: 7\r\n\r\n", "me@a.test", Keep()),
        ("Subject: You have won 1,000,000 Dollars\r\n\r\n", "me@a.test", FileInto("Junk")),
        ("Subject: =?utf-8?q?Now_90_=25_off=2C_100=25_off?=\r\n\r\n", "me@a.test", FileInto("Junk")),
        ("Subject: hello\r\n\r\n", "me+burnt@a.test", Discard()),
        ("From: Boss <b@boss.example>\r\n\r\n", "me@a.test", Keep()),
    ],
)
def test_spam_to_junk(message, to, action):
    assert decided(JUNK, message, Today(), to) == [action]


def test_away_for_some_days():
    answer, copy, keep = decided(AWAY, "Subject: URGENT\r\nMessage-ID: <1@far.test>\r\n\r\n", Today())
    assert isinstance(answer, Vacation) and answer.subject == "Away until 21 August"
    assert answer.interval == 4 * 86400 and (copy, keep) == (Redirect("bob@a.test"), Keep())
    assert decided(AWAY, "Subject: URGENT\r\n\r\n", World()) == [Keep()]  # long before


@pytest.mark.skipif(not FILES, reason=f"no message corpus at {CORPUS}")
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_message_of_the_corpus_is_decided_about(name):
    script, world = Script(SCRIPTS[name].encode()), Today()
    for path in FILES:
        data = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        result = script.run(mail(data), SieveEnvelope("eve@far.test", "me@a.test"), world)
        assert result.actions and result.error is None, path
